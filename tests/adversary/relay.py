"""The hostile relay: handfast-relay(7) as devices see it, and between any two messages a plan that may do anything."""
import asyncio
import base64
import json
import os

import wire

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
ROLES = ("alice", "bob")


def envelope(kind, payload):
    return json.dumps({"type": kind, "proto": "handfast-relay", "ver": 1, "payload": payload}, separators=(",", ":"))


def other(role):
    return "bob" if role == "alice" else "alice"


class Item:
    """A message on its way: packet text, whom to, and who is said to have sent it."""

    def __init__(self, to, sender, text, delay=0.0, frame=None, raw=None):
        self.to, self.sender, self.text, self.delay, self.frame, self.raw = to, sender, text, delay, frame, raw

    def copy(self, **changes):
        i = Item(self.to, self.sender, self.text, self.delay, self.frame, self.raw)
        for k, v in changes.items():
            setattr(i, k, v)
        return i

    def bytes(self):
        if self.raw is not None:
            return self.raw
        if self.frame is not None:
            return wire.frame(self.frame if isinstance(self.frame, bytes) else self.frame.encode())
        text = (f'{{"type":"relay","proto":"handfast-relay","ver":1,"payload":{{"from":"{self.sender}",'
                f'"msg":{self.text}}}}}')
        return wire.frame(text.encode())


class Seen:
    """A packet that the relay saw."""

    def __init__(self, role, text):
        self.role, self.text = role, text
        p = json.loads(text)["payload"]
        self.kind, self.seq, self.body = p["kind"], p["seq"], base64.b64decode(p["body_b64"])


class Session:
    """What the relay does with two devices that met. A plan changes it."""

    def __init__(self, relay, code, ident, plan):
        self.relay, self.code, self.id, self.plan = relay, code, ident, plan
        self.lines, self.waiting, self.seen = {}, {"alice": [], "bob": []}, []
        self.puppets, self.held, self.tasks = {}, [], []
        self.fired = 0

    def hello(self, role):
        return {"session_code": self.code, "role": role, "session_id_b64": base64.b64encode(self.id).decode(),
                "expires_in_s": 1800, "last_seq": 0}

    def put(self, item):
        """Send it now, later, or when its receiver comes."""
        if item.delay:
            later = asyncio.get_running_loop().call_later(item.delay, self.put, item.copy(delay=0))
            self.tasks.append(later)
        elif item.to in self.puppets and item.frame is None and item.raw is None:
            self.puppets[item.to].inbox.put_nowait(item.text)
        elif item.to in self.lines:
            self.lines[item.to].raw(item.bytes())
        else:
            self.waiting[item.to].append(item)

    def tell(self, to, kind, payload):
        self.put(Item(to, None, None, frame=envelope(kind, payload)))

    def joined(self, line):
        role = line.role
        self.lines[role] = line
        line.raw(self.plan.first(self, role, wire.frame(envelope("hello", self.hello(role)).encode())))
        if other(role) in self.lines or other(role) in self.puppets:
            self.plan.joined(self, role)
        for i in self.waiting[role]:
            self.put(i)
        self.waiting[role] = []

    def packet(self, role, text):
        m = json.loads(text)
        if m["type"] != "packet":
            return
        s = Seen(role, text)
        self.seen.append(s)
        self.relay.on_seen(self, s)
        released, self.held = self.held, []
        for i in self.plan.packet(self, s, [Item(other(role), role, text)]):
            self.put(i)
        for i in released:
            self.put(i)

    def left(self, role):
        line = self.lines.pop(role, None)
        if line:
            line.close()
            self.plan.left(self, role)

    def puppet(self, puppet, role):
        """From now on the attacker is this side."""
        self.puppets[role] = puppet
        task = asyncio.ensure_future(puppet.play())
        task.add_done_callback(lambda t: t.cancelled() or not t.exception() or self.relay.broke("a puppet", t.exception()))
        self.tasks.append(task)
        return task

    def end(self):
        for t in self.tasks:
            t.cancel()
        for line in list(self.lines.values()):
            line.close()


class Plan:
    """An honest relay; attacks are its children."""

    def begin(self, relay):
        """The relay's next session serves this plan."""

    def made(self, session):
        """The bytes that answer POST /session."""
        return wire.answer("201 Created", {"session_code": session.code, "expires_in_s": 1800,
                                           "session_id_b64": base64.b64encode(session.id).decode()})

    def handshake(self, session, role, fields):
        """The bytes that answer GET /ws/."""
        return wire.accept(fields)

    def first(self, session, role, hello):
        return hello

    def joined(self, session, role):
        session.tell(other(role), "peer_joined", {"role": role})
        session.tell(role, "peer_joined", {"role": other(role)})

    def packet(self, session, seen, items):
        return items

    def left(self, session, role):
        session.tell(other(role), "peer_left", {"role": role})


class Relay:
    """A listener; self.plan is what the next sessions do. Codes and ids come from rng, or from next_id."""

    def __init__(self, rng):
        self.rng, self.plan, self.next = rng, Plan(), None
        self.sessions, self.connections = {}, set()
        self.on_seen = lambda session, seen: None
        self.broke = lambda where, e: None

    async def start(self):
        self.port, self.server = await wire.serve(self.serve)

    def new_session(self):
        code, ident = self.next or ("".join(self.rng.choice(ALPHABET) for _ in range(8)), os.urandom(16))
        s = self.sessions[code] = Session(self, code, ident, self.plan)
        return s

    async def serve(self, reader, writer):
        self.connections.add(writer)
        try:
            await self.converse(reader, writer)
        except (wire.Gone, OSError):
            pass
        except Exception as e:  # a fault of an attack's is no end of a line
            self.broke("the relay", e)
        finally:
            self.connections.discard(writer)
            writer.close()

    async def converse(self, reader, writer):
        asked = await wire.request(reader)
        if not asked:
            return
        method, target, fields = asked
        if method == "POST":
            s = self.new_session()
            writer.write(s.plan.made(s))
            await writer.drain()
            return
        _, _, code, role = (target.split("/") + ["", "", "", ""])[:4]
        s = self.sessions.get(code)
        if role not in ROLES or not s or role in s.lines:
            writer.write(wire.answer("404 Not Found", {"error": {"code": "not_found", "text": "no"}}, "Connection: close\r\n"))
            return
        writer.write(s.plan.handshake(s, role, fields))
        line = wire.Line(reader, writer, s, role)
        s.joined(line)
        try:
            while True:
                s.packet(role, await line.receive())
        finally:
            s.left(role)

    def forget(self):
        for s in self.sessions.values():
            s.end()
        self.sessions = {}
