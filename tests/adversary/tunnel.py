"""The adversary against the tunnel: campaign(seconds, seed) -> counts, for tests/adversary/run.

Every message × every attack once, then numbered rounds until the time is over. What a round does is drawn from
the seed and its number; only which packet is under way meanwhile is chance.
"""
import os
import random
import sys
import time

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
                os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system", "lib")]
import lab  # noqa: E402
import tunnel_attacks  # noqa: E402
import tunnel_net  # noqa: E402
from tunnel_attacks import ACTIONS  # noqa: E402


class Chaos:
    """A policy: each message meets, with a chance of its own, an attack drawn from the seed."""

    def __init__(self, wire, rng, handshake=0.5, data=0.03):
        self.wire, self.rng, self.chances, self.tried = wire, rng, (data, handshake), 0
        self.names = sorted(ACTIONS)

    def __call__(self, side, frame):
        kind = tunnel_net.kind_of(frame.data)
        names = tunnel_attacks.DATA_ACTIONS if kind in ("data", "prototype") else self.names
        if self.rng.random() >= self.chances[kind not in ("data", "prototype")]:
            return None
        self.tried += 1
        return ACTIONS[self.rng.choice(names)](self.wire, side, frame, self.rng)


def campaign_round(pair, rng, score):
    """Chaos on one tunnel with restarts and new handshakes in it, then calm, in which all is well again."""
    guard = tunnel_attacks.Guard(pair)
    chaos = pair.wire.policy = Chaos(pair.wire, random.Random(rng.random()), rng.choice((0.2, 0.5, 0.8)), rng.choice((0.01, 0.05, 0.2)))
    for _ in range(rng.randrange(4, 13)):
        what, end, how = rng.random(), rng.randrange(2), rng.choice(("stop", "kill"))
        if what < 0.1:
            pair.restart(end, how)
        elif what < 0.6 and pair.kind == "keyfile":
            pair.wire.inject(0, pair.call(), family=pair.family)
        pair.ping(20)
    pair.wire.policy = None
    score.add("attacks", chaos.tried)
    guard.check(score, f"{pair.kind} chaos")


def campaign(seconds, seed, score=None, only=None):
    """Attacks on tunnels of every kind for about so many seconds, the matrix first and at least one round, or the
    attack of this number alone; the counts of the summary line."""
    score = score or tunnel_attacks.Score()
    end = time.monotonic() + seconds
    again = f" (again: make adversary SEED={seed} ONLY=t%d)"
    there = len(tunnel_attacks.jobs_of(seed))
    with lab.Lab() as net:
        if only is None or only < there:
            tunnel_attacks.matrix(net, seed, score, workers=4 if only is None else 1, until=end, only=only, hint=again)
            print(f"# tunnel: {score.counts['attacks']} of the {there} that are each message with each attack", flush=True)
        n, made = there if only is None else only, {}
        while (only is None and (time.monotonic() < end or n == there)) or (only == n and n >= there):
            kind = tunnel_net.KINDS[n % len(tunnel_net.KINDS)]
            if kind not in made:
                family = random.Random(f"{seed} {kind}").choice((4, 6)) if kind != "pairing" else 4
                made[kind] = tunnel_net.Pair(net, f"c{kind[:2]}", kind, family)
            part = tunnel_attacks.Score()
            campaign_round(made[kind], random.Random(f"{seed} {n}"), part)
            score.take(part, again % n)
            n += 1
        for p in made.values():
            p.close()
    for why in score.why:
        print(f"# {why}"[:1500], flush=True)
    return score.counts


if __name__ == "__main__":
    print(campaign(float(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "1"))
