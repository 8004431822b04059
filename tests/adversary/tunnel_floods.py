"""Floods of every bad kind, with memory measured; HELLOs while traffic flows; bytes out for bytes in."""
import collections
import os
import struct
import threading
import time

import lab
import psk2
import tunnel_net
from tunnel_attacks import sessions
from tunnel_net import kind_of


def is_sanitized():
    with open(f"{lab.BUILD}/bin/pskd", "rb") as f:
        return b"__asan_init" in f.read()


def material(pair):
    """Datagrams that passed: handshakes of an earlier session and data of this one, by kind and sender."""
    pair.restart(1)
    lab.wait_for(pair.ping, 30)
    pair.restart(0)
    lab.wait_for(pair.ping, 30)
    lab.wait_for(lambda: pair.ping(20), 10)
    kept = {(s, kind_of(f.data)): f.data for s, f in pair.wire.handshakes}
    for side in (0, 1):
        kept[side, "data"] = [d for d in list(pair.wire.seen[side]) if kind_of(d) in ("data", "prototype") and len(d) > 100][-8:]
    return kept


def seq(d, n):
    return d[:24] + struct.pack(">Q", n % (1 << 64)) + d[32:]


def flip(d, at, mask=1):
    return d[:at] + bytes([d[at] ^ mask]) + d[at + 1:]


def bad_kinds(pair, kept):
    """name -> (cause that must count it, datagrams) for the responder."""
    data, own = kept[0, "data"], kept[1, "data"]
    last = data[-1]
    n = struct.unpack(">Q", last[24:32])[0]
    kinds = {
        "short": ("length", [last[:4 + i] for i in range(44)]),
        "empty": ("length", [b"", b"P", b"PSK"]),
        "noise": ("magic", [os.urandom(20 + 70 * i) for i in range(20)]),
        "magic": ("magic", [b"PSK1" + x[4:] for x in data]),
        "version": ("version", [flip(x, 4) for x in data]),
        "flags": ("flags", [flip(x, 5, m) for x in data for m in (1, 2, 128)]),
        "direction": ("direction", [flip(x, 6, m) for x in data for m in (2, 128)]),
        "far_ahead": ("too-far-ahead", [seq(last, n + 17000 + i) for i in range(8)] + [seq(last, x) for x in (1 << 32, 1 << 63, (1 << 64) - 1)]),
        "slot_tag": ("slot-tag", [flip(seq(x, n + 50 + i), 8 + i) for i, x in enumerate(data)]),
        "other_slot": ("slot-tag", [seq(last, n + 1000 + i) for i in range(8)]),
        "aead": ("aead", [seq(x, n + 100 + i) for i, x in enumerate(data)] + [flip(seq(x, n + 120), len(x) - 1) for x in data]),
        "replay": ("replay", data),
        "own_packet": ("own-packet", own),
    }
    if pair.kind != "prototype":
        other = psk2.KeyFile.random(4)
        hello, call, welcome, bind = kept[0, "hello"], kept[1, "call"], kept[1, "welcome"], kept[0, "bind"]
        kinds |= {
            "session": ("session", [flip(x, 7, 0x55) for x in data]),
            "hs_short": ("handshake-malformed", [hello[:4 + 9 * i] for i in range(28)]),
            "hs_padded": ("handshake-malformed", [hello[:200] + b"\1" + hello[201:], welcome + b"\0", bind[:-1]]),
            "hs_other_key": ("handshake-other-key", [psk2.handshake(other, psk2.HELLO, 0, os.urandom(16), os.urandom(32))
                                                     for _ in range(8)]),
            "hs_mac": ("handshake-mac", [flip(x, 50 + i) for i in range(8) for x in (hello, welcome, bind)]),
            "hs_role": ("handshake-role", [welcome, call]),
            "hs_old_bind": ("handshake-nonce", [bind]),
            "hs_hello_again": ("handshake-rate", [hello]),
        }
        # An old BIND is one of a session before.
        old = [f.data for s, f in pair.wire.handshakes if kind_of(f.data) == "bind"]
        kinds["hs_old_bind"] = ("handshake-nonce", old[:-1] or old)
    return kinds


def udp_count(host, name):
    """A count of the kernel's, both families."""
    lines = [x.split() for x in host.run("cat", "/proc/net/snmp").out.splitlines() if x.startswith("Udp:")]
    six = dict(x.split() for x in host.run("cat", "/proc/net/snmp6").out.splitlines())
    return int(dict(zip(lines[0], lines[1]))[name]) + int(six["Udp6" + name])


def overrun(host):
    """Datagrams that came faster than they were read."""
    return udp_count(host, "RcvbufErrors")


def answered(pair):
    """HELLOs that the responder answered, and so did not count as dropped."""
    size = next((len(f.data) for s, f in pair.wire.handshakes if kind_of(f.data) == "welcome"), 154)
    return pair.wire.counts[1, "welcome"] + sum(pair.wire.strays.values()) // (size + (28 if pair.family == 4 else 48))


def junk(pair, count, rate=200_000):
    """count packets of each bad kind at the responder. Rows (name, sent, counted, overrun), its KiB resident before and
    after, and what is wrong."""
    kept = material(pair)
    kinds = bad_kinds(pair, kept)
    wire, rows, wrong = pair.wire, [], []
    wire.storm(1, [b"PSK1" + bytes(100)], 20_000, rate, family=pair.family)  # makes buffers what they will be
    before, session = pair.rss_kb(1), sessions(pair)
    received = udp_count(pair.b, "InDatagrams")
    for i, (name, (cause, datagrams)) in enumerate(kinds.items()):
        drops, lost, told = pair.show(1)["drops"], overrun(pair.b), answered(pair)
        # Every third kind from many addresses; replies to the peer's own are the peer's business.
        sent = wire.storm(1, datagrams, count, rate, 60_000 if i % 3 == 2 else 0, pair.family)

        def counted_now():
            return sum(pair.show(1)["drops"].values()) - sum(drops.values()) + answered(pair) - told

        lab.wait_for(lambda: counted_now() + overrun(pair.b) - lost >= sent * 0.99, 60, 0.1)
        now, counted = pair.show(1)["drops"], counted_now()
        rows.append((name, sent, counted, overrun(pair.b) - lost))
        if now.get(cause, 0) - drops.get(cause, 0) < max(1, count // 50):
            wrong.append(f"{name}: {cause} counted {now.get(cause, 0) - drops.get(cause, 0)} of {sent}: {now}")
        if counted + overrun(pair.b) - lost < sent * 0.99:
            wrong.append(f"{name}: {sent} sent, {counted} counted, {overrun(pair.b) - lost} overrun")
    together = sum(counted for _, _, counted, _ in rows) / max(1, udp_count(pair.b, "InDatagrams") - received)
    print(f"# {together:.2f} datagrams a receive", flush=True)
    if together < 1.1 and "udp-gro" in pair.show(1)["offload"]:
        wrong.append(f"{together:.2f} datagrams a receive: none came together")
    after = pair.rss_kb(1)
    if after - before >= 1024 and not is_sanitized():
        wrong.append(f"memory grew from {before} to {after} KiB")
    if not pair.recovers(30) or sessions(pair) != session:
        wrong.append(f"session {session} became {sessions(pair)}")
    forged = pair.forged()
    if forged:
        wrong.append(forged)
    return rows, (before, after), wrong


RATES = 60_000, 20_000, 6000  # HELLOs a second; the next where the machine itself loses most of them


def hellos_while_traffic_flows(pair, count):
    """Recorded HELLOs from 60000 addresses and HELLOs that look right, while TCP flows; then the peer starts again."""
    for n, rate in enumerate(RATES):
        before = overrun(pair.b)
        sent, wrong, told = hellos_at(pair, min(count, 200 * rate), rate, 9001 + n)
        lost = overrun(pair.b) - before
        # Then the tunnel's own packets are lost with them, before pskd has a say.
        if not wrong or lost < sent / 4:
            break
        print(f"# {lost} of {sent} HELLOs at {rate} a second overran the socket: {wrong}", flush=True)
    return sent, wrong, f"{rate} a second, {lost} overran the socket; {told}"


def hellos_at(pair, count, rate, port):
    hello = [f.data for s, f in pair.wire.handshakes if kind_of(f.data) == "hello"][-1:]
    like = [flip(hello[0], 50), hello[0][:40] + os.urandom(64) + hello[0][104:], hello[0][:-32] + os.urandom(32)]
    stream = tunnel_net.Stream(pair.a, pair.b, pair.inner[1], port=port)
    sent = []
    thread = threading.Thread(target=lambda: sent.append(pair.wire.storm(
        1, hello + like, count, rate, 60_000, pair.family)))
    thread.start()
    stalls = 0
    while thread.is_alive():
        stalls += not stream.moves(60, 8192)
    whole = stream.finish()
    wrong = [f"the stream stood still {stalls} times"] if stalls else []
    if not whole:
        wrong.append(f"stream: {stream.wrong} {stream.sent} {stream.whole}")
    thread = threading.Thread(target=lambda: sent.append(pair.wire.storm(
        1, hello + like, count, rate, 60_000, pair.family)))
    thread.start()
    pair.restart(0)
    begun = time.monotonic()
    up = lab.wait_for(pair.ping, 40)
    took = time.monotonic() - begun
    in_time = thread.is_alive()
    thread.join()
    if not up:
        wrong.append("the true peer's handshake did not succeed")
    return sum(sent), wrong, f"{stream.whole} bytes came, up after {took:.2f} s {'in' if in_time else 'after'} the flood"


# ---- amplification ------------------------------------------------------------------------------

def amplification(pair):
    """Every kind × size, each from an address of its own, to both sides, with the tunnel up and with it down.
    Rows (state, kind, to, packets, bytes in, bytes out, the worst address' ratio)."""
    kept = material(pair)
    wire, rows = pair.wire, []
    number = 0
    base = "198.19.%d.%d" if pair.family == 4 else "2001:db8:%x:%x::7"
    headers = 28 if pair.family == 4 else 48

    def send(side, data, times, came):
        nonlocal number
        number += 1
        source = base % (number // 250, number % 250 + 1)
        for _ in range(times):
            wire.inject(side, data, source, family=pair.family)
            came[source] += headers + len(data)

    def each(state):
        kinds = {kind: d for (s, kind), d in kept.items() if kind != "data"}
        kinds |= {"data of a": kept[0, "data"][-1], "data of b": kept[1, "data"][-1], "noise": os.urandom(1400),
                  "prototype": b"PSK2\x02\0\0\0" + os.urandom(100), "zeros": bytes(1400)}
        for side in (0, 1):
            for kind, whole in kinds.items():
                n = len(whole)
                came, before = collections.Counter(), collections.Counter(wire.strays)
                # Whole first, while it may still be answered; the smallest last.
                for size in sorted({1, 3, 4, 8, 31, 32, 47, 48, 119, 120, 151, 152, *range(16, n, 24), n - 1, n}, reverse=True):
                    send(side, whole[:size], 1, came)
                send(side, whole, 5, came)
                if n < 1000:
                    send(side, whole + bytes(100), 1, came)
                time.sleep(0.15)
                out = {s: wire.strays[s] - before[s] for s in came}
                rows.append((state, kind, "ab"[side], len(came), sum(came.values()), sum(out.values()),
                             max(out[s] / came[s] for s in came)))

    each("up")
    if pair.kind != "prototype":
        # Neither hears the other, and both look for it: then a call counts from anywhere.
        wire.policy = lambda side, frame: []
        pair.restart(0, "kill")
        pair.restart(1, "kill")
        each("down")
        wire.policy = None
        pair.recovers(60)
    return rows
