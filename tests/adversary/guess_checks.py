"""The relay at its desk: honest sessions that it watched and sessions in which it played a half, both profiles, and the
planted leaks that it must find."""
import asyncio
import os
import random
import sys

import guessing
import pairing
import protocol
import relay

import lab

PIN = "007139"
SAMPLE = ("000000", "007138", "007140", "099999")
LONG = PIN + "00"  # what devices ask for that have seen many a PIN fail
FAILURES = 3  # that many in a row
FEW = 50000  # where more PINs show nothing more


class Fixed(random.Random):
    """A person who always makes the same PIN."""

    def choice(self, seq):
        if seq == "0123456789":
            self.n = getattr(self, "n", -1) + 1
            return LONG[self.n % len(LONG)]
        return super().choice(seq)


class Play(pairing.Between):
    """Plays a half until it has the device's tag; then the lines are cut, since nobody would come to the other device."""

    async def meanwhile(self, lane, persons, tasks):
        while not all(t.done() for t in tasks) and not any(getattr(getattr(p, "known", None), "tag", None) for p in self.puppets):
            await asyncio.sleep(0.05)
        for s in lane.relay.sessions.values():
            s.end()


async def sessions(net, binaries):
    """[(what, Known, right PIN, whom the guess fits)] of one kind of pairingd, and the seen of three honest ones."""
    v = pairing.Verdict()
    lane = pairing.Lane(net, f"g{len(net.hosts)}", "guess", binaries, v)
    await lane.begin()
    honest = []
    for i in range(2):
        await lane.run("watched", relay.Plan(), Fixed(i))
        honest.append((lane.last.id, list(lane.last.seen)))
    await lane.run("watched, another PIN", relay.Plan(), random.Random(3))
    honest.append((lane.last.id, list(lane.last.seen)))
    known = [(f"{role}s_tag_in_an_honest_session", protocol.watched(honest[0][1], honest[0][0], n, lane.profile), None)
             for n, role in enumerate(relay.ROLES)]
    for role in relay.ROLES:
        for guess in ("000000", PIN):
            plan = Play((role,), lambda g=guess: g, ([lane.profile], lane.profile))
            await lane.run("played", plan, Fixed(9))
            known.append((f"{role}s_tag_for_a_{'right' if guess == PIN else 'wrong'}_guess", plan.puppets[0].known, guess))
    return lane.profile.decode(), honest, known, v.findings


async def long_sessions(net, binaries):
    """The same of devices that want eight digits by now: [(what, Known)]."""
    v = pairing.Verdict()
    lane = pairing.Lane(net, f"g{len(net.hosts)}", "long guess", binaries, v)
    await lane.begin()
    for i in range(FAILURES):
        await lane.run("a PIN mistyped", relay.Plan(), random.Random(i), wrong=True)
    plan = Play(("alice",), lambda: "00000000", ([lane.profile], lane.profile))
    await lane.run("played", plan, Fixed(1))
    asked = [lane.pin["alice"]]
    await lane.run("watched", relay.Plan(), Fixed(2))
    asked.append(lane.pin["alice"])
    known = [("alices_tag_for_a_wrong_guess", plan.puppets[0].known),
             ("alices_tag_in_an_honest_session", protocol.watched(lane.last.seen, lane.last.id, 0, lane.profile))]
    return lane.profile.decode(), asked, known, v.findings


def check_long(net, count):
    """A hundred million are too many to try: so many of them at random, with the right one among them."""
    rng, base = random.Random(8), guessing.GROUP.Base
    pins = sorted({*(f"{n:08}" for n in rng.sample(range(10**8), count - 2)), "00000000", LONG})

    def guesser(known):
        return guessing.Guesser(known, LONG, others=("00000000", *rng.sample(pins, 3)), pins=pins)
    planted = guesser(guessing.forged(LONG, pairing.OLD, os.urandom(16), 0,
                                      lambda x, y: base.scalarmult(y).scalarmult(x).to_bytes()))
    got = planted.unblinded(1, 1, len(pins))
    lab.check("guessing_finds_a_pin_of_eight_digits_of_a_device_without_randomness", got == [planted.number(LONG)], got)
    profile, asked, known, findings = asyncio.run(long_sessions(net, pairing.binaries()[0]))
    lab.check(f"guessing_sessions_with_eight_digits_{profile}", not findings and asked == [LONG, LONG],
              f"{asked} {findings}")
    for what, k in known:
        g = guesser(k)
        got = g.unblinded(k.role, k.scalar, len(pins)) if k.scalar else \
            g.unblinded(1 - k.role, 1, len(pins)) + g.constant(base.to_bytes(), min(len(pins), FEW))
        lab.check(f"i2_offline_every_pin_but_the_guess_is_as_likely_{what}_with_eight_digits_{profile} "
                  f"({len(pins)} of 10^8 PINs)", not got, got)


def check(count):
    base = guessing.GROUP.Base
    session = os.urandom(16)
    planted = guessing.forged(PIN, pairing.OLD, session, 0, lambda x, y: base.scalarmult(y).scalarmult(x).to_bytes())
    got = guessing.Guesser(planted, PIN, others=SAMPLE).unblinded(1, 1, count)
    lab.check("guessing_finds_the_pin_of_a_device_without_randomness", got == [int(PIN)], got)
    planted = guessing.forged(PIN, pairing.OLD, session, 0, lambda x, y: base.to_bytes())
    got = guessing.Guesser(planted, PIN, others=SAMPLE).constant(base.to_bytes(), min(count, FEW))
    lab.check("guessing_finds_the_pin_where_a_tag_depends_on_it_alone", got == [int(PIN)], got)
    with lab.Lab() as net:
        check_long(net, count)
        for binaries in pairing.binaries()[:2]:
            profile, honest, known, findings = asyncio.run(sessions(net, binaries))
            lab.check(f"guessing_sessions_of_{profile}", not findings, findings)
            shapes = [guessing.shape(seen) for _, seen in honest]
            lab.check(f"i2_lengths_and_structure_are_the_same_for_every_pin_{profile}", shapes[0] == shapes[1] == shapes[2],
                      [x for x in zip(*shapes) if len(set(map(str, x))) > 1])
            again = guessing.recurring(honest[0][1], honest[1][1])
            lab.check(f"i2_two_sessions_with_one_pin_have_nothing_in_common_{profile}", not again, again)
            for what, k, guess in known:
                g = guessing.Guesser(k, PIN, others=SAMPLE if guess is None else (guess, *SAMPLE))
                if guess is None:
                    # Whatever secret it supposes the devices to have used, nothing fits.
                    side = 1 - k.role
                    got = g.unblinded(side, 1, count if k.role == 0 else min(count, FEW))
                    got += g.constant(base.to_bytes(), min(count, FEW))
                    want = []
                else:
                    got = g.unblinded(k.role, k.scalar, count)
                    want = [int(PIN)] if guess == PIN else []
                lab.check(f"i2_offline_every_pin_but_the_guess_is_as_likely_{what}_{profile} ({count} PINs)", got == want, got)


if __name__ == "__main__":
    check(int(sys.argv[1]) if len(sys.argv) > 1 else 10**6)
    sys.exit(lab.finish())
