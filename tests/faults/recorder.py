"""The wire recorder: takes every datagram that hosts send, finds the key of each data packet by itself, and says
whether a pair of key and nonce was ever used twice.

It is written from the wire format and the ledger's (handfast-tunnel(7), handfast-ledger(5)) and shares no code with
pskd. It *knows* the key of what it counts: a packet that it cannot open by libsodium's AEAD is a failure of the
recorder, and counted as one. What it needs to know is given as material: a key file, or the chains of a pairing's
ratchet at slot 0, which a ledger shows before anything was sent (state.py). Sessions it learns from the handshakes
on the wire.

    r = Recorder([KeyFile(path)], [(host_a, "eth0"), (host_b, "eth0")])
    …                    # kill, cut, restore, clone
    v = r.stop()         # v.repeats, v.packets, v.sessions, v.pairs, v.unopened, v.lost
"""
import ctypes
import hmac
import select
import socket
import struct
import threading
import time

import psk2

SLOT, PACKETS = 120, 1000
SOL_PACKET, PACKET_STATISTICS, PACKET_VNET_HDR, OUTGOING = 263, 6, 15, 4
GSO_UDP = 5
PENDING_MAX = 20000

_sodium = ctypes.CDLL("libsodium.so.23")
_sodium.sodium_init()
_open = _sodium.crypto_aead_chacha20poly1305_ietf_decrypt
_open.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulonglong,
                  ctypes.c_char_p, ctypes.c_ulonglong, ctypes.c_char_p, ctypes.c_char_p]
_plain = ctypes.create_string_buffer(65536)


def aead_opens(key, nonce, header, sealed):
    return _open(_plain, None, None, sealed, len(sealed), header, len(header), nonce, key) == 0


def hkdf(ikm, info, salt=b"", length=32):
    """RFC 5869 with SHA-256, up to two blocks."""
    prk = hmac.digest(salt or bytes(32), ikm, "sha256")
    t = hmac.digest(prk, info + b"\1", "sha256")
    return (t + hmac.digest(prk, t + info + b"\2", "sha256"))[:length]


# ---- where keys come from ---------------------------------------------------------------------

class KeyFile:
    """A key file: its slots as they were when the recorder began."""

    def __init__(self, path, prototype=False):
        with open(path, "rb") as f:
            self.data = f.read()
        self.prototype = prototype
        self.hello_key = hkdf(self.half(0, 1)[2], b"hello")

    def half(self, slot, direction):
        """(tag, nonce, key), or None beyond the end."""
        b = self.data[SLOT * slot + 60 * direction:SLOT * slot + 60 * direction + 60]
        return (b[:16], b[16:28], b[28:]) if len(b) == 60 else None


class Ratchet:
    """A pairing's chains, from the slot 0 of both directions on."""
    prototype = False

    def __init__(self, chain_0, chain_1):
        self.chains = [[chain_0], [chain_1]]
        self.halves = {}
        self.hello_key = hkdf(self.half(0, 1)[2], b"hello")

    def half(self, slot, direction):
        if slot > 1 << 20:
            return None
        if (slot, direction) not in self.halves:
            chain = self.chains[direction]
            while len(chain) <= slot:
                chain.append(hkdf(chain[-1], b"next"))
            b = hkdf(chain[slot], b"slot", length=60)
            self.halves[slot, direction] = b[:16], b[16:28], b[28:]
        return self.halves[slot, direction]


class Session:
    """What a handshake makes of the slots' keys; without one they are used as they are."""

    def __init__(self, material, number=0, salt=b"", ids=b""):
        self.material, self.number, self.salt, self.ids = material, number, salt, ids
        self.keys, self.packets = {}, 0

    def half(self, slot, direction):
        """(tag, first 8 bytes of the nonce, key of this session), or None."""
        if (slot, direction) not in self.keys:
            got = self.material.half(slot, direction)
            if got and self.salt:
                got = got[0], got[1], hkdf(got[2], b"handfast psk2 session" + bytes([direction]) + self.ids, self.salt)
            self.keys[slot, direction] = got and (got[0], got[1][:8], got[2])
        return self.keys[slot, direction]


# ---- the verdict ------------------------------------------------------------------------------

class Verdict:
    def __init__(self):
        self.packets = 0    # data packets opened
        self.pairs = 0      # different pairs of key and nonce among them
        self.repeats = []   # (tap, direction, sequence, session)
        self.unopened = 0   # data packets whose key was not found
        self.lost = 0       # what was sent and the recorder did not see, for want of memory or time
        self.handshakes = 0
        self.together = 0   # datagrams that left in one piece with others
        self.sessions = 0   # in which data was sent
        self.highest = {}   # tap: the highest sequence that it sent
        self.broken = ""    # what ended the recorder before its time

    def is_sound(self):
        """The recorder saw everything and knew every key."""
        return not self.broken and self.unopened == 0 and self.lost == 0 and self.packets > 0

    def is_gappy(self):
        """All is well, but some packets were not seen: no verdict, and nothing that speaks against anybody."""
        return self.lost > 0 and not self.broken and self.unopened == 0 and not self.repeats

    def __str__(self):
        return (f"{self.sessions} sessions, {self.packets} packets, {self.pairs} pairs, {len(self.repeats)} repeats, "
                f"{self.unopened} unopened, {self.lost} lost{self.broken and f'; it broke: {self.broken}'}")


class Book:
    """Judges datagrams, wherever they come from."""

    def __init__(self, materials):
        self.materials = list(materials)
        self.sessions = {}   # (nonce_a, nonce_b): Session
        self.by_number = {}  # number mod 256: [Session], newest first
        self.plain = [Session(m) for m in self.materials if m.prototype]
        self.used = {}       # key: {nonce}
        self.pending = []
        self.verdict = Verdict()

    def add_material(self, m):
        self.materials.append(m)
        if m.prototype:
            self.plain.append(Session(m))

    def feed(self, tap, datagram):
        if datagram[:4] == b"PSKH":
            self.verdict.handshakes += 1
            self._learn(datagram)
        elif datagram[:4] == b"PSK2" and not self._take(tap, datagram):
            # The two sides' taps are read one after the other: a BIND may be a moment behind its data.
            self.pending.append((tap, datagram))
            if len(self.pending) > PENDING_MAX:
                self.retry()
                self.verdict.unopened += len(self.pending)
                self.pending = []

    def _learn(self, datagram):
        """A session begins with its BIND, which repeats all that its keys are made of."""
        m = psk2.parse(datagram)
        if not m or m["type"] != psk2.BIND or (m["nonce_a"], m["nonce_b"]) in self.sessions:
            return
        for material in self.materials:
            if hmac.digest(material.hello_key, datagram[:-32], "sha256") == datagram[-32:]:
                s = Session(material, m["session"], m["nonce_a"] + m["nonce_b"], m["identity"] + m["echo"][0])
                self.sessions[m["nonce_a"], m["nonce_b"]] = s
                self.by_number.setdefault(m["session"] % 256, []).insert(0, s)
                self.retry()
                return

    def retry(self):
        again, self.pending = self.pending, []
        self.pending = [(t, d) for t, d in again if not self._take(t, d)]

    def _take(self, tap, datagram):
        if len(datagram) < 48 or datagram[4] != 2 or datagram[6] > 1:
            return False
        flags, direction, number = datagram[5], datagram[6], datagram[7]
        sequence = int.from_bytes(datagram[24:32], "big")
        for s in self.by_number.get(number, ()) if flags == 1 else self.plain if flags == number == 0 else ():
            half = s.half(sequence // PACKETS, direction)
            if not half or half[0] != datagram[8:24]:
                continue
            nonce = half[1] + datagram[28:32]
            if aead_opens(half[2], nonce, datagram[:32], datagram[32:]):
                self._count(tap, s, half[2], nonce, direction, sequence)
                return True
        return False

    def _count(self, tap, session, key, nonce, direction, sequence):
        v, used = self.verdict, self.used.setdefault(key, set())
        v.packets += 1
        v.sessions += session.packets == 0
        session.packets += 1
        if nonce in used:
            v.repeats.append((tap, direction, sequence, session.number))
        else:
            used.add(nonce)
            v.pairs += 1
        v.highest[tap] = max(v.highest.get(tap, -1), sequence)

    def close(self):
        self.retry()
        self.verdict.unopened += len(self.pending)
        self.pending = []
        return self.verdict


# ---- on the wire ------------------------------------------------------------------------------

def payloads(frame):
    """The UDP datagrams of what a packet socket gave: several, when the device was to cut them."""
    _, gso, _, size = struct.unpack("=BBHH", frame[:6])
    frame = frame[10:]
    if frame[12:14] == b"\x08\x00" and frame[23] == 17:
        udp = frame[14 + 4 * (frame[14] & 15):14 + struct.unpack(">H", frame[16:18])[0]]
    elif frame[12:14] == b"\x86\xdd" and frame[20] == 17:
        udp = frame[54:54 + struct.unpack(">H", frame[18:20])[0]]
    else:
        return []
    body = udp[8:]
    if gso & 0x7f != GSO_UDP:
        return [body]
    return [body[i:i + size] for i in range(0, len(body), size)]


def sent_by(host, interface):
    """Frames, as the interface itself counts them."""
    for line in host.run("cat", "/proc/net/dev").out.splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == interface:
            return int(counts.split()[9])
    raise RuntimeError(f"{host.name} has no {interface}")


class Recorder:
    """Reads what each (host, interface) sends, from now until stop()."""

    def __init__(self, materials, taps):
        self.book, self.stopped, self.rounds = Book(materials), False, 0
        self.taps, self.hosts = {}, {}
        for host, interface in taps:
            s = psk2.socket_in(host, socket.AF_PACKET, socket.SOCK_RAW, 0)
            s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
            s.bind((interface, 3))
            s.setblocking(False)
            self.taps[s.fileno()] = host.name, s
        self.outgoing = dict.fromkeys(self.taps, 0)  # frames
        time.sleep(0.05)  # a frame that passed before the sockets were there is counted by its interface now
        for (host, interface), fd in zip(taps, self.taps):
            self._read(fd)
            self.hosts[fd] = host, interface, sent_by(host, interface)
            self.outgoing[fd] = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self._listen()
        except Exception as e:  # pylint: disable=broad-except
            self.book.verdict.broken = repr(e)

    def _listen(self):
        poll = select.poll()
        for fd in self.taps:
            poll.register(fd, select.POLLIN)
        while True:
            ready = poll.poll(20)
            for fd, _ in ready:
                self._read(fd)
            if not ready:
                self.rounds += 1
                if self.stopped:
                    return

    def _read(self, fd):
        name, s = self.taps[fd]
        for _ in range(500):
            try:
                frame, at = s.recvfrom(70000)
            except OSError:  # nothing is there, or the interface is down for a moment
                return
            if at[2] == OUTGOING:
                self.outgoing[fd] += 1
                found = payloads(frame)
                self.book.verdict.together += len(found) if len(found) > 1 else 0
                for d in found:
                    self.book.feed(name, d)

    def settle(self, timeout=30):
        """Until all that was sent before this call has been looked at (senders must be silent, or nearly). False:
        it was not, or the recorder is no more."""
        end, before = time.monotonic() + timeout, self.rounds
        while self.thread.is_alive() and time.monotonic() < end:
            if self.rounds >= before + 2:
                return True
            time.sleep(0.01)
        return False

    def highest(self, name):
        """The highest sequence that this host has sent so far; -1: none."""
        return self.book.verdict.highest.get(name, -1)

    def stop(self):
        sent = {fd: sent_by(host, interface) - before for fd, (host, interface, before) in self.hosts.items()}
        self.stopped = True
        self.thread.join(60)  # it ends when nothing more can be read
        v = self.book.verdict
        if self.thread.is_alive():
            v.broken = "it does not come to an end"
        for fd, (_, s) in self.taps.items():
            # What the socket dropped, and what else the interface sent until stop() and nobody saw.
            _, drops = struct.unpack("=II", s.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
            v.lost += drops + max(0, sent[fd] - self.outgoing[fd] - drops)
            s.close()
        return self.book.close()
