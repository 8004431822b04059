"""What the hostile relay does to a message: each operation takes the messages that are about to leave and returns what
leaves instead. An attack is a row of operations, each bound to a message by sender and round."""
import base64
import json
import os
import struct

import protocol as p
import relay
import wire

SEQS = {"hello": 1, "choose": 2, "pake": 3, "confirm": 4, "handshake": 5, "finish": 6, "verdict": 7, "identity": 8, "prepared": 9}
NAMES = {v: k for k, v in SEQS.items()}
# Fields of each round that has any in the clear.
FIELDS = {1: 6, 2: 2, 3: 1, 4: 2, 5: 2, 6: 1}


def change_body(text, fn):
    """The packet with another body."""
    m = json.loads(text)
    body = base64.b64decode(m["payload"]["body_b64"])
    m["payload"]["body_b64"] = base64.b64encode(fn(body)).decode()
    return json.dumps(m, separators=(",", ":"))


def change_packet(text, **payload):
    m = json.loads(text)
    for k, v in payload.items():
        if v is None:
            m["payload"].pop(k, None)
        else:
            m["payload"][k] = v
    return json.dumps(m, separators=(",", ":"))


def texts(items, fn):
    return [i.copy(text=fn(i.text)) if i.text else i for i in items]


def bodies(items, fn):
    return texts(items, lambda t: change_body(t, fn))


# ---- one operation each: (ctx, items) -> items. ctx: session, seen, rng, library ----

def drop(c, items):
    return []


def delay(c, items):
    return [i.copy(delay=0.2 + c.rng.random() * 0.3) for i in items]


def duplicate(c, items):
    return items + [i.copy() for i in items]


def late_duplicate(c, items):
    return items + [i.copy(delay=0.3) for i in items]


def hold(c, items):
    """Behind the next message of anybody's; after a while, alone."""
    c.session.held += items
    for i in items:
        def release(i=i):
            if i in c.session.held:
                c.session.held.remove(i)
                c.session.put(i)
        c.session.tasks.append(c.loop.call_later(1.0, release))
    return []


def replay_earlier(c, items):
    """First one of the same sender's earlier messages, then this one."""
    earlier = [s for s in c.session.seen if s.role == c.seen.role]
    return [relay.Item(relay.other(c.seen.role), c.seen.role, c.rng.choice(earlier).text)] + items


def replay_other_session(c, items):
    """In its place the message of another pairing of these two."""
    old = c.library.get((c.seen.role, c.seen.seq))
    return texts(items, lambda t: old) if old else items


def replay_other_session_first(c, items):
    old = c.library.get((c.seen.role, c.seen.seq))
    return ([i.copy(text=old) for i in items] if old else []) + items


def reflect(c, items):
    """Its sender gets it back, and nobody else."""
    return [i.copy(to=c.seen.role, sender=relay.other(c.seen.role)) for i in items]


def reflect_too(c, items):
    return items + reflect(c, items)


def wrong_sender(c, items):
    return [i.copy(sender=i.to) for i in items]


def truncate(c, items):
    n = c.rng.choice((1, 2, 4, 16))
    return bodies(items, lambda b: b[:-n] if c.rng.random() < .7 else b[:len(b) // 2])


def empty(c, items):
    return bodies(items, lambda b: b"" if b else b"\1")


def extend(c, items):
    return bodies(items, lambda b: b + os.urandom(c.rng.choice((1, 4, 100))))


def extend_field(c, items):
    return bodies(items, lambda b: b + bytes([min(255, 1 + (FIELDS.get(c.seen.seq, 0))), 1, 0, 1, 0]))


def huge(c, items):
    return bodies(items, lambda b: b + bytes(4096))


def flip_bit(c, items):
    def one(b):
        b = bytearray(b or b"\0")
        at = c.rng.randrange(len(b) * 8)
        b[at // 8] ^= 1 << at % 8
        return bytes(b)
    return bodies(items, one)


def header(b, n):
    """Where the field n (from 0) begins, and its length."""
    at = 0
    while n:
        at += 4 + struct.unpack(">H", b[at + 2:at + 4])[0]
        n -= 1
    return at, struct.unpack(">H", b[at + 2:at + 4])[0]


def field_op(n, what):
    def op(c, items):
        def one(b):
            b = bytearray(b)
            try:
                at, size = header(b, n)
            except (struct.error, IndexError):
                return bytes(b)
            if what == "value" and size:
                k = c.rng.randrange(size * 8)
                b[at + 4 + k // 8] ^= 1 << k % 8
            elif what == "id":
                b[at] ^= 1 << c.rng.randrange(8)
            elif what == "type":
                b[at + 1] ^= 1 << c.rng.randrange(3)
            elif what == "length":
                struct.pack_into(">H", b, at + 2, (size + c.rng.choice((-1, 1, 256))) % 65536)
            elif what == "gone":
                del b[at:at + 4 + size]
            elif what == "twice":
                b[at:at] = b[at:at + 4 + size]
            elif what == "zero":
                b[at + 4:at + 4 + size] = bytes(size)
            elif what == "random":
                b[at + 4:at + 4 + size] = os.urandom(size)
            elif what == "grow":
                b[at + 4 + size:at + 4 + size] = b"\0"
                struct.pack_into(">H", b, at + 2, size + 1)
            return bytes(b)
        return bodies(items, one)
    return op


def seq_op(value):
    return lambda c, items: texts(items, lambda t: change_packet(t, seq=c.seen.seq + value if isinstance(value, int) else value[0]))


def kind_op(c, items):
    return texts(items, lambda t: change_packet(t, kind=c.rng.choice([k for k in (*p.KINDS, "abort", "x") if k != c.seen.kind])))


def base64_op(how):
    def op(c, items):
        def one(t):
            m = json.loads(t)
            b = m["payload"]["body_b64"]
            alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            if how == "char" and b:
                i = c.rng.randrange(len(b))
                b = b[:i] + c.rng.choice([x for x in alphabet if x != b[i]]) + b[i + 1:]
            elif how == "bits":
                body = b.rstrip("=")
                b = body[:-1] + alphabet[alphabet.index(body[-1]) ^ 1] + b[len(body):] if b.endswith("=") else b + "="
            elif how == "pad":
                b = b.rstrip("=") if b.endswith("=") else b + "===="
            elif how == "blank":
                b = b[:4] + "\n" + b[4:]
            elif how == "url":
                b = b.replace("+", "-").replace("/", "_") if "+" in b or "/" in b else "-" + b[1:]
            elif how == "escape":
                m["payload"]["body_b64"] = "@"
                return json.dumps(m).replace('"@"', '"\\u%04x%s"' % (ord(b[0]), b[1:]) if b else '"\\u0000"')
            elif how == "number":
                b = 7
            m["payload"]["body_b64"] = b
            return json.dumps(m)
        return texts(items, one)
    return op


def json_op(how):
    def op(c, items):
        def one(t):
            m = json.loads(t)
            if how == "extra":
                m["payload"]["token"] = "x"
            elif how == "outer":
                m["resume"] = 1
            elif how == "twice":
                return t.replace('"payload":{', '"payload":{"seq":%d,' % (c.seen.seq + 1))
            elif how == "proto":
                m["proto"] = "handfast-relay2"
            elif how == "ver":
                m["ver"] = 2
            elif how == "type":
                m["type"] = "relay"
            elif how == "deep":
                m["payload"]["body_b64"] = json.loads("[" * 20 + "]" * 20)
            elif how == "members":
                m["payload"].update({f"x{i}": 0 for i in range(200)})
            elif how == "blanks":
                return json.dumps(m, indent=3)
            elif how == "order":
                m["payload"] = dict(reversed(list(m["payload"].items())))
                return json.dumps(dict(reversed(list(m.items()))))
            elif how == "list":
                return "[1]"
            elif how == "float":
                return t.replace(f'"seq":{c.seen.seq}', f'"seq":{c.seen.seq}.0')
            elif how == "string":
                return t.replace(f'"seq":{c.seen.seq}', f'"seq":"{c.seen.seq}"')
            return json.dumps(m)
        return texts(items, one)
    return op


def frame_op(how):
    """Something of the relay's own before the message, or the message in other clothes."""
    def op(c, items):
        me, you = c.seen.role, relay.other(c.seen.role)
        s = c.session

        def first(data):
            return [relay.Item(you, None, None, raw=data)] + items

        def text(kind, payload):
            return first(wire.frame(relay.envelope(kind, payload).encode()))
        if how == "hello again":
            return text("hello", s.hello(you))
        if how == "hello, other id":
            return text("hello", dict(s.hello(you), session_id_b64=base64.b64encode(os.urandom(16)).decode()))
        if how == "resume twice by one token":
            more = dict(s.hello(you), resume_token="t" * 43, last_seq=c.rng.choice((1, 9, 2**53)))
            return text("hello", more)[:1] + text("hello", more)
        if how == "joined again":
            return text("peer_joined", {"role": me})
        if how == "left":
            return text("peer_left", {"role": me})
        if how == "left, then joined":
            return text("peer_left", {"role": me})[:1] + text("peer_joined", {"role": me})
        if how == "error":
            return text("error", {"code": "expired", "text": "the time is over"})
        if how == "pong":
            return text("pong", {})
        if how == "unknown type":
            return text("resume", {"token": "x"})
        if how == "ping":
            return first(wire.frame(b"x" * 125, wire.PING))
        if how == "long ping":
            return first(wire.frame(b"x" * 126, wire.PING))
        if how == "binary":
            return [i.copy(raw=wire.frame(i.bytes()[-20:], wire.BINARY)) for i in items]
        if how == "close":
            return first(wire.frame(struct.pack(">H", 1000), wire.CLOSE))
        if how == "bad close":
            return first(wire.frame(b"\0", wire.CLOSE))
        if how == "bad utf-8":
            return first(wire.frame(b'{"type":"\xff"}'))
        if how == "masked":
            return [i.copy(raw=wire.frame(unframed(i), mask=True)) for i in items]
        if how == "rsv":
            return [i.copy(raw=wire.frame(unframed(i), rsv=4)) for i in items]
        if how == "opcode":
            return first(wire.frame(b"x", 5))
        if how == "fragments":
            out = []
            for i in items:
                data = unframed(i)
                parts = [data[k:k + 50] for k in range(0, len(data), 50)]
                out += [i.copy(raw=wire.frame(x, wire.TEXT if n == 0 else 0, fin=n == len(parts) - 1)
                               + wire.frame(b"", wire.PING)) for n, x in enumerate(parts)]
            return out
        if how == "unended fragments":
            return first(wire.frame(b'{"type":', fin=False))[:1] + items
        if how == "oversize":
            return first(wire.frame(b'{"x":"' + b"y" * 20000 + b'"}'))
        if how == "length of 2^63":
            return first(wire.frame(b"x", length=(1 << 63) - 1))
        if how == "not a frame":
            return first(b"HTTP/1.1 500 No\r\n\r\n")
        if how == "lost":
            c.loop.call_soon(lambda: you in s.lines and s.lines[you].close())
            return items
        if how == "sender lost":
            c.loop.call_soon(lambda: me in s.lines and s.lines[me].close())
            return items
        if how == "swapped":
            return [i.copy(to=me, sender=you) if c.rng.random() < .5 else i.copy(sender=you) for i in items]
        raise KeyError(how)
    return op


def unframed(item):
    b = item.copy(raw=None).bytes()
    return b[2 if b[1] & 127 < 126 else 4:]


def abort_op(reason, instead):
    def op(c, items):
        a = relay.Item(relay.other(c.seen.role), c.seen.role,
                       p.packet("abort", c.seen.seq + c.rng.choice((0, 0, 1)), p.fields((1, bytes([reason])))))
        return [a] + ([] if instead else items)
    return op


def junk_sealed(c, items):
    """Nine messages that do not open, which a device passes over; then the right one."""
    junk = p.packet("sealed", c.seen.seq, os.urandom(60))
    return [i.copy(text=junk) for i in items for _ in range(9 if c.rng.random() < .5 else 10)] + items


def offer_op(how):
    """hello with another offer."""
    def op(c, items):
        if c.seen.seq != 1:
            return items

        def one(b):
            try:
                f = p.parse(b)
                offer, low = p.offer_of(b)
            except ValueError:  # an operation before this one broke it
                return b
            if how == "strip first":
                offer = offer[1:] or [b"v10-nothing"]
                low = low if low in offer else offer[-1]
            elif how == "strip last":
                offer = offer[:-1] or offer
                low = offer[-1]
            elif how == "reorder":
                offer = offer[::-1] if len(offer) > 1 else offer * 2
            elif how == "add strong":
                offer = [b"v90-future"] + offer
            elif how == "add weak":
                offer = offer + [b"v10-weak"]
            elif how == "add weak, minimum too":
                offer, low = offer + [b"v10-weak"], b"v10-weak"
            elif how == "lower minimum":
                low = offer[-1] if offer[-1] != low else b"v10-weak"
            elif how == "raise minimum":
                low = offer[0] if offer[0] != low else b"v90-future"
            elif how == "other minimum":
                low = offer[0] if low != offer[0] else offer[-1]
            elif how == "only weak":
                offer = low_only(offer)
                low = offer[0]
            elif how == "many":
                offer = [b"v%d-x" % i for i in range(99, 40, -1)] + offer
            elif how == "class":
                f[2] = (1, bytes(x ^ 3 for x in f[2][1]))
            elif how == "role":
                f[1] = (1, bytes(x ^ 1 for x in f[1][1]))
            elif how == "comparing":
                f[3] = (1, bytes(x ^ 1 for x in f[3][1]))
            elif how == "version":
                f[0] = (1, bytes([c.rng.choice((0, 2, 255))]))
            f[4], f[5] = (5, b"".join(map(p.lv, offer))), (4, low)
            return p.fields(*f)
        return bodies(items, one)
    return op


def low_only(offer):
    return [offer[-1]]


def forge_choose(c, items):
    """choose as its receiver expects it, given what it was told of the other's offer."""
    if c.seen.seq != 2:
        return items
    told = c.session.told
    you = relay.other(c.seen.role)
    own = next((s.body for s in c.session.seen if s.role == you and s.seq == 1), None)
    if own is None or you not in told:
        return items
    try:
        mine, theirs = p.offer_of(own), p.offer_of(told[you])
        offers = (mine, theirs) if you == "alice" else (theirs, mine)
        chosen = p.choice(*offers)
    except ValueError:  # an operation before this one broke it
        return items
    if not chosen:
        return items
    return bodies(items, lambda b: p.fields((4, chosen), (3, p.digest(c.session.id, *offers, chosen))))


ANY = {  # at every message
    "drop": drop, "delay": delay, "duplicate": duplicate, "duplicate late": late_duplicate, "reorder": hold,
    "replay earlier": replay_earlier, "replay of another session": replay_other_session,
    "replay of another session before": replay_other_session_first, "reflect": reflect, "reflect too": reflect_too,
    "wrong sender": wrong_sender, "truncate": truncate, "empty": empty, "extend": extend, "extend by a field": extend_field,
    "oversize body": huge, "flip a bit": flip_bit, "seq + 1": seq_op(1), "seq - 1": seq_op(-1), "seq huge": seq_op((2**53,)),
    "seq 0": seq_op((0,)), "seq none": seq_op((None,)), "other kind": kind_op,
}
JSON = {f"base64 {h}": base64_op(h) for h in ("char", "bits", "pad", "blank", "url", "escape", "number")} | \
    {f"json {h}": json_op(h) for h in ("extra", "outer", "twice", "proto", "ver", "type", "deep", "members", "blanks", "order",
                                      "list", "float", "string")}
FRAMES = {f"frame {h}": frame_op(h) for h in (
    "hello again", "hello, other id", "resume twice by one token", "joined again", "left", "left, then joined", "error", "pong", "unknown type", "ping",
    "long ping", "binary", "close", "bad close", "bad utf-8", "masked", "rsv", "opcode", "fragments", "unended fragments",
    "oversize", "length of 2^63", "not a frame", "lost", "sender lost", "swapped")}
ABORTS = {f"abort {r} {'instead' if i else 'before'}": abort_op(r, i) for r in (*range(1, 12), 0, 12, 255) for i in (0, 1)}
OFFERS = {f"offer: {h}": offer_op(h) for h in (
    "strip first", "strip last", "reorder", "add strong", "add weak", "add weak, minimum too", "lower minimum",
    "raise minimum", "other minimum", "only weak", "many", "class", "role", "comparing", "version")}
FIELD_OPS = {f"field {n + 1} {w}": field_op(n, w) for n in range(6)
             for w in ("value", "id", "type", "length", "gone", "twice", "zero", "random", "grow")}
SEALED = {"junk that does not open": junk_sealed}
ALL = ANY | JSON | FRAMES | ABORTS | OFFERS | FIELD_OPS | SEALED | {"forge choose": forge_choose}


class Context:
    def __init__(self, session, seen, rng, library, loop):
        self.session, self.seen, self.rng, self.library, self.loop = session, seen, rng, library, loop


class Meddle(relay.Plan):
    """An honest relay but for a row of (operation, sender, round)."""

    def __init__(self, row, rng, library, loop):
        self.row, self.rng, self.library, self.loop = row, rng, library, loop

    def packet(self, session, seen, items):
        session.told = getattr(session, "told", {})
        for name, role, seq in self.row:
            if (role, seq) == (seen.role, seen.seq) and seen.kind != "abort":
                session.fired += 1
                items = ALL[name](Context(session, seen, self.rng, self.library, self.loop), items)
        for i in items:
            if i.text and seen.seq == 1 and i.to != seen.role:
                try:
                    session.told[i.to] = base64.b64decode(json.loads(i.text)["payload"]["body_b64"])
                except (ValueError, KeyError, TypeError):
                    pass
        return items


def fits(name, seq):
    """Whether this operation means something at this round."""
    if name in FIELD_OPS:
        return int(name.split()[1]) <= FIELDS.get(seq, 0)
    if name in OFFERS:
        return seq == 1
    if name == "forge choose":
        return seq == 2
    if name in SEALED:
        return seq >= 7
    return True


def describe(row):
    return "; ".join(f"{name} at {role}'s {NAMES[seq]}" for name, role, seq in row)
