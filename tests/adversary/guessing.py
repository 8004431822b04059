"""What a relay can find out about a PIN offline: it tries all of them against what it saw, with the real group and
hashes (tests/tools/pin-table.c), and must not find one that fits better than the others.

Argon2id for 10^6 PINs takes days, so the right PIN, the guess and a sample have their true passwords, and the others
have scalars in steps from the right one's. That is no help to the devices: whoever could tell the right PIN among
passwords that have nothing to do with one another could tell it among the true ones, and the test sees whether the
right one is told, by a key that follows from anything that the relay knows."""
import random
import subprocess

from spake2.parameters.ed25519 import ParamsEd25519 as PARAMS

import protocol as p

import lab

GROUP = PARAMS.group
ORDER = GROUP.order()
BLIND = (PARAMS.M, PARAMS.N)


def point(data):
    return GROUP.bytes_to_element(data)


class Guesser:
    """The relay at its desk with one side's confirmation. pins: what it tries, in this order; else every number."""

    def __init__(self, known, pin, cls="PIN", others=(), pins=None):
        self.known, self.pin = known, pin
        self.number = {v: i for i, v in enumerate(pins)}.__getitem__ if pins else int
        self.passwords = {v: p.stretch(known.profile, known.id, cls.encode(), v.encode()) for v in {pin, *others}}
        self.scalars = {v: GROUP.password_to_scalar(w) for v, w in self.passwords.items()}

    def search(self, first, step, own, count):
        """The numbers of the PINs that fit when PIN i means the key first - i * step."""
        k = self.known
        label = f"handfast.pairing.confirm.{p.ROLES[k.role]}"
        ids = p.sha256(k.ids[0]) + p.sha256(k.ids[1])
        lines = [" ".join((str(count), first.hex(), step.hex(), ids.hex(), k.shares[0].hex(), k.shares[1].hex(), label,
                           k.message().hex(), k.tag.hex()))]
        lines += [f"{self.number(v)} {e.hex()} {self.passwords[v].hex()}" for v, e in own.items() if self.number(v) < count]
        out = subprocess.run(["nice", f"{lab.BUILD}/tests/tools/pin-table"], input="\n".join(lines) + "\n", text=True,
                             capture_output=True, check=True).stdout.splitlines()
        assert out[1] == f"tried {count}", out
        return [int(x) for x in out[0].split()[1:]]

    def unblinded(self, side, scalar, count):
        """As though this scalar were the secret of the side that faces this share."""
        share, blind = point(self.known.shares[side][1:]), BLIND[side]

        def key(w):
            return share.add(blind.scalarmult(-w % ORDER)).scalarmult(scalar).to_bytes()
        right = self.scalars[self.pin]
        return self.search(key((right - self.number(self.pin)) % ORDER), blind.scalarmult(scalar).to_bytes(),
                           {v: key(w) for v, w in self.scalars.items()}, count)

    def constant(self, element, count):
        """As though the key were this element, and the PIN came in by the password's hash alone."""
        identity = bytes([1]) + bytes(31)
        return self.search(element, identity, {v: element for v in self.passwords}, count)


def forged(pin, profile, session, role, key):
    """A confirmation as broken devices would give it, and its Known: key(x, y, w) is what they compute."""
    password = p.stretch(profile, session, b"PIN", pin.encode())
    w = GROUP.password_to_scalar(password)
    x, y = 1, random.randrange(1, ORDER)
    shares = [b"A" + GROUP.Base.scalarmult(x).add(PARAMS.M.scalarmult(w)).to_bytes(),
              b"B" + GROUP.Base.scalarmult(y).add(PARAMS.N.scalarmult(w)).to_bytes()]
    ids = [b"a", b"b"]
    kp = p.sha256(p.sha256(password) + p.sha256(ids[0]) + p.sha256(ids[1]) + shares[0][1:] + shares[1][1:] + key(x, y))
    k = p.Known(profile, session, ids, shares, bytes(32), role, None, bytes(32))
    k.tag = p.tag(kp, b"confirm", profile, session, k.joined, role, 4, k.commitment)
    return k


def shape(seen):
    """What lengths and structure show of a session."""
    out = []
    for s in sorted(seen, key=lambda s: (s.seq, s.role)):
        parts = [(t, len(v)) for t, v in p.parse(s.body)] if s.seq < 7 else len(s.body)
        out.append((s.role, s.kind, s.seq, len(s.text), parts))
    return out


def recurring(one, other):
    """Pieces of eight bytes that two sessions share in what depends on secrets."""
    def pieces(seen):
        out = {}
        for s in seen:
            if s.seq == 3:
                values = [p.parse(s.body)[0][1][1:]]
            elif s.seq in (4, 5, 6):
                values = [v for _, v in p.parse(s.body)]
            elif s.seq >= 7:
                values = [s.body]
            else:
                values = []
            for v in values:
                out.update({v[i:i + 8]: (s.role, s.seq) for i in range(len(v) - 7)})
        return out
    a, b = pieces(one), pieces(other)
    return [a[x] for x in a.keys() & b.keys()]
