"""PSK2 and its handshake, written from design and handfast-tunnel(7) alone: nothing here
shares code with pskd. For peers that tests play themselves, and for reading what was sniffed.
"""
import ctypes
import hashlib
import hmac
import os
import socket
import struct
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SLOT, PACKETS = 120, 1000
INITIATOR, RESPONDER = 0, 1
HELLO, WELCOME, BIND = 1, 2, 3


def hkdf(ikm, info, salt=None, length=32):
    return HKDF(hashes.SHA256(), length, salt, info).derive(ikm)


class KeyFile:
    def __init__(self, data):
        self.data = data

    @classmethod
    def random(cls, slots):
        return cls(os.urandom(SLOT * slots))

    def half(self, slot, direction):
        """tag, nonce, key of one direction of a slot."""
        at = SLOT * slot + 60 * direction
        b = self.data[at:at + 60]
        if len(b) < 60:
            raise IndexError("beyond the file")
        return b[:16], b[16:28], b[28:60]

    def hello_key(self):
        return hkdf(self.half(0, 1)[2], b"hello")

    def hint(self):
        return hmac.new(self.hello_key(), b"handfast key hint" + hashlib.sha256(self.data).digest(),
                        hashlib.sha256).digest()[:8]


class Session:
    """How data is keyed: from a handshake's nonces and identities, or (None) as in the prototype."""

    def __init__(self, keys, number=0, nonce_a=b"", nonce_b=b"", id_a=b"", id_b=b""):
        self.keys, self.number = keys, number
        self.bound = bool(nonce_a)
        self.salt, self.ids = nonce_a + nonce_b, id_a + id_b

    def key(self, slot, direction):
        tag, nonce, key = self.keys.half(slot, direction)
        if self.bound:
            key = hkdf(key, b"handfast psk2 session" + bytes([direction]) + self.ids, self.salt)
        return tag, nonce, key

    def seal(self, direction, sequence, packet):
        tag, nonce, key = self.key(sequence // PACKETS, direction)
        header = b"PSK2" + bytes([2, int(self.bound), direction,
                                  self.number % 256 if self.bound else 0]) + tag + struct.pack(">Q", sequence)
        return header + ChaCha20Poly1305(key).encrypt(
            nonce[:8] + struct.pack(">I", sequence & 0xffffffff), packet, header)

    def open(self, datagram):
        """direction, sequence, packet; or None."""
        if len(datagram) < 48 or datagram[:5] != b"PSK2\x02" or datagram[5] != int(self.bound):
            return None
        direction, (sequence,) = datagram[6], struct.unpack(">Q", datagram[24:32])
        if direction > 1 or datagram[7] != (self.number % 256 if self.bound else 0):
            return None
        try:
            tag, nonce, key = self.key(sequence // PACKETS, direction)
            if tag != datagram[8:24]:
                return None
            return direction, sequence, ChaCha20Poly1305(key).decrypt(
                nonce[:8] + struct.pack(">I", sequence & 0xffffffff), datagram[32:], datagram[:32])
        except (InvalidTag, IndexError):
            return None


FIXED = struct.Struct(">4sBBBB8s16sII32s32sQQ")
ECHO = struct.Struct(">16sQQ")
FIELDS = ("magic", "version", "type", "role", "zero", "hint", "identity", "software", "session",
          "nonce_a", "nonce_b", "tx_next", "rx_next")


def handshake(keys, kind, role, identity, nonce_a, nonce_b=bytes(32), session=0, tx_next=0, rx_next=0,
              echo=None, signature=b"", **over):
    """One message, authenticated by the hello key; over replaces any field of the fixed part."""
    f = dict(magic=b"PSKH", version=1, type=kind, role=role, zero=0, hint=keys.hint(), identity=identity,
             software=0x00010000, session=session, nonce_a=nonce_a, nonce_b=nonce_b, tx_next=tx_next,
             rx_next=rx_next)
    f.update(over)
    body = FIXED.pack(*(f[n] for n in FIELDS))
    if kind == BIND:
        body += ECHO.pack(*(echo or (bytes(16), 0, 0)))
    if kind == HELLO:
        body += bytes(256 - 32 - len(body))
    else:
        body += struct.pack(">H", len(signature)) + signature
    return body + hmac.new(keys.hello_key(), body, hashlib.sha256).digest()


def parse(datagram):
    """Fields of a handshake message as a dict, without checking its HMAC; or None."""
    if len(datagram) < FIXED.size or datagram[:4] != b"PSKH":
        return None
    f = dict(zip(FIELDS, FIXED.unpack_from(datagram)))
    if f["type"] == BIND:
        f["echo"] = ECHO.unpack_from(datagram, FIXED.size)
    return f


def is_authentic(keys, datagram):
    return hmac.compare_digest(hmac.new(keys.hello_key(), datagram[:-32], hashlib.sha256).digest(),
                               datagram[-32:])


class Peer:
    """A handfast peer in Python, on a UDP socket that the caller made."""

    def __init__(self, keys, role, sock, to=None, tx_next=0, rx_next=0):
        self.keys, self.role, self.sock, self.to = keys, role, sock, to
        self.identity = hashlib.sha256(b"a peer in Python %d" % role).digest()[:16]
        self.tx_next, self.rx_next = tx_next, rx_next
        self.session = None
        self.seen = []

    def receive(self, timeout=2.0):
        self.sock.settimeout(timeout)
        try:
            data, self.source = self.sock.recvfrom(65536)
        except (TimeoutError, socket.timeout):
            return None
        return data

    def hello(self, **over):
        self.nonce_a = os.urandom(32)
        fields = dict(role=self.role, identity=self.identity, nonce_a=self.nonce_a, tx_next=self.tx_next,
                      rx_next=self.rx_next)
        return handshake(self.keys, HELLO, **{**fields, **over})

    def bind(self, welcome, **over):
        w = parse(welcome)
        number = w["session"] + 1
        msg = handshake(self.keys, BIND, INITIATOR, self.identity, w["nonce_a"], w["nonce_b"], number,
                        self.tx_next, self.rx_next, (w["identity"], w["tx_next"], w["rx_next"]), **over)
        session = Session(self.keys, number, w["nonce_a"], w["nonce_b"], self.identity, w["identity"])
        return msg, session

    def connect(self, timeout=5.0):
        """As initiator: HELLO, WELCOME, BIND, first data. True when the peer answered in the session."""
        self.sock.sendto(self.hello(), self.to)
        welcome = self.expect(lambda d: (parse(d) or {}).get("type") == WELCOME and is_authentic(self.keys, d)
                              and parse(d)["nonce_a"] == self.nonce_a, timeout)
        if not welcome:
            return False
        self.tx_next = max(self.tx_next, parse(welcome)["rx_next"])
        msg, self.session = self.bind(welcome)
        self.last_bind = msg
        self.sock.sendto(msg, self.to)
        if not self.expect(lambda d: self.take(d) is not None, timeout):
            return False
        self.send(b"")
        return True

    def expect(self, wanted, timeout=5.0):
        """The first datagram that wanted() likes; others are looked at by take()."""
        while True:
            data = self.receive(timeout)
            if data is None:
                return None
            if wanted(data):
                return data

    def take(self, datagram):
        """The packet inside, when it is authentic data for us in the session."""
        got = self.session and self.session.open(datagram)
        if not got or got[0] == self.role:
            return None
        self.rx_next = max(self.rx_next, got[1] + 1)
        self.seen.append(got[1])
        return got[2]

    def send(self, packet, sequence=None):
        if sequence is None:
            sequence, self.tx_next = self.tx_next, self.tx_next + 1
        datagram = self.session.seal(self.role, sequence, packet)
        self.sock.sendto(datagram, self.to)
        return datagram


def socket_in(host, family, kind, proto=0):
    """A socket that belongs to a lab host's namespace; it stays there wherever it is used."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{host.netns}") as there:
        if libc.setns(there.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            return socket.socket(family, kind, proto)
        finally:
            libc.setns(home.fileno(), 0x40000000)


class Recorder:
    """Every UDP datagram that passes an interface of a host, kept in memory."""

    def __init__(self, host, interface="eth0"):
        self.sock = socket_in(host, socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
        self.sock.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR: what the device is to cut says so
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self.sock.bind((interface, 3))
        self.sock.settimeout(0.1)
        self.datagrams, self.stopped = [], False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopped:
            try:
                frame = self.sock.recv(70000)
            except OSError:  # nothing within the timeout; or the interface is not up yet
                continue
            gso, size, frame = frame[1] & 0x7f, struct.unpack("=H", frame[4:6])[0], frame[10:]
            kind = frame[12:14]
            if kind == b"\x08\x00" and frame[23] == 17:
                udp = frame[14 + 4 * (frame[14] & 15):]
                source = frame[26:30]
            elif kind == b"\x86\xdd" and frame[20] == 17:
                udp, source = frame[54:], frame[22:38]
            else:
                continue
            data = udp[8:struct.unpack(">H", udp[4:6])[0]]
            if gso != 5:  # VIRTIO_NET_HDR_GSO_UDP_L4
                size = len(data) or 1
            self.datagrams += [(source, data[i:i + size]) for i in range(0, len(data) or 1, size)]

    def stop(self):
        self.stopped = True
        self.thread.join()
        self.sock.close()
        return self.datagrams


def ipv4(source, destination, payload, ident=0, proto=17):
    """An IPv4 packet with a right header checksum."""
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident & 0xffff, 0, 64, proto, 0,
                       socket.inet_aton(source), socket.inet_aton(destination))
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    s = sum(struct.unpack(f">{len(data) // 2}H", data))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff


def echo_request(source, destination, ident, sequence, payload=b"x" * 32):
    head = struct.pack(">BBHHH", 8, 0, 0, ident, sequence)
    icmp = head[:2] + struct.pack(">H", checksum(head + payload)) + head[4:] + payload
    return ipv4(source, destination, icmp, sequence, 1)
