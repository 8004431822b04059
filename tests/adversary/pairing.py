"""The campaign against pairing: every message and every attack once, then random rows of them, each judged by what both
devices ended with and hold. Everything but the devices' own randomness comes from the seed."""
import asyncio
import base64
import collections
import os
import random
import sys
import time
import traceback

import attacks
import people
import protocol
import relay
import wire

import lab

BUILD = lab.BUILD
STEP_MIN, STEP_MAX = 4, 40  # seconds; in between, by what an honest pairing takes on this machine
COUNTS = ("attacks", "wrong successes", "downgrades", "second guesses", "hangs", "crashes")
LANES = 20  # most of their attacks end by a deadline; 128 MiB each while both ends stretch a secret
OLD, NEW = b"v40-spake2-x25519", b"v50-spake2-x25519"
FLOOR = 0.6  # of the fixed attacks, on however slow a machine
GROWTH_MAX = 24 * 1024  # KiB that a daemon may have gained over a campaign


class Verdict:
    def __init__(self):
        self.counts = collections.Counter({c: 0 for c in COUNTS})
        self.findings, self.ends, self.kinds = [], collections.Counter(), collections.Counter()
        # Attacks that a busy machine's deadlines forestalled, others whose message never came, what went wrong in the attacker itself, and how each attack ended.
        self.late, self.unreached, self.broken, self.ended = [], [], [], collections.defaultdict(collections.Counter)

    def broke(self, name, e):
        self.broken.append(f"{name}: {type(e).__name__} {e} {''.join(traceback.format_tb(e.__traceback__)[-2:])}")
        print(f"# BROKEN {self.broken[-1]}", flush=True)

    def found(self, what, name, why):
        self.counts[what] += 1
        self.findings.append(f"{what}: {name}: {why}")
        print(f"# FOUND {what}: {name}: {why}", flush=True)


# ---- what a relay can do that is not about one message ----

class Lies(relay.Plan):
    """Answers and first frames that are not so; otherwise honest."""

    def lied(self, session, said, honest):
        session.fired += said != honest
        return said

    def __init__(self, what, role, rng):
        self.what, self.role, self.rng = what, role, rng

    def made(self, session):
        good = {"session_code": session.code, "expires_in_s": 1800, "session_id_b64": base64.b64encode(session.id).decode()}
        bad = {
            "post: no code": dict(good, session_code="ABCD"),
            "post: code of other letters": dict(good, session_code="ABCD234O"),
            "post: short id": dict(good, session_id_b64="AAAA"),
            "post: no id": {k: v for k, v in good.items() if k != "session_id_b64"},
            "post: another id than in hello": dict(good, session_id_b64=base64.b64encode(os.urandom(16)).decode()),
            "post: code of a script": dict(good, session_code="../../alice"),
            "post: negative time": dict(good, expires_in_s=-1),
            "post: endless time": dict(good, expires_in_s=2**62),
        }
        if self.what in bad:
            session.fired += 1
            return wire.answer("201 Created", bad[self.what])
        return self.lied(session, {
            "post: 500": wire.answer("500 No", {}),
            "post: redirect": wire.answer("302 Found", {}, "Location: http://127.0.0.1:9/\r\n"),
            "post: no JSON": wire.answer("201 Created", b"<html>"),
            "post: megabytes": wire.answer("201 Created", b"x" * 3000000),
            "post: a length that lies": b"HTTP/1.1 201 Created\r\nContent-Length: 5000\r\n\r\n{}",
            "post: no HTTP": b"SSH-2.0-OpenSSH\r\n",
            "post: endless head": b"HTTP/1.1 201 Created\r\n" + b"X-A: " + b"b" * 200000,
            "post: silence": b"",
        }.get(self.what, super().made(session)), super().made(session))

    def handshake(self, session, role, fields):
        good = wire.accept(fields)
        if role != self.role:
            return good
        return self.lied(session, {
            "ws: wrong accept": good.replace(b"Accept: ", b"Accept: x"),
            "ws: no upgrade": wire.answer("200 OK", {}),
            "ws: extension": good.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
            "ws: subprotocol": good.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: x\r\n\r\n"),
            "ws: silence": b" ",
        }.get(self.what, good), good)

    def first(self, session, role, hello):
        if role != self.role:
            return hello
        good = session.hello(role)

        def say(**changes):
            return wire.frame(relay.envelope("hello", {k: v for k, v in {**good, **changes}.items() if v is not None}).encode())
        early = relay.envelope("peer_joined", {"role": relay.other(role)}).encode()
        return self.lied(session, {
            "hello: other code": lambda: say(session_code="ABCD2345"),
            "hello: other role": lambda: say(role=relay.other(role)),
            "hello: other id": lambda: say(session_id_b64=base64.b64encode(bytes(16)).decode()),
            "hello: short id": lambda: say(session_id_b64="AAAA"),
            "hello: long id": lambda: say(session_id_b64=base64.b64encode(bytes(17)).decode()),
            "hello: no id": lambda: say(session_id_b64=None),
            "hello: no code": lambda: say(session_code=None),
            "hello: no time left": lambda: say(expires_in_s=0),
            "hello: negative time": lambda: say(expires_in_s=-5),
            "hello: endless time": lambda: say(expires_in_s=2**63 - 1),
            "hello: last_seq 9": lambda: say(last_seq=9),
            "hello: last_seq huge": lambda: say(last_seq=2**53),
            "hello: a resume token": lambda: say(resume_token="x" * 64),
            "hello: resumed twice by one token": lambda: say(resume_token="x" * 64, last_seq=3) + say(resume_token="x" * 64, last_seq=5),
            "hello: twice": lambda: hello * 2,
            "hello: late": lambda: wire.frame(early) + hello,
            "hello: never": lambda: b"",
            "hello: joined by oneself": lambda: hello + wire.frame(relay.envelope("peer_joined", {"role": role}).encode()),
            "hello: nobody is there, but joined": lambda: hello + wire.frame(early),
            "hello: error instead": lambda: wire.frame(relay.envelope("error", {"code": "busy", "text": "\x1b[2J" * 20}).encode()),
        }.get(self.what, lambda: hello)(), hello)

    def joined(self, session, role):
        session.fired += self.what.startswith("joined: ")
        if self.what == "joined: never told":
            return
        super().joined(session, role)
        if self.what == "joined: told ten times":
            for _ in range(9):
                super().joined(session, role)


LIES = [("post: " + w, "alice") for w in (
    "no code", "code of other letters", "short id", "no id", "another id than in hello", "code of a script",
    "negative time", "endless time", "500", "redirect", "no JSON", "megabytes", "a length that lies", "no HTTP",
    "endless head", "silence")] + [
    (w, r) for w in ("ws: wrong accept", "ws: no upgrade", "ws: extension", "ws: subprotocol", "ws: silence",
                     "hello: other code", "hello: other role", "hello: other id", "hello: short id", "hello: long id",
                     "hello: no id", "hello: no code", "hello: no time left", "hello: negative time",
                     "hello: endless time", "hello: last_seq 9", "hello: last_seq huge", "hello: a resume token", "hello: resumed twice by one token",
                     "hello: twice", "hello: late", "hello: never", "hello: joined by oneself",
                     "hello: nobody is there, but joined", "hello: error instead") for r in relay.ROLES] + [
    ("joined: never told", "alice"), ("joined: told ten times", "alice")]


class Between(relay.Plan):
    """Plays the other half against one device or both, with one guess each."""

    def __init__(self, against, guess, offer=None):
        self.against, self.guess, self.offer, self.puppets = against, guess, offer, []

    def joined(self, session, role):
        # Once for each: a device is told when its peer comes, too.
        if role in self.against and relay.other(role) not in session.puppets:
            session.fired += 1
            p = protocol.Puppet(1 - relay.ROLES.index(role), session.id, self.guess(), self.sayer(session, role), self.offer)
            session.puppet(p, relay.other(role))
            self.puppets.append(p)
            session.tell(role, "peer_joined", {"role": relay.other(role)})

    def sayer(self, session, role):
        def say(text):
            # As bytes, for the device: the other half of this name is a puppet's, too, where both are played.
            item = relay.Item(role, relay.other(role), text)
            session.put(item.copy(raw=item.bytes()))
        return say

    def first(self, session, role, hello):
        # The puppet comes with its first device, so that each waits for nobody.
        asyncio.get_running_loop().call_soon(self.joined, session, role)
        return hello

    def packet(self, session, seen, items):
        for p in self.puppets:
            if p.role != relay.ROLES.index(seen.role):
                p.inbox.put_nowait(seen.text)
        return []


class Cut(relay.Plan):
    """Nothing passes from a round on, in either direction or one."""

    def __init__(self, senders, seq):
        self.senders, self.seq = senders, seq

    def packet(self, session, seen, items):
        if seen.role not in self.senders or seen.seq < self.seq:
            return items
        session.fired += 1
        return []


# ---- one attack ----

class Lane:
    """Two devices, a relay and the sessions between them, one after the other."""

    def __init__(self, net, n, seed, binaries, verdict):
        self.seed, self.verdict, self.library = seed, verdict, {}
        self.hosts = [net.host(f"{x}{n}") for x in relay.ROLES]
        self.binaries, self.begun = binaries, {}
        self.devices, self.step, self.fired, self.last = {}, STEP_MAX, 0, None
        for role, h, b in zip(relay.ROLES, self.hosts, binaries):
            self.devices[role] = people.Device(h, lambda h, b=b: start(h, b, self.step))
        self.profile = NEW if all("two" in b for b in binaries) else OLD

    async def begin(self):
        self.relay = relay.Relay(random.Random(f"{self.seed} relay"))
        self.relay.on_seen = self.on_seen
        self.relay.broke = self.verdict.broke
        self.pakes = collections.defaultdict(set)
        await self.relay.start()
        self.keys = {r: await d.public_key() for r, d in self.devices.items()}
        at = time.monotonic()
        end = await self.run("an honest pairing", relay.Plan(), random.Random(1))
        self.took = time.monotonic() - at
        if not all(p.peer and p.peer["state"] == "active" for p in end.values()):
            raise RuntimeError(f"an honest pairing failed: {[(p.error, p.events) for p in end.values()]}")
        s = self.last
        self.library = {(x.role, x.seq): x.text for x in s.seen}

    async def hurry(self, step):
        """Go on with deadlines that let an attack by silence end soon."""
        self.step = step
        await self.renew()
        await self.run("an honest pairing", relay.Plan(), random.Random(2))
        for r, d in self.devices.items():
            self.begun[r] = await d.resting_memory()

    def on_seen(self, session, seen):
        """How often a device let its secret be tested: each pake that leaves it is one guess for whom it reaches."""
        if seen.kind in ("pake", "confirm"):
            self.pakes[(seen.role, self.pin[seen.role], seen.kind)].add((session.id, seen.body))

    async def run(self, name, plan, rng, cls="PIN", wrong=False, retry=0, judge=True):
        """Two people pair under a plan. What each ended with."""
        self.relay.plan, screens = plan, people.Screens()
        self.pin, self.tried = {}, []
        secret = "a secret of %032x" % rng.getrandbits(128)
        where = f"127.0.0.1:{self.relay.port}"
        alone = rng.choice(("none", "wait"))
        a = people.Person(self.devices["alice"], "alice", screens, None if cls == "PIN" else secret, cls, {"relay": where}, alone)
        a.params_pin = lambda digits: self.new_pin("alice", rng, digits)
        self.pin["alice"] = secret
        persons = {"alice": a}
        ta = asyncio.ensure_future(a.pair())
        tasks = [ta]
        try:
            await asyncio.wait([a.invitation, ta], return_when=asyncio.FIRST_COMPLETED)
            if a.invitation.done() and not a.invitation.cancelled():
                pin = a.pin
                if wrong:
                    pin = "%0*d" % (len(pin), (int(pin) + 1) % 10**len(pin))
                self.pin["bob"] = pin
                b = persons["bob"] = people.Person(self.devices["bob"], "bob", screens, pin, cls,
                                                   {"invitation": a.invitation.result()}, alone)
                tb = asyncio.ensure_future(b.pair())
                tasks.append(tb)
                if hasattr(plan, "meanwhile"):
                    await plan.meanwhile(self, persons, tasks)
            else:
                await screens.end("bob")
            await asyncio.gather(*tasks)
            self.last = next(reversed(self.relay.sessions.values()), None)
            for _ in range(retry):
                # The person at bob's types code and PIN once more.
                again = people.Person(self.devices["bob"], "bob", people.Screens(), self.pin["bob"], cls,
                                      {"invitation": a.invitation.result()}, "none")
                await asyncio.gather(again.pair(), again.screens.end("alice"))
                self.tried.append(again)
            self.fired += (wrong or retry > 0) and "bob" in persons
            if judge:
                await self.judge(name, persons, cls)
        except people.Hang as e:
            self.verdict.found("hangs", name, e)
            await self.renew()
        except people.Dead as e:
            self.verdict.found("crashes", name, f"{e} {self.log_end()}")
            await self.renew()
        finally:
            for t in tasks:
                t.cancel()
            self.fired += sum(s.fired for s in self.relay.sessions.values())
            self.relay.forget()
        return persons

    def new_pin(self, role, rng, digits):
        self.pin[role] = "".join(rng.choice("0123456789") for _ in range(digits))
        return self.pin[role]

    def log_end(self):
        return {r: (d.daemon.proc.poll(), d.daemon.log()[-300:]) for r, d in self.devices.items() if not d.daemon.alive()}

    async def renew(self):
        """New daemons where the old ones are stuck or gone."""
        for d in self.devices.values():
            d.daemon.kill()
            d.start(d.host)
        self.keys = {r: await d.public_key() for r, d in self.devices.items()}

    async def judge(self, name, persons, cls):
        """Both ends' outcome and stores against what may be."""
        v = self.verdict
        stores, roots = {}, {}
        for role, d in self.devices.items():
            stores[role] = {p["public_key"]: p for p in await d.peers()}
            roots[role] = {t: (k, r) for k, t, r in d.roots()} if stores[role] else {}
        for role in relay.ROLES:
            them = relay.other(role)
            ended = persons[role].peer if role in persons else None
            strangers = [p["name"] for k, p in stores[role].items() if k != self.keys[them]]
            peer = stores[role].get(self.keys[them])
            if strangers:
                v.found("wrong successes", name, f"{role} pinned a stranger: {strangers}")
            if ended and ended["public_key"] != self.keys[them]:
                v.found("wrong successes", name, f"{role} was told that it paired with {ended['public_key']}")
            if peer and not ended:
                v.found("wrong successes", name, f"{role} stores what it called a failure: {persons[role].error if role in persons else None}")
            if not peer:
                if ended:
                    v.found("wrong successes", name, f"{role} was told of a pairing that is not stored")
                continue
            if peer["role"] != role:
                v.found("wrong successes", name, f"{role} plays {peer['role']}")
            if cls == "PIN" and not peer["sas_compared"]:
                v.found("wrong successes", name, f"{role} says that nobody compared")
            if peer["profile"] != self.profile.decode():
                v.found("downgrades", name, f"{role} has {peer['profile']}, both can {self.profile.decode()}")
            mine = [(t, r) for t, (k, r) in roots[role].items()]
            yours = [(t, r) for t, (k, r) in roots[them].items()]
            back = stores[them].get(self.keys[role])
            if peer["state"] == "active" and (not back or mine != yours):
                v.found("wrong successes", name, f"{role} is sure of {them}, which has {back and back['state']}; roots equal: {mine == yours}")
            if back and mine != yours:
                v.found("wrong successes", name, "the roots differ")
        for (role, pin, kind), said in self.pakes.items():
            if len(said) > 1:
                v.found("second guesses", name, f"{role} answered for one PIN with {len(said)} messages {kind}")
        self.pakes.clear()
        for role, d in self.devices.items():
            for p in stores[role].values():
                await d.ask("Forget", {"name": p["name"]})
            if not d.daemon.alive():
                v.found("crashes", name, f"{role}: {self.log_end()}")
        ends = tuple((persons[r].peer["state"] if persons[r].peer else persons[r].error) if r in persons else "-" for r in relay.ROLES)
        v.ends[ends] += 1
        self.expired = "Expired" in ends
        v.ended[name][ends] += 1

    async def finish(self):
        """Memory and what sanitizers said."""
        for role, d in self.devices.items():
            if role not in self.begun:
                continue
            gained = await d.resting_memory() - self.begun[role]
            self.verdict.growth = max(getattr(self.verdict, "growth", 0), gained)
            log = d.daemon.log()
            if "runtime error" in log or "ERROR: " in log:
                self.verdict.found("crashes", "the log", log[log.find("ERROR"):][:600])


def start(host, binary, step):
    path = host.config("pairingd", f"device_name: {host.name}\ndeadlines:\n  secret: {step}s\n  relay: {step}s\n"
                                   f"  join: {2 * step}s\n  step: {step}s\n  compare: {step + 1}s\n")
    argv = [binary, "--runtime-dir", host.runtime, "--config", path, "--state-dir", host.state("pairingd")]
    host.daemons["pairingd"] = lab.Daemon(host, "pairingd", argv, host.env())


# ---- which attacks ----

class Attack:
    """A name, a group and how to run it in a lane."""

    def __init__(self, name, group, run, row=()):
        self.name, self.group, self.run, self.row = name, group, run, row


def of_row(row, group, **kw):
    def run(lane, rng, loop):
        return lane.run(attacks.describe(row), attacks.Meddle(row, rng, lane.library, loop), rng, **kw)
    return Attack(attacks.describe(row) + (" with a long secret" if kw else ""), group, run, row)


def every_message(full, rng):
    """Each message with each attack. Without full, each message of one side (in turns) with each of ANY, and with one
    of each way to miscode it; the first round, which costs little, with all."""
    out, turn = [], rng.randrange(2)
    for seq in range(1, 10):
        for table in (attacks.ANY, attacks.JSON, attacks.FRAMES, attacks.ABORTS, attacks.OFFERS, attacks.FIELD_OPS,
                      {**attacks.SEALED, "forge choose": None}):
            names = [n for n in table if attacks.fits(n, seq)]
            whole = full or table is attacks.ANY or (seq == 1 and table is not attacks.ABORTS)
            for name in names if whole else rng.sample(names, min(len(names), 1)):
                turn += 1
                roles = relay.ROLES if full or table is attacks.OFFERS else (relay.ROLES[turn % 2],)
                out += [of_row([(name, r, seq)], group_of(name)) for r in roles]
    return out


KINDS = {  # of an attack, by how its name begins; the first that fits
    "drop": ("drop",), "delay": ("delay",), "duplicate": ("duplicate", "hello: twice", "joined: told ten"),
    "reorder": ("reorder", "hello: late"), "replay in the same session": ("replay earlier",),
    "replay from another session": ("replay of another session",), "truncate": ("truncate", "empty"),
    "extend": ("extend", "oversize body"), "reflect": ("reflect",),
    "swap roles": ("wrong sender", "frame swapped", "offer: role", "hello: other role", "hello: joined by oneself"),
    "resume and tokens": ("hello: a resume", "hello: resumed", "hello: last_seq", "frame resume", "frame unknown type", "json outer",
                          "json extra", "frame hello again"),
    "strip or reorder profiles": ("offer", "forge choose"),
    "answer for the peer": ("abort", "the other half of alice,", "the other half of bob,", "frame joined", "frame left",
                            "hello: nobody is there"),
    "play both halves": ("the other half of alice and bob,",),
    "withhold": ("nothing ", "joined: never", "hello: never", "post: silence", "ws: silence"),
    "modify": ("flip", "seq", "other kind", "base64", "json", "field", "junk"),
    "break frames": ("frame",), "lie in answers": ("post", "ws", "hello"),
}
SLOW = ("withhold", "play both halves", "answer for the peer", "guess again")
RIGHT_PIN = "the other half of alice and bob, with the right PIN"


def group_of(name):
    return next(k for k, begins in KINDS.items() if name.startswith(begins))


def scenarios():
    """What is about more than one message."""
    out = []

    def add(name, group, make, **kw):
        out.append(Attack(name, group, lambda lane, rng, loop: lane.run(name, make(lane, rng), rng, **kw)))
    for what, role in LIES:
        add(f"{what} to {role}", group_of(what), lambda lane, rng, w=what, r=role: Lies(w, r, rng))
    for against in (("alice",), ("bob",), relay.ROLES):
        who = " and ".join(against)
        for kind, offer in (("", None), (", with a stronger offer", ([b"v90-x", OLD], OLD)), (", with a weaker minimum", ([OLD, b"v10-x"], b"v10-x"))):
            def wrong(lane, rng, against=against, offer=offer):
                return Between(against, lambda: "%06d" % rng.randrange(10**6), offer)
            group = group_of(f"the other half of {who},")
            add(f"the other half of {who}, a guess each{kind}", group, wrong, retry=2 if "bob" in against else 0)

        def right(lane, rng, against=against):
            return Between(against, lambda: lane.pin["alice"])
        # More than once, so that a busy machine's deadlines leave one that only the number ended.
        for _ in range(3):
            add(f"the other half of {who}, with the right PIN", group, right)
    for n in range(1, 10):
        add(f"nothing passes from {attacks.NAMES[n]} on", "withhold", lambda lane, rng, n=n: Cut(relay.ROLES, n))
        add(f"nothing of alice's passes from {attacks.NAMES[n]} on", "withhold", lambda lane, rng, n=n: Cut(("alice",), n))
        add(f"nothing of bob's passes from {attacks.NAMES[n]} on", "withhold", lambda lane, rng, n=n: Cut(("bob",), n))
    add("a wrong PIN, typed again", "guess again", lambda lane, rng: relay.Plan(), wrong=True, retry=2)
    for n in (3, 4, 5, 9):
        row = [("drop", "alice", n)]
        out.append(Attack(f"{attacks.describe(row)}, then the PIN typed again", "guess again", lambda lane, rng, loop, row=row: lane.run(
            f"{attacks.describe(row)}, then the PIN typed again", attacks.Meddle(row, rng, lane.library, loop), rng, retry=2)))
    for how in ("strip first", "strip last", "add weak", "only weak", "lower minimum", "raise minimum", "reorder", "add strong"):
        for forged in (False, True):
            row = [(f"offer: {how}", r, 1) for r in relay.ROLES] + ([("forge choose", r, 2) for r in relay.ROLES] if forged else [])
            a = of_row(row, "strip or reorder profiles")
            a.name = f"offers of both: {how}" + (", and choose forged to fit" if forged else "")
            out.append(a)
    for what in ("id", "code", "id and code"):
        out.append(Attack(f"a second session with the same {what}", "guess again", same_again(what)))
    out.append(Attack("bob is killed after his guess, and the PIN typed again", "guess again", killed_and_again))
    return out


def same_again(what):
    async def run(lane, rng, loop):
        name = f"a second session with the same {what}"
        await lane.run(name, Cut(("bob",), 4), rng)
        s = lane.last
        code = "".join(rng.choice(relay.ALPHABET) for _ in range(8))
        lane.relay.next = (s.code if "code" in what else code, s.id if "id" in what else os.urandom(16))
        persons = await lane.run(name, relay.Plan(), rng)
        lane.relay.next = None
        if what != "code" and any(p.peer for p in persons.values()):
            lane.verdict.found("second guesses", name, "a session id was taken twice")
    return run


async def killed_and_again(lane, rng, loop):
    name = "bob is killed after his guess, and the PIN typed again"

    class Kill(relay.Plan):
        async def meanwhile(self, lane, persons, tasks):
            for _ in range(3000):
                if any(k[0] == "bob" and k[2] == "pake" for k in lane.pakes):
                    break
                await asyncio.sleep(0.01)
            else:
                return
            d = lane.devices["bob"]
            d.daemon.kill()
            try:
                await tasks.pop()
            except people.Dead:
                pass
            d.start(d.host)
            lane.fired += 1
            again = people.Person(d, "bob", people.Screens(), lane.pin["bob"], "PIN",
                                  {"invitation": persons["alice"].invitation.result()})
            await asyncio.gather(again.pair(), again.screens.end("alice"))
            if again.error != "NoSuchSession":
                lane.verdict.found("second guesses", name, f"{again.error} {again.events}")
    await lane.run(name, Kill(), rng)


def random_attack(rng):
    """A row of one to four operations, most of them near each other."""
    names, row = list(attacks.ALL), []
    at = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9))
    for _ in range(rng.choice((1, 2, 2, 3, 4))):
        seq = min(9, max(1, at + rng.choice((-1, 0, 0, 1, 2))))
        fit = [n for n in names if attacks.fits(n, seq)]
        # Half of them in a way that is not noticed at once.
        soft = ("delay", "duplicate late", "frame fragments", "frame ping", "frame pong", "json blanks", "json order", "frame error",
                "junk that does not open", "forge choose", "offer: add weak", "replay of another session before", "reorder")
        fit = [n for n in fit if n in soft] if rng.random() < .5 else fit
        row.append((rng.choice(fit), rng.choice(relay.ROLES), seq))
    row.sort(key=lambda x: x[2])
    return of_row(row, "random rows", **({"cls": "SEC"} if rng.random() < .15 else {}))


# ---- the campaign ----

def binaries():
    """(alice's, bob's) pairingd of each kind of lane: as built, and one that has a stronger profile, too."""
    one, two = f"{BUILD}/bin/pairingd", f"{BUILD}/tests/tools/pairingd-two-profiles"
    if not os.path.exists(two):
        return [(one, one)]
    return [(one, one), (two, two), (one, two), (two, one)]


async def work(lane, take, verdict, seed, over):
    """take(): the next (number, attack), or None; over(): whether there is no time for it."""
    loop = asyncio.get_running_loop()
    while chosen := take():
        n, attack = chosen
        if over():
            return
        lane.fired, lane.expired = 0, False
        before = len(verdict.findings)
        lane.pakes.clear()
        if os.environ.get("ADVERSARY_VERBOSE"):
            print(f"# {n} {attack.name}", flush=True)
        try:
            await attack.run(lane, random.Random(f"{seed}:{n}"), loop)
        except people.Dead as e:
            verdict.found("crashes", attack.name, e)
            await lane.renew()
        if lane.fired:
            verdict.counts["attacks"] += 1
            verdict.kinds[attack.group] += 1
        elif lane.expired:
            verdict.late.append((n, attack))
        else:
            # What it was to change never came: it shows nothing, and does not count.
            verdict.unreached.append(attack.name)
        for i in range(before, len(verdict.findings)):
            verdict.findings[i] += f" (again: make adversary SEED={seed} ONLY={n})"


def plan(seed, full):
    """The fixed attacks, in an order of the seed's."""
    rng = random.Random(f"{seed} fixed")
    fixed = scenarios() + every_message(full, rng)
    rng.shuffle(fixed)
    # At one end what waits for deadlines, and what nothing else shows.
    fixed.sort(key=lambda a: a.group not in SLOW)
    return fixed


def broken(verdict, context):
    """An exception that nobody waited for, in a callback or a task."""
    e = context.get("exception")
    if e and not isinstance(e, (OSError, wire.Gone, people.Dead, people.Hang)):
        verdict.broke(context.get("message", ""), e)


async def conduct(net, seconds, seed, full, lanes, only, verdict, fixed_limit):
    asyncio.get_running_loop().set_exception_handler(lambda loop, c: broken(verdict, c))
    fixed = plan(seed, full)
    kinds = binaries()
    made = [Lane(net, n, f"{seed} {n}", kinds[n % len(kinds)], verdict) for n in range(lanes if only is None else len(kinds))]
    # A few at a time: what an honest pairing takes is measured here, and later most lanes wait.
    for i in range(0, len(made), 4):
        await asyncio.gather(*(x.begin() for x in made[i:i + 4]))
    step = int(min(STEP_MAX, STEP_MIN + 3 * max(x.took for x in made)))
    for i in range(0, len(made), 4):
        await asyncio.gather(*(x.hurry(step) for x in made[i:i + 4]))
    print(f"# an honest pairing takes {max(x.took for x in made):.1f} s; a step may take {step} s", flush=True)
    begun = time.monotonic()

    def late_for_fixed():
        """Past the limit; twice that where it was too little to show anything."""
        few = verdict.counts["attacks"] < FLOOR * len(fixed)
        return time.monotonic() > begun + fixed_limit * (1 + few)

    def endless():
        n = len(fixed)
        while True:
            yield n, random_attack(random.Random(f"{seed}:{n} row"))
            n += 1
    if only is not None:
        # By one lane of each kind, since who met it was chance.
        one = fixed[only] if only < len(fixed) else random_attack(random.Random(f"{seed}:{only} row"))
        print(f"# {only}: {one.name}")
        await asyncio.gather(*(work(x, [None, (only, one)].pop, verdict, seed, lambda: False) for x in made))
    else:
        # From both ends, so that some wait while others work.
        queue = collections.deque(enumerate(fixed))
        takes = [lambda: queue.popleft() if queue else None, lambda: queue.pop() if queue else None]
        await asyncio.gather(*(work(x, takes[i % 2], verdict, seed, late_for_fixed) for i, x in enumerate(made)))
        late, verdict.late = verdict.late, []
        again = collections.deque(late)
        await asyncio.gather(*(work(x, lambda: again.popleft() if again else None, verdict, seed, late_for_fixed)
                               for x in made[:6]))
        if late:
            print(f"# {len(late)} attacks once more, with fewer at once: a deadline had come before them", flush=True)
        verdict.fixed, verdict.fixed_s = (verdict.counts["attacks"] + len(verdict.unreached), len(fixed)), time.monotonic() - begun
        rows, end = endless(), time.monotonic() + seconds
        await asyncio.gather(*(work(x, lambda: next(rows), verdict, seed, lambda: time.monotonic() > end) for x in made))
    for x in made:
        await x.finish()


def campaign(seconds, seed, full=True, lanes=LANES, only=None, fixed_limit=1e9):
    """Every message × every attack, then random rows for these seconds. A Verdict."""
    verdict = Verdict()
    with lab.Lab() as net:
        asyncio.run(conduct(net, seconds, seed, full, lanes, only, verdict, fixed_limit))
    if getattr(verdict, "growth", 0) > GROWTH_MAX and "asan" not in BUILD:
        verdict.found("crashes", "memory", f"a daemon grew by {verdict.growth} KiB")
    return verdict


def summary(counts):
    return ", ".join(f"{c} {counts[c]}" for c in COUNTS)


if __name__ == "__main__":
    v = campaign(float(sys.argv[1]), sys.argv[2], full="full" in sys.argv)
    print(v.ends, v.kinds, getattr(v, "fixed", None), getattr(v, "fixed_s", None), getattr(v, "growth", None))
    print(summary(v.counts))
