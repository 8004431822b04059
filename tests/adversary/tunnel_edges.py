"""A peer in Python that holds the key and goes to the edges: jumps, windows, numbers, the end of the file; and
a second peer on the same key."""
import os
import socket
import struct
import time

import lab
import psk2
import tunnel_net
from tunnel_net import CALLER, PORT, kind_of

INNER = b"not an IP packet"


class Actor:
    """The initiator in Python at the pskd of host b: its own socket in host a, whose daemon is stopped."""

    def __init__(self, pair, port=CALLER, stop=True):
        if stop:
            pair.a.daemons["pskd"].stop()
        self.pair = pair
        family = socket.AF_INET if pair.family == 4 else socket.AF_INET6
        self.sock = psk2.socket_in(pair.a, family, socket.SOCK_DGRAM)
        self.sock.bind((pair.wire.address(0, pair.family), port))
        self.peer = psk2.Peer(pair.keys, psk2.INITIATOR, self.sock, (pair.wire.address(1, pair.family), PORT))

    def welcome(self, tries=5, **over):
        """A WELCOME to a new HELLO, or None."""
        for _ in range(tries):
            self.sock.sendto(self.peer.hello(**over), self.peer.to)
            w = self.peer.expect(lambda d: (psk2.parse(d) or {}).get("type") == psk2.WELCOME and
                                 psk2.parse(d)["nonce_a"] == self.peer.nonce_a, 1)
            if w:
                return w
        return None

    def bind(self, number=None, tries=8, **over):
        """Whether pskd answers a BIND in the new session; over changes what it says. A BIND a second is heard."""
        w = psk2.parse(self.welcome() or b"")
        if not w:
            return False
        p = self.peer
        if "tx_next" not in over:
            p.tx_next = max(p.tx_next, w["rx_next"])
        n = w["session"] + 1 if number is None else number
        fields = dict(tx_next=p.tx_next, rx_next=p.rx_next)
        fields.update(over)
        msg = psk2.handshake(p.keys, psk2.BIND, psk2.INITIATOR, p.identity, w["nonce_a"], w["nonce_b"], n,
                             echo=(w["identity"], w["tx_next"], w["rx_next"]), **fields)
        session = psk2.Session(p.keys, n, w["nonce_a"], w["nonce_b"], p.identity, w["identity"])
        before, p.session = p.session, session
        for _ in range(tries):
            self.sock.sendto(msg, p.to)
            if p.expect(lambda d: p.take(d) is not None, 0.5):
                p.send(b"")
                return True
        p.session = before
        return False

    def drops(self, name):
        return self.pair.show(1)["drops"].get(name, 0)

    def takes(self, sequence, mangle=None):
        """Whether pskd authenticates a packet with this sequence: what is inside is no IP packet, and counted so."""
        before = self.pair.show(1)["drops"]
        d = self.peer.session.seal(psk2.INITIATOR, sequence, INNER)
        self.sock.sendto(mangle(d) if mangle else d, self.peer.to)
        now = lab.wait_for(lambda: (n := self.pair.show(1)["drops"]) != before and n, 3, 0.01) or before
        return now.get("no-ip-packet", 0) == before.get("no-ip-packet", 0) + 1

    def close(self):
        self.sock.close()


def window(actor):
    """The window's edges, and forged packets beyond them that must not move it."""
    p, wrong = actor.peer, []
    if not actor.bind():
        return ["no session"]
    n = p.tx_next + 9000 - p.tx_next % 1000  # the window is full of slots that are there

    def expect(sequence, accepted, name, mangle=None):
        if actor.takes(sequence, mangle) != accepted:
            wrong.append(f"{name} ({sequence}) was {'refused' if accepted else 'accepted'}")

    def bad_tag(d):
        return d[:-1] + bytes([d[-1] ^ 1])

    expect(n, True, "ahead")
    expect(n + 16001, False, "forged, far ahead", bad_tag)
    expect(n + 15999, False, "forged, ahead", bad_tag)
    expect(n + 8192, False, "forged, a window ahead", bad_tag)
    expect(n + 1, True, "next after forged ones")
    expect(n + 1, False, "the same again")
    expect(n + 2 - 8192, True, "the oldest in the window")
    expect(n + 1 - 8192, False, "one older")
    expect(n + 3, False, "forged, next", bad_tag)
    expect(n + 3, True, "true, next")
    expect(n + 3, False, "again")
    expect(n + 4 + 16001, False, "one too far ahead")
    expect(n + 4 + 16000, True, "the farthest")
    m = n + 4 + 16000
    expect(n + 4, False, "far below now")
    expect(m - m % 1000 + 999, True, "the last of a slot")
    expect(m - m % 1000 + 1000, True, "the first of the next")
    expect(m - m % 1000 + 999, False, "the last of a slot again")
    for at, name in ((5, "flags"), (6, "direction"), (7, "session"), (8, "tag"), (23, "tag's end"), (32, "ciphertext")):
        expect(m + 1500 + at, False, f"changed {name}", lambda d, at=at: d[:at] + bytes([d[at] ^ 1]) + d[at + 1:])
        expect(m + 1500 + at, True, f"true after changed {name}")
    for s in (1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 1000):
        header = p.session.seal(psk2.INITIATOR, m + 3000, INNER)
        actor.sock.sendto(header[:24] + struct.pack(">Q", s) + header[32:], p.to)
    expect(m + 3000, True, "true after the ends of numbers")
    p.tx_next = m + 3001
    return wrong


def jumps(actor):
    """A peer with the key may skip up to one percent; beyond, nothing moves until a burn is asked for."""
    wrong, p, pair = [], actor.peer, actor.pair
    if not actor.bind():
        return ["no session"]
    total = len(pair.keys.data) // 120 * 1000
    percent = total // 100

    def marks():
        s = pair.show(1)
        return s["packets_left"], s["slot_received"], s["slot_sent"]

    if not actor.bind(tx_next=p.tx_next + percent - 1000):
        wrong.append("a small jump of what it sends was refused")
    p.tx_next += percent - 1000
    p.send(b"")
    lab.wait_for(lambda: marks()[1] >= (p.tx_next - 1) // 1000, 20, 0.02)  # pskd has read it
    base = marks()
    for name, over in (("sends", {"tx_next": p.tx_next + 2 * percent}), ("received", {"rx_next": p.rx_next + 2 * percent}),
                       ("sends, all", {"tx_next": total}), ("received, all", {"rx_next": total}),
                       ("sends, 2^64-1", {"tx_next": (1 << 64) - 1}), ("received, 2^64-1", {"rx_next": (1 << 64) - 1}),
                       ("both, 2^63", {"tx_next": 1 << 63, "rx_next": 1 << 63})):
        # Who has come to the end sends nothing: that is no jump, but nothing may move either.
        if actor.bind(tries=3, **over) and name != "sends, all":
            wrong.append(f"a jump was accepted: {name}")
        now = marks()
        if base[0] - now[0] > 200 or now[1:] != base[1:]:
            wrong.append(f"marks moved by a refused jump ({name}): {base} {now}")
        state = pair.show(1)["state"]
        if state not in ("needs-burn", "exhausted", "up", "waiting"):
            wrong.append(f"{name}: {state}")
    if not actor.bind():
        wrong.append(f"no session after refused jumps: {pair.show(1)}")
    elif not actor.takes(p.tx_next + 1):
        wrong.append(f"nothing is heard after refused jumps: {pair.show(1)}")
    return wrong


def numbers(actor, values=(254, 255, 256, 257, 511, 512, (1 << 32) - 1, 0, 1, 2)):
    """Session numbers whose low byte comes again, and the ends of numbers: each session carries, and none that ended
    carries in the place of a later one. (An initiator counts up, so those that live at one time end differently.)"""
    wrong, p, ended = [], actor.peer, {}
    for n in values:
        if not actor.bind(n):
            wrong.append(f"session {n} was not made")
            continue
        p.tx_next += 1
        if not actor.takes(p.tx_next):
            wrong.append(f"session {n} carries nothing: {actor.pair.show(1)}")
        before = ended.get(n % 256)
        if before:
            d = before.seal(psk2.INITIATOR, p.tx_next + 5, INNER)
            count = actor.drops("no-ip-packet")
            actor.sock.sendto(d, p.to)
            time.sleep(0.2)
            if actor.drops("no-ip-packet") != count:
                wrong.append(f"a packet of session {before.number} counted in {n}")
        ended[n % 256] = p.session
        p.tx_next += 10
    return wrong


def second_initiator(pair):
    """Two on one key and role: whoever shakes hands last has the tunnel, no pair of key and nonce comes twice, and
    when the second is gone the first has it again."""
    other = Actor(pair, CALLER + 1, stop=False)
    wrong = []
    if not other.bind():
        wrong.append("the second initiator has the key and was refused")
    else:
        # Sequences that the first will come to, under other keys; the first is told to go beyond them.
        other.peer.tx_next += 300
        for _ in range(20):
            other.peer.send(INNER)
    other.close()
    if not pair.recovers(100):
        wrong.append(f"the first does not come back: {pair.show(0)} {pair.show(1)}")
    if pair.repeats():
        wrong.append("a sequence was sent twice")
    seen = {}
    for d in list(pair.wire.seen[0]):
        if kind_of(d) == "data" and seen.setdefault((d[7], d[24:32]), d) != d:
            wrong.append("one session, one sequence, two packets")
    return wrong


def second_responder(pair):
    """Somebody on the way who has the key answers before the responder: the initiator takes one of them, and the true
    one when the other is gone. The answer's BIND is of no use to the true responder."""
    keys, state, wrong = pair.keys, {"session": None, "bound": 0}, []
    identity = os.urandom(16)

    def policy(side, f):
        m = psk2.parse(f.data)
        if side == 0 and m and m["type"] == psk2.HELLO:
            nonce = os.urandom(32)
            w = psk2.handshake(keys, psk2.WELCOME, psk2.RESPONDER, identity, m["nonce_a"], nonce, m["session"], 5000, 0)
            state["nonces"] = m["nonce_a"], nonce, m["identity"]
            pair.wire.deliver(0, f._replace(source=f.destination, sport=f.dport, destination=f.source, dport=f.sport, data=w))
            return [(0, f)]
        if side == 0 and m and m["type"] == psk2.BIND and state.get("nonces") and m["nonce_b"] == state["nonces"][1]:
            a, b, who = state["nonces"]
            state["session"] = psk2.Session(keys, m["session"], a, b, who, identity)
            d = state["session"].seal(1, 5000 + state["bound"], b"")
            state["bound"] += 1
            pair.wire.deliver(0, f._replace(source=f.destination, sport=f.dport, destination=f.source, dport=f.sport, data=d))
            return [(0, f)]  # the true one gets it, too
        return None

    pair.wire.policy = policy
    pair.wire.inject(0, pair.call(), family=pair.family)
    if not lab.wait_for(lambda: state["bound"], 15):
        wrong.append("the initiator did not take the answer that came first")
    refused = lab.wait_for(lambda: pair.show(1)["drops"].get("handshake-nonce", 0), 5)
    if not refused:
        wrong.append("the true responder took a BIND that answers another WELCOME")
    pair.wire.policy = None
    if not pair.recovers(100):
        wrong.append(f"the true responder is not found again: {pair.show(0)} {pair.show(1)}")
    return wrong


def last_slot(net, name):
    """The end of the file, both ways: the last sequence counts, one more does not exist, and nothing begins anew."""
    pair = tunnel_net.Pair(net, name, slots=20)
    wrong = []
    for i, h in enumerate(pair.ends):
        r = h.handfast("tunnel", "burn", "t", "--to-slot", "19")
        if r.code:
            wrong.append(f"burn: {r}")
    for _ in range(30):
        # Each has to agree to where the other went.
        if pair.ping():
            break
        for h in pair.ends:
            h.handfast("tunnel", "burn", "t")
        time.sleep(0.5)
    for i, h in enumerate(pair.ends):
        # Packets are dropped while the disk is slow to reserve for them.
        for _ in range(60):
            if pair.show(i)["state"] == "exhausted":
                break
            h.run(f"{lab.BUILD}/tests/tools/udp-flood", pair.inner[1 - i], "9", "300", "300", input="00" * 16)
    time.sleep(0.5)
    high = [max((struct.unpack(">Q", d[24:32])[0] for d in s if kind_of(d) == "data"), default=0) for s in pair.wire.seen]
    states = [pair.show(i)["state"] for i in (0, 1)]
    if high != [19999, 19999] or states != ["exhausted", "exhausted"]:
        wrong.append(f"highest sequences {high}, states {states}")
    if pair.repeats():
        wrong.append("a sequence was sent twice")
    if not pair.alive():
        wrong.append("a daemon ended")
    pair.close()
    return wrong
