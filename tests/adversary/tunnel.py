"""The adversary against the tunnel: campaign(seconds, seed) -> counts, for tests/adversary/run.

Every handshake message × every attack once, then random seeded combinations until the time is over.
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


def campaign_round(pair, rng, score, seconds):
    """A while of chaos on one tunnel with restarts and new handshakes in it, then calm, in which all is well again."""
    guard = tunnel_attacks.Guard(pair)
    chaos = pair.wire.policy = Chaos(pair.wire, rng, rng.choice((0.2, 0.5, 0.8)), rng.choice((0.01, 0.05, 0.2)))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        what = rng.random()
        if what < 0.1:
            pair.restart(rng.randrange(2), rng.choice(("stop", "kill")))
        elif what < 0.6 and pair.kind == "keyfile":
            pair.wire.inject(0, pair.call(), family=pair.family)
        pair.ping(20)
    pair.wire.policy = None
    score.add("attacks", chaos.tried)
    guard.check(score, f"{pair.kind} chaos")


def campaign(seconds, seed, score=None):
    """Attacks on tunnels of every kind for about so many seconds; the counts of the summary line."""
    score = score or tunnel_attacks.Score()
    end = time.monotonic() + seconds
    rng = random.Random(f"tunnel {seed}")
    with lab.Lab() as net:
        n = 0
        made = []
        while time.monotonic() < end or n == 0:
            if len(made) < 3:
                kind = tunnel_net.KINDS[len(made)]
                made.append(tunnel_net.Pair(net, f"c{len(made)}", kind, rng.choice((4, 6)) if kind != "pairing" else 4))
            campaign_round(made[n % len(made)], random.Random(f"{seed} {n}"), score,
                           max(2, min(8, (end - time.monotonic()) / 3)))
            n += 1
        for p in made:
            p.close()
    for why in score.why:
        print(f"# {why}"[:1500], flush=True)
    return score.counts


if __name__ == "__main__":
    print(campaign(float(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "1"))
