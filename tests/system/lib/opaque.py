"""A client of handfast-auth(7), written from that page and from RFC 9807, RFC 9497 and RFC 9380 alone:
OPAQUE-3DH over ristretto255-SHA512, and signed requests. Groups and Argon2id are libsodium's, hashes
Python's; nothing of handfast is called.

    c = opaque.Client("http://127.0.0.1:7150")
    c.register("alice", b"password", invitation=token)
    c.login("alice", b"password")
    r = c.signed("POST", "/api/transfer", {"to": "bob", "note": "hello"})   # r.status, r.json, r.headers
"""
import base64
import ctypes
import ctypes.util
import hashlib
import hmac
import http.client
import json
import os
import socket
import struct
import time
import urllib.parse

_na = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")
_na.sodium_init()
L = 2 ** 252 + 27742317777372353535851937790883648493
CONTEXT = b"OPRFV1-\0-ristretto255-SHA512"


class Wrong(Exception):
    """Wrong password, or another server."""


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sha512(*parts):
    return hashlib.sha512(b"".join(parts)).digest()


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha512).digest()


def extract(ikm, salt=b"", h=hashlib.sha512):
    return hmac.new(salt or b"\0" * h().digest_size, ikm, h).digest()


def expand(prk, info, n, h=hashlib.sha512):
    out, t, i = b"", b"", 1
    while len(out) < n:
        t = hmac.new(prk, t + info + bytes([i]), h).digest()
        out, i = out + t, i + 1
    return out[:n]


def lv(data):
    return struct.pack(">H", len(data)) + data


# ---- the group ----

def _call(f, n, *args):
    out = ctypes.create_string_buffer(n)
    if f(out, *args):
        raise Wrong("no element of the group")
    return out.raw


def multiply(scalar, element):
    return _call(_na.crypto_scalarmult_ristretto255, 32, scalar, element)


def base(scalar):
    return _call(_na.crypto_scalarmult_ristretto255_base, 32, scalar)


def scalar_of(n):
    return (n % L).to_bytes(32, "little")


def random_scalar():
    return scalar_of(int.from_bytes(os.urandom(64), "little"))


def expand_xmd(message, dst, n):
    """RFC 9380 section 5.3.1, SHA-512."""
    dst += bytes([len(dst)])
    b0 = sha512(b"\0" * 128, message, struct.pack(">H", n), b"\0", dst)
    out, b, i = b"", b"\0" * 64, 1
    while len(out) < n:
        b = sha512(bytes(x ^ y for x, y in zip(b0, b)) if i > 1 else b0, bytes([i]), dst)
        out, i = out + b, i + 1
    return out[:n]


def hash_to_group(message):
    return _call(_na.crypto_core_ristretto255_from_hash, 32, expand_xmd(message, b"HashToGroup-" + CONTEXT, 64))


def derive_dh(seed):
    info = lv(b"OPAQUE-DeriveDiffieHellmanKeyPair")
    for i in range(256):
        n = int.from_bytes(expand_xmd(seed + info + bytes([i]), b"DeriveKeyPair" + CONTEXT, 64), "little") % L
        if n:
            return scalar_of(n), base(scalar_of(n))
    raise AssertionError


def argon2id(data, memory_kib, passes):
    out = ctypes.create_string_buffer(64)
    if _na.crypto_pwhash(out, ctypes.c_ulonglong(64), data, ctypes.c_ulonglong(len(data)), b"\0" * 16,
                         ctypes.c_ulonglong(passes), ctypes.c_size_t(memory_kib * 1024), 2):
        raise MemoryError
    return out.raw


# ---- OPAQUE ----

def blind(password):
    r = random_scalar()
    return r, multiply(r, hash_to_group(password))


def randomized(password, r, evaluated, ksf):
    unblinded = multiply(scalar_of(pow(int.from_bytes(r, "little"), L - 2, L)), evaluated)
    y = sha512(lv(password), lv(unblinded), b"Finalize")
    return extract(y + argon2id(y, ksf["memory_kib"], ksf["passes"]))


def envelope_tag(rp, nonce, server_public, client, server):
    return mac(expand(rp, nonce + b"AuthKey", 64), nonce, server_public, lv(server), lv(client))


def make_record(password, r, response, client, server, ksf):
    rp = randomized(password, r, response[:32], ksf)
    nonce = os.urandom(32)
    _, public = derive_dh(expand(rp, nonce + b"PrivateKey", 32))
    return public + expand(rp, b"MaskingKey", 64) + nonce + envelope_tag(rp, nonce, response[32:], client, server)


def _label(secret, label, context):
    label = b"OPAQUE-" + label
    return expand(secret, struct.pack(">H", 64) + bytes([len(label)]) + label + bytes([len(context)]) + context, 64)


class Login:
    """One login's client half."""

    def __init__(self, password, client, server):
        self.password, self.client, self.server = password, client, server
        self.r, blinded = blind(password)
        self.secret, share = derive_dh(os.urandom(32))
        self.ke1 = blinded + os.urandom(32) + share

    def finish(self, ke2, ksf):
        """(KE3, session key), or Wrong."""
        rp = randomized(self.password, self.r, ke2[:32], ksf)
        pad = expand(expand(rp, b"MaskingKey", 64), ke2[32:64] + b"CredentialResponsePad", 128)
        plain = bytes(x ^ y for x, y in zip(pad, ke2[64:192]))
        server_public, nonce, tag = plain[:32], plain[32:64], plain[64:]
        if not hmac.compare_digest(tag, envelope_tag(rp, nonce, server_public, self.client, self.server)):
            raise Wrong("password")
        own, _ = derive_dh(expand(rp, nonce + b"PrivateKey", 32))
        share = ke2[224:256]
        prk = extract(multiply(self.secret, share) + multiply(self.secret, server_public) + multiply(own, share))
        preamble = sha512(b"OPAQUEv1-", lv(b""), lv(self.client), self.ke1, lv(self.server), ke2[:256])
        handshake = _label(prk, b"HandshakeSecret", preamble)
        server_mac = mac(_label(handshake, b"ServerMAC", b""), preamble)
        if not hmac.compare_digest(server_mac, ke2[256:]):
            raise Wrong("server")
        full = sha512(b"OPAQUEv1-", lv(b""), lv(self.client), self.ke1, lv(self.server), ke2[:256], server_mac)
        return mac(_label(handshake, b"ClientMAC", b""), full), _label(prk, b"SessionKey", preamble)


# ---- proofs ----

def pop_key(session_key):
    return expand(extract(session_key, h=hashlib.sha256), b"handfast pop", 32, hashlib.sha256)


def content_digest(body):
    return "sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()).decode() + ":"


def pop(key, mode, scheme, authority, method, target, fresh, nonce, digest):
    fields = ("handfast-pop-v1", mode, scheme, authority, method, target, fresh, nonce, digest)
    data = b"".join(struct.pack(">I", len(f.encode())) + f.encode() for f in fields)
    return b64(hmac.new(key, data, hashlib.sha256).digest())


class Reply:
    def __init__(self, r):
        self.status, self.headers, self.body = r.status, r.headers, r.read()
        try:
            self.json = json.loads(self.body)
        except ValueError:
            self.json = None

    @property
    def code(self):
        """The error's code, or ""."""
        error = (self.json or {}).get("error")
        return error.get("code", "") if isinstance(error, dict) else ""

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Client:
    def __init__(self, url, unix=None, ca=None, source=None):
        u = urllib.parse.urlsplit(url)
        self.scheme, self.authority, self.unix, self.ca, self.source = u.scheme, u.netloc, unix, ca, source
        self.prefix = u.path.rstrip("/")
        self.session = self.key = self.snonce = self.user = self.config_ = None

    # -- plain requests --
    def connect(self):
        host, port = self.authority, None
        if self.scheme == "https":
            import ssl
            return http.client.HTTPSConnection(host, port, timeout=60, context=ssl.create_default_context(cafile=self.ca))
        c = http.client.HTTPConnection(host, port, timeout=60, source_address=(self.source, 0) if self.source else None)
        if self.unix:
            c.sock = socket.socket(socket.AF_UNIX)
            c.sock.settimeout(60)
            c.sock.connect(self.unix)
        return c

    def raw(self, method, target, body=None, headers=()):
        """headers: a list of pairs, which may come twice."""
        c = self.connect()
        try:
            c.putrequest(method, target, skip_host=any(k.lower() == "host" for k, _ in headers), skip_accept_encoding=True)
            for k, v in headers:
                c.putheader(k, v)
            if body is not None:
                c.putheader("Content-Length", str(len(body)))
            c.endheaders(body)
            return Reply(c.getresponse())
        finally:
            c.close()

    def post(self, path, o, headers=()):
        body = o if isinstance(o, bytes) else json.dumps(o).encode()
        return self.raw("POST", self.prefix + path, body, [("Content-Type", "application/json"), *headers])

    def get(self, path, headers=()):
        return self.raw("GET", self.prefix + path, None, list(headers))

    def config(self):
        if not self.config_:
            self.config_ = self.get("/config").json
        return self.config_

    # -- OPAQUE --
    def register(self, user, password, invitation=None, signed=False):
        """The last answer."""
        post = (lambda p, o: self.signed("POST", p, o)) if signed else self.post
        more = {"invitation": invitation} if invitation else {}
        r, request = blind(password)
        a = post("/register/start", {"user": user, "request": b64(request), **more})
        if a.status != 200:
            return a
        record = make_record(password, r, unb64(a.json["response"]), user.encode(), self.config()["origin"].encode(), a.json["ksf"])
        return post("/register/finish", {"user": user, "record": b64(record), **more})

    def login(self, user, password):
        """The last answer; Wrong when the client finds out first."""
        login = Login(password, user.encode(), self.config()["origin"].encode())
        a = self.post("/login/start", {"user": user, "ke1": b64(login.ke1)})
        if a.status != 200:
            return a
        ke3, session_key = login.finish(unb64(a.json["ke2"]), a.json["ksf"])
        a = self.post("/login/finish", {"login_id": a.json["login_id"], "ke3": b64(ke3)})
        if a.status == 200:
            self.session, self.key, self.user = a.json["session_id"], pop_key(session_key), user
        return a

    # -- signed requests --
    def sign(self, method, target, body=b"", ts=None, snonce=None, nonce=None, scheme=None, authority=None):
        """Header fields. Without ts: the server's nonce where there is one, else now."""
        nonce, digest = nonce or b64(os.urandom(16)), content_digest(body)
        snonce = snonce or (self.snonce if ts is None else None)
        ts = str(int(time.time()) if ts is None else ts)
        value = pop(self.key, "nonce" if snonce else "time", scheme or self.scheme, authority or self.authority, method, target,
                    snonce or ts, nonce, digest)
        return [("Authorization", f"Bearer {self.session}"), ("X-SNONCE", snonce) if snonce else ("X-TS", ts), ("X-NONCE", nonce),
                ("Content-Digest", digest), ("X-POP", value)]

    def send(self, method, target, fields, body=b""):
        more = [("Content-Type", "application/json")] if body else []
        return self.raw(method, target, body or None, [*fields, *more])

    def signed(self, method, path, o=None):
        """As a client does it: again with the server's nonce when that is asked for."""
        body = b"" if o is None else o if isinstance(o, bytes) else json.dumps(o).encode()
        for _ in range(2):
            a = self.send(method, self.prefix + path, self.sign(method, self.prefix + path, body), body)
            if a.status != 401 or a.code not in ("time", "server_nonce"):
                return a
            self.snonce = a.headers["X-SNONCE"]
        return a
