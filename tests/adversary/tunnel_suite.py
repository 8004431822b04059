"""The adversary's checks of a tunnel, side by side; tests/system/83 runs them small, 88 whole."""
import os
import random
import threading
import time

import lab
import tunnel_attacks
import tunnel_edges
import tunnel_floods
import tunnel_net
import tunnel_orders

FLOOD = int(os.environ.get("ADVERSARY_FLOOD", "10000000"))  # packets of each bad kind, where they are many


def matrix(net, seed, big):
    """Every message × every attack, once (big: ten times over)."""
    score = tunnel_attacks.Score()
    for n in range(10 if big else 1):
        tunnel_attacks.matrix(net, f"{seed}{n or ''}", score, prefix=f"m{n}")
    print(f"# tunnel messages: {score.line()}", flush=True)
    for kind in sorted(set(tunnel_attacks.KINDS.values())):
        lab.check(f"adversary_tunnel_{kind}: {score.kinds[kind]} attacks", score.kinds[kind] > 0, "none was tried")
    lab.check("i1_i4_every_message_of_a_tunnel_under_every_attack_on_the_way",
              score.is_clean() and score.counts["attacks"] >= 160, " | ".join(score.why))


def orders(net, seed, big):
    pair = tunnel_net.Pair(net, "o", family=random.Random(seed).choice((4, 6)))
    total, whys = 0, []
    for _ in range(5 if big else 1):
        n, why = tunnel_orders.orders(pair, None)
        total += n
        whys += [why] if why else []
    print(f"# handshakes in {total} orders", flush=True)
    lab.check("i1_recorded_handshakes_in_every_order_change_nothing", total >= 1440 and not whys, "; ".join(whys))
    lab.check("i6_recorded_hellos_from_the_peers_own_address_stop_no_handshake",
              *tunnel_orders.hello_of_peer_flooded(pair))
    lab.check("i1_a_recorded_call_repeated_burns_no_key_material", *tunnel_orders.calls_repeated(pair, 30 if big else 4))
    lab.check("i4_a_bind_that_was_held_back_changes_nothing", *tunnel_orders.bind_held_back(pair))
    lab.check("i6_forged_handshakes_without_the_key_are_unanswered",
              *tunnel_orders.forged_without_key(pair, 100_000 if big else 3000, random.Random(seed)))
    pair.close()


def floods(net, seed, big):
    for kind, family in (("keyfile", 4), ("prototype", 6)) + ((("keyfile", 6), ("prototype", 4)) if big else ()):
        pair = tunnel_net.Pair(net, f"f{kind[0]}{family}", kind, family)
        begun = time.monotonic()
        rows, (before, after), wrong = tunnel_floods.junk(pair, FLOOD if big else 20_000)
        for name, sent, counted, overrun in rows:
            print(f"# junk {kind} v{family} {name}: {sent} sent, {counted} counted, {overrun} overran the socket")
        print(f"# junk {kind} v{family}: {before} KiB before, {after} KiB after {sum(r[1] for r in rows)} packets, "
              f"{time.monotonic() - begun:.0f} s", flush=True)
        lab.check(f"i4_junk_of_every_kind_leaves_memory_flat_and_the_session_alone_{kind}_v{family}", not wrong, "; ".join(wrong))
        pair.close()


def hellos(net, seed, big):
    family = random.Random(seed).choice((4, 6))
    pair = tunnel_net.Pair(net, "h", family=family)
    sent, wrong, told = tunnel_floods.hellos_while_traffic_flows(pair, FLOOD if big else 150_000)
    print(f"# {sent} HELLOs from 60000 addresses, v{family}: {told}", flush=True)
    lab.check("i6_hellos_from_everywhere_stall_no_traffic_and_stop_no_handshake", not wrong, "; ".join(wrong))
    pair.close()


def amplification(net, seed, big):
    for kind, family in (("keyfile", 4), ("keyfile", 6), ("prototype", 4)):
        pair = tunnel_net.Pair(net, f"a{kind[0]}{family}", kind, family)
        rows = tunnel_floods.amplification(pair)
        worst = max(r[-1] for r in rows)
        for state, name, to, n, came, out, ratio in rows:
            print(f"# amplification {kind} v{family} {state}: {name} to {to}: {n} addresses, {came} bytes in, {out} out, "
                  f"at worst {ratio:.3f}")
        answered = any(r[-2] for r in rows)
        lab.check(f"i6_no_unproven_address_gets_more_bytes_than_it_sent_{kind}_v{family}",
                  worst <= 1.0 and (answered or kind == "prototype"), f"{worst}: {max(rows, key=lambda r: r[-1])}")
        pair.close()


def edges(net, seed, big):
    pair = tunnel_net.Pair(net, "e", family=random.Random(f"{seed} e").choice((4, 6)))
    actor = tunnel_edges.Actor(pair)
    for name, check in (("i1_windows_edges_and_forged_packets_beyond_them", tunnel_edges.window),
                        ("session_numbers_wrap_and_their_low_byte_comes_again", tunnel_edges.numbers),
                        ("i1_a_peer_with_the_key_jumps_no_further_than_a_percent", tunnel_edges.jumps)):
        wrong = check(actor)
        lab.check(name, not wrong, "; ".join(wrong))
    actor.close()
    pair.close()
    wrong = tunnel_edges.last_slot(net, "l")
    lab.check("i1_the_last_sequence_of_a_file_is_the_last", not wrong, "; ".join(wrong))


def seconds(net, seed, big):
    pair = tunnel_net.Pair(net, "s")
    wrong = tunnel_edges.second_responder(pair)
    lab.check("i1_a_second_responder_with_the_key_leaves_the_tunnel_whole", not wrong, "; ".join(wrong))
    wrong = tunnel_edges.second_initiator(pair)
    lab.check("i1_a_second_initiator_with_the_key_leaves_the_tunnel_whole", not wrong, "; ".join(wrong))
    pair.close()


def weather(net, seed, big):
    """Delay, duplicates, other orders, loss and change of everything: TCP inside is whole all the same."""
    for kind in tunnel_net.KINDS:
        rng = random.Random(f"{seed} {kind}")
        pair = tunnel_net.Pair(net, f"w{kind[0:2]}", kind)
        pair.ping()
        guard, score = tunnel_attacks.Guard(pair), tunnel_attacks.Score()
        stream = tunnel_net.Stream(pair.a, pair.b, pair.inner[1], 300_000, seed=str(seed))

        def policy(side, f, rng=rng):
            r = rng.random()
            if r < 0.03:
                return []
            fates = [(rng.uniform(0, 0.03), f)]
            if r < 0.10:
                fates.append((rng.uniform(0, 1), f))
            if r < 0.13:
                d = bytearray(f.data)
                d[rng.randrange(len(d))] ^= 1 << rng.randrange(8)
                fates.append((0, f._replace(data=bytes(d))))
            return fates

        pair.wire.policy = policy
        time.sleep(60 if big else 5)
        moved = stream.moves(30)
        pair.wire.policy = None
        whole = stream.finish()
        guard.check(score, f"{kind} weather")
        print(f"# {kind}: {stream.whole} bytes came whole, {pair.wire.together} datagrams left together", flush=True)
        lab.check(f"adversary_meets_batches_{kind}", pair.wire.together[0] > 100 or "udp-gso" not in pair.show(0)["offload"],
                  f"{pair.wire.together} {pair.show(0)}")
        lab.check(f"i1_tcp_is_whole_through_late_doubled_reordered_and_changed_packets_{kind}",
                  moved and whole and score.is_clean() and stream.whole > 50_000,
                  f"{stream.wrong} {stream.sent} {stream.whole} {score.why}")
        pair.close()


def renewal(net, seed, big):
    """A session of 2^20 packets is renewed, and nothing is lost by it but what a full queue loses."""
    a, b = net.host("ra", netns=True), net.host("rb", netns=True)
    net.link(a, "10.99.0.1/24", b, "10.99.0.2/24")
    pair = tunnel_net.Pair.__new__(tunnel_net.Pair)
    pair.net, pair.name, pair.kind, pair.family, pair.a, pair.b, pair.ends, pair.tunnel = net, "r", "keyfile", 4, a, b, (a, b), "t"
    pair.wire = type("Direct", (), {"address": staticmethod(lambda side, family: ("10.99.0.1", "10.99.0.2")[side])})
    pair._declare(12000)
    lab.wait_for(pair.ping, 30)
    before = tunnel_attacks.sessions(pair)
    b.run("nft", "add table ip f; add chain ip f i { type filter hook input priority 0; }; add rule ip f i udp dport 9 drop")
    for _ in range(100):
        # What a busy machine does not take is lost in the device's queue.
        a.run(f"{lab.BUILD}/tests/tools/udp-flood", "10.9.0.2", "9", "100000", "40000", input="00" * 16, timeout=120)
        if tunnel_attacks.sessions(pair)[0] > before[0]:
            break
    renewed = lab.wait_for(lambda: tunnel_attacks.sessions(pair)[0] > before[0] and pair.ping(), 60, 0.1)
    s = [pair.show(i) for i in (0, 1)]
    lab.check("a_session_is_renewed_after_2_to_the_20_packets", renewed and s[0]["sent"]["packets"] > 1 << 20 and
              s[0]["handshakes"] == s[1]["handshakes"] > 1, s)


def two_to_the_32(net, seed, big):
    """Sequences beyond 2^32: the nonce has only the low half, and each key belongs to one slot all the same."""
    slots = (1 << 32) // 1000 + 20
    pair = tunnel_net.Pair(net, "n", slots=slots)
    for _ in range(100):
        if pair.show(1)["state"] == "up":
            break
        time.sleep(0.5)
    at = (1 << 32) - 200
    for h in pair.ends:
        h.handfast("tunnel", "burn", "t", "--to-slot", str(at // 1000))
    for _ in range(60):
        if pair.ping():
            break
        for h in pair.ends:
            h.handfast("tunnel", "burn", "t")
        time.sleep(0.5)
    for h, to in ((pair.a, pair.inner[1]), (pair.b, pair.inner[0])):
        h.run("ping", "-q", "-n", "-f", "-c", "800", to, check=False, timeout=60)
    used = [sorted({int.from_bytes(d[24:32], "big") for d in s if tunnel_net.kind_of(d) == "data"}) for s in pair.wire.seen]
    crossed = [any(x < 1 << 32 for x in u) and any(x > 1 << 32 for x in u) for u in used]
    pairs = [{(d[8:24], d[28:32]) for d in s if tunnel_net.kind_of(d) == "data"} for s in pair.wire.seen]
    lab.check("i1_sequences_beyond_2_to_the_32_repeat_nothing", all(crossed) and pair.ping() and not pair.repeats() and
              all(len(p) == len(u) for p, u in zip(pairs, used)), f"{[(u[0], u[-1]) for u in used if u]} {pair.show(0)} {pair.show(1)}")
    pair.close()


def run(checks, seed, big, workers):
    """The checks, a few at a time, in hosts of their own."""
    todo, lock = list(checks), threading.Lock()
    with lab.Lab() as net:
        def work():
            while True:
                with lock:
                    if not todo:
                        return
                    check = todo.pop(0)
                begun = time.monotonic()
                try:
                    check(net, f"{seed} {check.__name__}", big)
                except Exception as e:  # a test that breaks has shown nothing
                    lab.fail(f"adversary_{check.__name__}", f"{type(e).__name__}: {e}")
                print(f"# {check.__name__}: {time.monotonic() - begun:.1f} s", flush=True)

        threads = [threading.Thread(target=work) for _ in range(workers)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    return lab.finish()


SMALL = [matrix, seconds, orders, amplification, edges, floods, weather, hellos]
WHOLE = [floods, *(c for c in SMALL if c is not floods), renewal, two_to_the_32]
