"""Recorded and forged handshakes in every order, and recordings used where they hurt most."""
import itertools
import os
import threading
import time

import lab
import psk2
import tunnel_net
from tunnel_attacks import handshakes, sessions

PARTS = ("hello", "welcome", "bind")


def record(pair):
    """The messages of a handshake that one side's start brings, by kind, and a data packet of each side."""
    at = len(pair.wire.handshakes)
    pair.restart(1)
    lab.wait_for(pair.ping, 30)
    found = {tunnel_net.kind_of(f.data): (s, f) for s, f in pair.wire.handshakes[at:]}
    return found


def orders(pair, stream):
    """All 720 orders of HELLO, WELCOME and BIND of the present and of an earlier session, at both sides and from the
    true and from a strange source. (orders tried, why not: empty when nothing came of it)."""
    old, new = record(pair), record(pair)
    stream = stream or tunnel_net.Stream(pair.a, pair.b, pair.inner[1])
    missing = [k for k in PARTS if k not in old or k not in new]
    if missing:
        return 0, f"{missing} were not recorded"
    time.sleep(1)
    before, shaken, n = sessions(pair), handshakes(pair), 0
    left = [pair.show(i)["packets_left"] for i in (0, 1)]
    data = [len(s) for s in pair.wire.seen]
    for order in itertools.permutations([old[k] for k in PARTS] + [new[k] for k in PARTS]):
        for backwards in (False, True):
            for side, f in order:
                # To whom it was meant, and to its sender as if the other had said it.
                if backwards:
                    f = f._replace(source=f.destination, sport=f.dport, destination=f.source, dport=f.sport)
                if n % 3 == 2:
                    f = f._replace(source=tunnel_net.STRANGER[f.family])
                pair.wire.deliver(side if backwards else 1 - side, f)
            n += 1
        if n % 40 == 0:
            time.sleep(0.01)
    moved = stream.moves(20)
    after = sessions(pair)
    spent = [left[i] - pair.show(i)["packets_left"] for i in (0, 1)]
    sent = [len(s) - d for s, d in zip(pair.wire.seen, data)]
    whole = stream.finish()
    why = []
    if after != before or handshakes(pair) != shaken:
        why.append(f"sessions {before} became {after}, {shaken} handshakes {handshakes(pair)}")
    if not moved or not whole:
        why.append(f"the stream stopped: {stream.wrong} {stream.sent} sent, {stream.whole} came")
    if any(x > y + 50 for x, y in zip(spent, sent)):
        why.append(f"{spent} sequences are gone, {sent} datagrams passed")
    if pair.forged() or pair.wire.wronged():
        why.append(pair.forged() + pair.wire.wronged())
    return n, "; ".join(why)


def hello_of_peer_flooded(pair, kinds=3):
    """Recorded HELLOs from the true peer's own address, as fast as they go, while it starts again: it comes up."""
    recorded = []
    for _ in range(kinds):
        pair.restart(0)
        lab.wait_for(pair.ping, 30)
        recorded.append(next(f for s, f in reversed(pair.wire.handshakes) if tunnel_net.kind_of(f.data) == "hello"))
    done, sent = threading.Event(), 0

    def flood():
        nonlocal sent
        while not done.wait(0.001):
            for f in recorded:
                for _ in range(10):
                    pair.wire.deliver(1, f)
                    sent += 1

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    lab.wait_for(lambda: pair.show(1)["drops"].get("handshake-rate", 0) > 100, 20)
    pair.restart(0)
    begun = time.monotonic()
    up = lab.wait_for(pair.ping, 30)
    took = time.monotonic() - begun
    dropped = pair.show(1)["drops"].get("handshake-rate", 0)
    done.set()
    thread.join()
    return bool(up) and dropped > 100, f"up {bool(up)} after {took:.1f} s, {sent} sent, {dropped} refused: {pair.show(1)}"


def calls_repeated(pair, seconds=6):
    """A recorded call of the responder from its own address: few handshakes, few sequences."""
    call = record(pair).get("call")
    if not call:
        return False, "no call was recorded"
    pair.ping()
    shaken, left = handshakes(pair), [pair.show(i)["packets_left"] for i in (0, 1)]
    for _ in range(10 * seconds):
        pair.wire.deliver(0, call[1])
        time.sleep(0.1)
    new = handshakes(pair) - shaken
    spent = [left[i] - pair.show(i)["packets_left"] for i in (0, 1)]
    # Four at once; and each costs a sequence or two. Keepalives are few.
    return new <= 5 and max(spent) < 20, f"{new} handshakes, {spent} sequences: {pair.show(0)['drops']}"


def bind_held_back(pair):
    """A BIND that was held back while a later session was made changes nothing, and what comes next comes up."""
    held = []

    def hold(side, f):
        if tunnel_net.kind_of(f.data) != "bind":
            return None
        if not held:
            held.append(f)
        return [] if f.data == held[0].data else None

    pair.wire.policy = hold
    shaken, end = handshakes(pair), time.monotonic() + 30
    while handshakes(pair) == shaken and time.monotonic() < end:
        pair.wire.inject(0, pair.call(), family=pair.family)
        time.sleep(1)
    pair.wire.policy = None
    # Within its sixteen seconds, or it would be too late anyway.
    lab.wait_for(pair.ping, 5)
    before = sessions(pair)
    pair.wire.deliver(1, held[0])
    lab.wait_for(lambda: not pair.ping(), 0.3)
    same = sessions(pair) == before
    pair.restart(0)
    begun = time.monotonic()
    up = lab.wait_for(pair.ping, 60, 0.1)
    took = time.monotonic() - begun
    return same and bool(up) and took < 8, f"{before} then {sessions(pair)}, up {bool(up)} after {took:.1f} s {pair.show(1)}"


def forged_without_key(pair, n=3000, rng=None):
    """Whole handshakes of somebody with another key, and with this one's hint: nothing is answered."""
    other = psk2.KeyFile.random(4)
    sent = pair.wire.counts[0, "welcome"] + pair.wire.counts[1, "welcome"] + pair.wire.counts[0, "bind"]
    before = sessions(pair)
    for i in range(n):
        kind = 1 + i % 3
        role = (i // 3) % 2 if kind == psk2.HELLO else (psk2.RESPONDER if kind == psk2.WELCOME else psk2.INITIATOR)
        over = {"hint": pair.keys.hint()} if i % 2 else {}
        data = psk2.handshake(other, kind, role, os.urandom(16), os.urandom(32), os.urandom(32) if kind > 1 else bytes(32),
                              rng.randrange(1 << 32), rng.randrange(1 << 64), rng.randrange(1 << 64), **over)
        pair.wire.inject(i % 2, data, family=pair.family, source=tunnel_net.STRANGER[pair.family] if i % 5 == 4 else None)
    time.sleep(0.3)
    now = pair.wire.counts[0, "welcome"] + pair.wire.counts[1, "welcome"] + pair.wire.counts[0, "bind"]
    return sessions(pair) == before and now == sent and pair.ping(), f"{now - sent} answers, {before} {sessions(pair)}"
