"""Every message of a tunnel's handshake, and its data, under every attack of somebody on the way."""
import collections
import random
import threading
import time

import lab
import tunnel_net
from tunnel_net import STRANGER

HANDSHAKE = ("hello", "call", "welcome", "bind", "proof", "answer")
SENDER = {"hello": 0, "call": 1, "welcome": 1, "bind": 0, "proof": 1, "answer": 0}


class Score:
    """What the summary line counts; shared by threads."""

    FIELDS = ("attacks", "wrong successes", "downgrades", "second guesses", "hangs", "crashes")

    def __init__(self):
        self.counts = dict.fromkeys(self.FIELDS, 0)
        self.why, self.kinds, self.lock = [], collections.Counter(), threading.Lock()

    def add(self, field, n=1, why=""):
        with self.lock:
            self.counts[field] += n
            if why:
                self.why.append(f"{field}: {why}")

    def take(self, part, hint=""):
        """All of another's."""
        with self.lock:
            for k, n in part.counts.items():
                self.counts[k] += n
            self.kinds += part.kinds
            self.why += [w + hint for w in part.why]

    def line(self):
        return ", ".join(f"{k} {self.counts[k]}" for k in self.FIELDS)

    def is_clean(self):
        return not any(v for k, v in self.counts.items() if k != "attacks")


# ---- actions: act(wire, side, frame, rng) -> fates of the true message; what else they send they send ----

def passes(wire, side, frame, rng):
    return [(0, frame)]


def drop(wire, side, frame, rng):
    return []


def delay(wire, side, frame, rng):
    return [(rng.uniform(0.1, 0.4), frame)]


def delay_long(wire, side, frame, rng):
    return [(rng.uniform(1.5, 3), frame)]


def duplicate(wire, side, frame, rng):
    return [(rng.uniform(0, 0.5), frame) for _ in range(8)]


def flip_bits(wire, side, frame, rng):
    """One bit in turn; of data all of the header, and some of the rest."""
    whole = frame.data[:4] == b"PSKH"
    bits = range(8 * len(frame.data)) if whole else [*range(256), *rng.sample(range(256, 8 * len(frame.data)), 60)]
    for bit in bits:
        d = bytearray(frame.data)
        d[bit // 8] ^= 1 << bit % 8
        wire.deliver(1 - side, frame._replace(data=bytes(d)))
    return [(0.02, frame)]


FIELDS = ((0, 4), (4, 1), (5, 1), (6, 1), (7, 1), (8, 8), (16, 16), (32, 4), (36, 4), (40, 32), (72, 32), (104, 8),
          (112, 8), (120, 16), (136, 8), (144, 8), (152, 2))


def change_fields(wire, side, frame, rng):
    """Each field whole: zeros, ones, one more, one less, noise."""
    for at, n in (*FIELDS, (len(frame.data) - 32, 32), (len(frame.data) - 16, 16)):
        old = int.from_bytes(frame.data[at:at + n], "big")
        for new in (0, 256 ** n - 1, (old + 1) % 256 ** n, (old - 1) % 256 ** n, rng.randrange(256 ** n)):
            d = frame.data[:at] + new.to_bytes(n, "big") + frame.data[at + n:]
            if d != frame.data:
                wire.deliver(1 - side, frame._replace(data=d))
    return [(0.02, frame)]


def truncate(wire, side, frame, rng):
    for n in range(len(frame.data)):
        wire.deliver(1 - side, frame._replace(data=frame.data[:n]))
    return [(0.02, frame)]


def extend(wire, side, frame, rng):
    room = 1452 - len(frame.data)
    for n in (1, 2, 16, 32, 48, 104, 120, 240, 1000):
        if 0 < n <= room:
            for more in (bytes(n), frame.data[-min(n, len(frame.data)):], rng.randbytes(n)):
                wire.deliver(1 - side, frame._replace(data=frame.data + more))
    return [(0.02, frame)]


def reflect(wire, side, frame, rng):
    for _ in range(3):
        wire.deliver(side, frame._replace(source=frame.destination, sport=frame.dport,
                                          destination=frame.source, dport=frame.sport))
    return [(0.02, frame)]


def elsewhere(wire, side, frame, rng):
    """The same message first from an address that is nobody's."""
    _from_stranger(wire, side, frame)
    return [(0.05, frame)]


def elsewhere_alone(wire, side, frame, rng):
    _from_stranger(wire, side, frame)
    return []


def other_port(wire, side, frame, rng):
    wire.deliver(1 - side, frame._replace(sport=frame.sport + 7))
    return [(0.05, frame)]


def _from_stranger(wire, side, frame):
    wire.deliver(1 - side, frame._replace(source=STRANGER[frame.family], sport=4444))


def replay_earlier(wire, side, frame, rng):
    """All handshake messages that ever passed, of this session and of earlier ones, and then the true one."""
    for s, old in rng.sample(wire.handshakes, min(len(wire.handshakes), 200)):
        wire.deliver(1 - s, old)
    return [(0.02, frame)]


def replay_later(wire, side, frame, rng):
    return [(0, frame)] + [(0.02 * n, frame) for n in range(1, 20)] + [(1.2, frame), (1.7, frame)]


def answer_for_peer(wire, side, frame, rng):
    """What the peer would say, from somebody without the key: earlier answers under this message's nonces."""
    for s, old in rng.sample(wire.handshakes, min(len(wire.handshakes), 100)):
        if s != side and len(old.data) > 104:
            wire.deliver(side, old._replace(data=old.data[:40] + frame.data[40:104] + old.data[104:]))
    return [(0.02, frame)]


def other_key(wire, side, frame, rng):
    """A whole message of somebody with another key file, in this one's place; then this one."""
    wire.deliver(1 - side, frame._replace(data=frame.data[:8] + rng.randbytes(len(frame.data) - 8)))
    wire.deliver(1 - side, frame._replace(data=frame.data[:-32] + rng.randbytes(32)))
    return [(0.02, frame)]


ACTIONS = {f.__name__: f for f in (drop, delay, delay_long, duplicate, flip_bits, change_fields, truncate, extend, reflect,
                                   elsewhere, elsewhere_alone, other_port, replay_earlier, replay_later,
                                   answer_for_peer, other_key)}
KINDS = {"drop": "drop", "delay": "delay", "delay_long": "delay", "duplicate": "duplicate", "flip_bits": "modify", "change_fields": "modify",
         "truncate": "truncate", "extend": "extend", "reflect": "reflect", "elsewhere": "send_from_another_address",
         "elsewhere_alone": "send_from_another_address", "other_port": "send_from_another_address",
         "replay_earlier": "replay_what_came_before", "replay_later": "replay_later", "answer_for_peer": "answer_for_the_peer",
         "other_key": "forge_with_another_key"}
# None of these makes another message of the peer's: it must be as if they had not been.
MANGLING = ("flip_bits", "change_fields", "truncate", "extend", "other_key")
# Of data nothing has fields of a handshake.
DATA_ACTIONS = [n for n in ACTIONS if n not in ("answer_for_peer", "change_fields", "replay_earlier")]


class OnMessage:
    """A policy: the first `times` messages of a kind meet an action; the rest pass. A session's first data
    packets are its proof (responder's) and the answer to it."""

    def __init__(self, wire, kind, action, rng, times=1):
        self.wire, self.kind, self.action, self.rng, self.left = wire, kind, action, rng, times
        self.bound, self.met = False, 0

    def __call__(self, side, frame):
        kind = tunnel_net.kind_of(frame.data)
        if kind == "bind":
            self.bound = True
        if kind in ("data", "prototype") and self.kind in ("proof", "answer"):
            wanted = self.bound and side == SENDER[self.kind]
        else:
            wanted = kind == self.kind and side == SENDER.get(kind, side)
        if not wanted or self.left == 0:
            return None
        self.left -= 1
        self.met += 1
        return self.action(self.wire, side, frame, self.rng)


def sessions(pair):
    return tuple(pair.show(i).get("session") for i in (0, 1))


def handshakes(pair):
    return min(pair.show(i).get("handshakes", 0) for i in (0, 1))


class Guard:
    """What an attack may not have changed."""

    def __init__(self, pair):
        self.pair = pair

    def check(self, score, name):
        p, before = self.pair, score.counts["wrong successes"]
        if not p.alive():
            score.add("crashes", why=f"{name}: a daemon ended")
            return False
        if p.wire.wronged():
            score.add("wrong successes", why=f"{name}: {p.wire.wronged()}")
        if not p.recovers(100):
            score.add("hangs", why=f"{name}: no packet passes: {p.show(0)} {p.show(1)}")
            return False
        for i in (0, 1):
            at = p.show(i)["endpoint"]
            if not at.startswith((f"{p.wire.address(1 - i, 4)}:", f"[{p.wire.address(1 - i, 6)}]:")):
                score.add("wrong successes", why=f"{name}: {'ab'[i]} sends to {at}")
        forged = p.forged()
        if forged:
            score.add("wrong successes", why=f"{name}: {forged}")
        if p.repeats():
            score.add("wrong successes", why=f"{name}: {p.repeats()} sequences sent twice")
        plain = p.wire.counts[0, "prototype"] + p.wire.counts[1, "prototype"]
        if p.kind != "prototype" and plain:
            score.add("downgrades", why=f"{name}: {plain} packets without a session")
        return score.counts["wrong successes"] == before


def attack_message(pair, kind, name, rng, score, times=1):
    """A handshake in which one message meets an attack. It ends well all the same, without any other mark."""
    guard = Guard(pair)
    policy = OnMessage(pair.wire, kind, ACTIONS[name], rng, times)
    before, seen = handshakes(pair), len(pair.wire.handshakes)
    pair.wire.policy = policy
    label = f"{pair.kind} {name} {kind}"
    if kind == "call" or pair.kind == "pairing":
        pair.restart(SENDER[kind])
        before = 0
    end, asked, asks = time.monotonic() + 60, 0, 0
    while True:
        done = policy.met and handshakes(pair) > before and len(set(sessions(pair))) == 1
        if done or time.monotonic() > end:
            break
        # The peer asks until it is heard; who was started again does so itself.
        if before and time.monotonic() - asked > 1.1:
            asked, asks = time.monotonic(), asks + 1
            pair.wire.inject(0, pair.call(), family=pair.family)
        time.sleep(0.05)
    pair.wire.policy = None
    score.add("attacks")
    score.kinds[KINDS[name]] += 1
    if not policy.met:
        score.add("hangs", why=f"{label}: the message never came")
    elif not done:
        score.add("hangs", why=f"{label}: no handshake: {pair.show(0)} {pair.show(1)}")
    if name in MANGLING and pair.kind == "keyfile" and kind in ("hello", "welcome", "bind"):
        # An earlier attack's late copies may still be answered: they have its nonce.
        earlier = {f.data[40:72] for _, f in pair.wire.handshakes[:seen]}
        passed = [(tunnel_net.kind_of(f.data), f.data) for _, f in pair.wire.handshakes[seen:] if f.data[40:72] not in earlier]
        binds = {d[40:72] for k, d in passed if k == "bind"}
        hellos, welcomes = (sum(k == x for k, _ in passed) for x in ("hello", "welcome"))
        # Each time the peer asks is one attempt, and once is enough but where the machine stands still.
        if not 1 <= len(binds) <= max(asks, 1) or welcomes > hellos:
            score.add("wrong successes", why=f"{label}: {len(binds)} attempts for {asks} calls, {hellos} HELLOs, "
                      f"{welcomes} WELCOMEs")
    guard.check(score, label)


def attack_data(pair, side, name, rng, score, times=10):
    """Data of one side meet an attack while a TCP stream flows."""
    guard = Guard(pair)
    kind = "prototype" if pair.kind == "prototype" else "data"

    class OnData(OnMessage):
        def __call__(self, at, frame):
            return super().__call__(at, frame) if at == side else None

    def attack():
        """(whether the data came, the session is the same)"""
        before = sessions(pair)
        policy = OnData(pair.wire, kind, ACTIONS[name], rng, times)
        pair.wire.policy = policy
        for _ in range(10):
            if policy.left == 0:
                break
            pair.ping(20)
        pair.wire.policy = None
        return policy.left == 0, sessions(pair) == before

    # A session may end meanwhile for what an earlier attack held back, or because the machine stood still. An attack
    # that ends sessions ends the next ones, too.
    for _ in range(3):
        met, same = attack()
        if not met or same:
            break
    score.add("attacks")
    score.kinds[KINDS[name]] += 1
    label = f"{pair.kind} {name} data of {'ab'[side]}"
    if not met:
        score.add("hangs", why=f"{label}: no data came")
    if not same:
        score.add("wrong successes", why=f"{label}: another session, three times")
    guard.check(score, label)


def jobs_of(seed):
    """Every message × every attack, in an order of the seed's: (kind of tunnel, message or side, attack)."""
    jobs = [("keyfile", k, n) for k in HANDSHAKE for n in ACTIONS]
    jobs += [("pairing", k, n) for k in ("hello", "welcome", "bind")
             for n in ("flip_bits", "truncate", "elsewhere_alone", "replay_earlier")]
    jobs += [("prototype", s, n) for s in (0, 1) for n in DATA_ACTIONS]
    jobs += [("keyfile", s, n) for s in (0, 1) for n in DATA_ACTIONS]
    random.Random(seed).shuffle(jobs)
    return jobs


def matrix(net, seed, score, workers=4, prefix="m", until=float("inf"), only=None, hint=""):
    """The jobs of this seed, over several tunnels at once, or one of them. hint: behind a finding, % (number,)."""
    jobs = [(n, j) for n, j in enumerate(jobs_of(seed)) if only in (None, n)]
    lock = threading.Lock()

    def work(number):
        own = {"keyfile"} if number < workers - 1 else {"pairing", "prototype"}
        made = {}
        while time.monotonic() < until:
            with lock:
                at = next((j for j in jobs if j[1][0] in own), None)
                if at is None and own != {"keyfile"}:
                    own = {"keyfile"}
                    continue
                if at is None:
                    break
                jobs.remove(at)
            at, job = at
            kind, what, name = job
            if kind not in made:
                made[kind] = tunnel_net.Pair(net, f"{prefix}{number}{kind[:2]}", kind, 6 if number == 1 else 4)
            rng, part = random.Random(f"{seed} {job}"), Score()
            try:
                (attack_data if isinstance(what, int) else attack_message)(made[kind], what, name, rng, part)
            except Exception as e:  # a broken test is not a verdict of none
                part.add("crashes", why=f"{job}: {type(e).__name__} {e}")
            score.take(part, hint % at if hint else "")
        for p in made.values():
            p.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
