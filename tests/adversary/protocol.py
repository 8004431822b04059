"""handfast-pairing(7) for an attacker: bodies, digests, and a puppet that plays one half with a guessed secret."""
import asyncio
import base64
import ctypes
import ctypes.util
import functools
import hashlib
import hmac
import json
import secrets
import struct

import spake2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

P = b"handfast pairing 1"
ROLES = ("alice", "bob")
KINDS = ("hello", "choose", "pake", "confirm", "handshake", "finish", "sealed", "sealed", "sealed")
NUMBER = {"sealed": 32, "abort": 33, **{k: i for i, k in enumerate(KINDS[:6], 1)}}
RAW = {"encoding": serialization.Encoding.Raw, "format": serialization.PublicFormat.Raw}


def lv(x):
    return struct.pack(">H", len(x)) + x


def sha256(x):
    return hashlib.sha256(x).digest()


def hkdf(ikm, salt, info, n):
    return HKDF(hashes.SHA256(), n, salt, info).derive(ikm)


def fields(*values):
    """A body of (type, bytes), numbered from 1."""
    return b"".join(bytes([i, t]) + lv(v) for i, (t, v) in enumerate(values, 1))


def parse(body):
    """[(type, value)] of a body; ValueError when it is none."""
    out = []
    while body:
        if len(body) < 4 or len(body) < 4 + struct.unpack(">H", body[2:4])[0]:
            raise ValueError("cut")
        n = struct.unpack(">H", body[2:4])[0]
        out.append((body[1], body[4:4 + n]))
        body = body[4 + n:]
    return out


def names(value):
    """A list field's texts; ValueError when it is none."""
    out = []
    while value:
        if len(value) < 2 or len(value) < 2 + struct.unpack(">H", value[:2])[0]:
            raise ValueError("cut")
        n = struct.unpack(">H", value[:2])[0]
        out.append(value[2:2 + n])
        value = value[2 + n:]
    return out


def offer_of(hello):
    """(profiles, minimum) of a hello body; ValueError when it is none."""
    f = parse(hello)
    if len(f) < 6 or not f[4][1]:
        raise ValueError("cut")
    return names(f[4][1]), f[5][1]


def rank(name):
    return int(name[1:name.index(b"-")])


def choice(alice, bob):
    """What both sides choose of these offers, or None."""
    both = [n for n in alice[0] if n in bob[0] and rank(n) >= max(rank(alice[1]), rank(bob[1]))]
    return max(both, key=lambda n: (rank(n), n)) if both else None


def digest(session, alice, bob, chosen):
    def offer(o):
        return struct.pack(">H", len(o[0])) + b"".join(lv(n) for n in o[0]) + lv(o[1])
    return sha256(lv(b"handfast pairing negotiation") + lv(session) + offer(alice) + offer(bob) + lv(chosen))


def argon2id(password, salt):
    sodium = ctypes.CDLL(ctypes.util.find_library("sodium"))
    sodium.sodium_init()
    out = ctypes.create_string_buffer(32)
    if sodium.crypto_pwhash(out, ctypes.c_ulonglong(32), password, ctypes.c_ulonglong(len(password)), salt,
                            ctypes.c_ulonglong(3), ctypes.c_size_t(64 << 20), ctypes.c_int(2)):
        raise MemoryError
    return out.raw


@functools.lru_cache(64)
def stretch(profile, session, cls, value):
    return argon2id(lv(profile) + lv(session) + lv(cls) + lv(value),
                    sha256(lv(b"handfast pairing salt") + lv(session))[:16])


def packet(kind, seq, body):
    return json.dumps({"type": "packet", "proto": "handfast-relay", "ver": 1, "payload": {
        "kind": kind, "seq": seq, "body_b64": base64.b64encode(body).decode()}}, separators=(",", ":"))


class Transcript:
    """The hash chains of one side."""

    def __init__(self, session):
        self.chain = [sha256(lv(b"handfast pairing chain") + bytes([1, r]) + lv(session)) for r in (0, 1)]
        self.joined = bytes(32)

    def add(self, role, kind, seq, body):
        self.chain[role] = sha256(lv(b"handfast pairing message") + self.chain[role]
                                  + bytes([role, NUMBER[kind]]) + struct.pack(">Q", seq) + lv(body))

    def join(self, name, extra=b""):
        self.joined = sha256(lv(b"handfast pairing join") + lv(name) + self.joined + self.chain[0] + self.chain[1]
                             + lv(extra))


def tag(key, purpose, profile, session, joined, role, seq, extra):
    mac = hkdf(key, None, b"handfast pairing " + purpose + b" " + ROLES[role].encode(), 32)
    return hmac.new(mac, lv(P) + lv(profile) + lv(session) + lv(joined) + bytes([role]) + struct.pack(">Q", seq)
                    + lv(extra), hashlib.sha256).digest()


class Known:
    """What an attacker has of one side's confirmation: enough to test a PIN if it could compute the key."""

    def __init__(self, profile, session, ids, shares, joined, role, scalar, commitment=None, said=None):
        self.profile, self.id, self.ids, self.shares, self.joined = profile, session, ids, shares, joined
        self.role, self.scalar, self.commitment, self.tag = role, scalar, commitment, said

    def message(self):
        """What the tag is over."""
        return (lv(P) + lv(self.profile) + lv(self.id) + lv(self.joined) + bytes([self.role]) + struct.pack(">Q", 4)
                + lv(self.commitment))


def watched(seen, session, role, profile):
    """The same of an honest session that the relay only watched."""
    t = Transcript(session)
    by = {(s.role, s.seq): s.body for s in seen if s.kind != "abort"}
    for seq in (1, 2, 3):
        for n, r in enumerate(ROLES):
            t.add(n, KINDS[seq - 1], seq, by[r, seq])
        if seq == 1:
            offers = [offer_of(by[r, 1]) for r in ROLES]
            t.join(b"negotiated", digest(session, *offers, profile))
            ids = [lv(P) + lv(n.encode()) + lv(profile) + lv(session) + lv(t.joined) for n in ROLES]
    t.join(b"pake")
    commitment, said = (v for _, v in parse(by[ROLES[role], 4]))
    shares = tuple(parse(by[r, 3])[0][1] for r in ROLES)
    return Known(profile, session, ids, shares, t.joined, role, None, commitment, said)


class Stopped(Exception):
    """The device aborted, or sent what does not follow."""


class Puppet:
    """The attacker as one half of a pairing, with one guess at the secret."""

    def __init__(self, role, session, guess, send, offer=None, cls=1):
        self.role, self.id, self.guess, self.say, self.cls = role, session, guess.encode(), send, cls
        self.offer = offer or ([b"v40-spake2-x25519"], b"v40-spake2-x25519")
        self.key = Ed25519PrivateKey.generate()
        self.inbox = asyncio.Queue()
        self.t = Transcript(session)
        self.seq, self.right, self.reached = 0, None, 0

    def send(self, kind, body):
        self.seq += 1
        self.t.add(self.role, kind, self.seq, body)
        self.say(packet(kind, self.seq, body))

    async def receive(self, kind, seq):
        p = json.loads(await asyncio.wait_for(self.inbox.get(), 20))["payload"]
        body = base64.b64decode(p["body_b64"])
        if (p["kind"], p["seq"]) != (kind, seq):
            raise Stopped(p["kind"])
        self.t.add(1 - self.role, kind, seq, body)
        self.reached = seq
        return body

    def cipher(self, role, seq):
        k = hkdf(self.session, None, b"handfast pairing channel " + ROLES[role].encode(), 44)
        nonce = bytes(a ^ b for a, b in zip(k[32:], bytes(4) + struct.pack(">Q", seq)))
        ad = lv(P) + lv(self.profile) + lv(self.id) + lv(self.open) + bytes([role]) + struct.pack(">Q", seq)
        return ChaCha20Poly1305(k[:32]), nonce, ad

    def seal(self, kind, body):
        c, nonce, ad = self.cipher(self.role, self.seq + 1)
        self.send("sealed", c.encrypt(nonce, bytes([kind]) + body, ad))

    async def unseal(self, seq):
        body = await self.receive("sealed", seq)
        c, nonce, ad = self.cipher(1 - self.role, seq)
        try:
            return c.decrypt(nonce, body, ad)
        except InvalidTag:
            raise Stopped("sealed for somebody else") from None

    async def play(self):
        """As far as it goes. self.right: whether the guess was the secret, once the device's tag told."""
        try:
            await self.run()
        except (Stopped, asyncio.TimeoutError, ValueError, IndexError):
            pass

    async def run(self):
        me, you = self.role, 1 - self.role
        self.send("hello", fields((1, b"\1"), (1, bytes([me])), (1, bytes([self.cls])), (1, b"\0"),
                                  (5, b"".join(map(lv, self.offer[0]))), (4, self.offer[1])))
        theirs = offer_of(await self.receive("hello", 1))
        offers = (self.offer, theirs) if me == 0 else (theirs, self.offer)
        self.profile = choice(*offers)
        if not self.profile:
            raise Stopped("nothing in common")
        d = digest(self.id, *offers, self.profile)
        self.t.join(b"negotiated", d)
        self.send("choose", fields((4, self.profile), (3, d)))
        await self.receive("choose", 2)
        password = await asyncio.to_thread(stretch, self.profile, self.id, b"PIN" if self.cls == 1 else b"SEC", self.guess)
        ids = [lv(P) + lv(n.encode()) + lv(self.profile) + lv(self.id) + lv(self.t.joined) for n in ROLES]
        pake = (spake2.SPAKE2_A, spake2.SPAKE2_B)[me](password, idA=ids[0], idB=ids[1])
        self.send("pake", fields((3, pake.start())))
        share = parse(await self.receive("pake", 3))[0][1]
        kp = pake.finish(share)
        self.t.join(b"pake")
        joined = self.t.joined
        self.known = Known(self.profile, self.id, ids, (share, pake.side + pake.outbound_message)[::1 if you == 0 else -1],
                           joined, you, pake.xy_scalar)
        nonce, x = secrets.token_bytes(32), X25519PrivateKey.generate()
        share = x.public_key().public_bytes(**RAW)
        commitment = sha256(lv(b"handfast pairing commitment") + lv(self.id) + bytes([me]) + lv(nonce) + lv(share))
        self.send("confirm", fields((3, commitment), (3, tag(kp, b"confirm", self.profile, self.id, joined, me, 4, commitment))))
        said = parse(await self.receive("confirm", 4))
        self.known.commitment, self.known.tag = said[0][1], said[1][1]
        self.right = said[1][1] == tag(kp, b"confirm", self.profile, self.id, joined, you, 4, said[0][1])
        self.t.join(b"committed")
        self.send("handshake", fields((3, nonce), (3, share)))
        opened = parse(await self.receive("handshake", 5))
        self.t.join(b"handshake")
        agreed = x.exchange(X25519PublicKey.from_public_bytes(opened[1][1]))
        self.session = hkdf(lv(kp) + lv(agreed), self.t.joined, b"handfast pairing session " + self.profile, 32)
        self.send("finish", fields((3, tag(self.session, b"finish", self.profile, self.id, self.t.joined, me, 6, b""))))
        await self.receive("finish", 6)
        self.t.join(b"confirmed")
        self.open = self.t.joined
        # Who sits in the middle claims that somebody compared the numbers.
        self.seal(7, fields((1, b"\1")))
        await self.unseal(7)
        public = self.key.public_key().public_bytes(**RAW)

        def identity(signature):
            return fields((4, b"mallory"), (1, b"\1"), (3, public), (3, signature), (3, bytes(16)), (2, b"\x1c\x20"),
                          (5, b""), (4, b""), (4, b"x"), (4, b""))
        said = lv(b"handfast pairing identity") + lv(self.open) + bytes([me]) + lv(sha256(identity(bytes(64))))
        self.seal(8, identity(self.key.sign(said)))
        await self.unseal(8)
        self.seal(9, b"")
        await self.unseal(9)
