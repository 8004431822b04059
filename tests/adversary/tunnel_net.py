"""The hostile network between two real tunnel daemons, and what must not happen there.

A Wire is a machine in the middle that owns the only way between two hosts: it sees every frame, may
hold, alter or swallow it, and sends what it likes from any address. A Pair is a tunnel across it, with
witnesses at both ends: what each daemon sent on the wire, and every packet that a TUN device delivered.
"""
import collections
import ctypes
import hashlib
import heapq
import itertools
import os
import random
import select
import socket
import struct
import threading
import time

import lab
import pairs
import psk2

PORT, CALLER = 7200, 7300
KINDS = ("keyfile", "pairing", "prototype")
SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING, ARPHRD_NONE = 33, 263, 6, 4, 65534
SO_ATTACH_FILTER, PACKET_IGNORE_OUTGOING, PACKET_VNET_HDR = 26, 23, 15
ETHERNET, NO_OFFLOAD = 14, bytes(10)
STRANGER = {4: "198.18.7.7", 6: "2001:db8::7"}

Frame = collections.namedtuple("Frame", "family source sport destination dport data")


def family_of(address):
    return 6 if ":" in address else 4


def pack(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def ones_sum(data):
    """The checksum's sum; a big number modulo 65535 is the same, and quick."""
    return int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xffff


def udp_packet(f):
    """An IP packet with a right UDP checksum."""
    s, d = pack(f.source), pack(f.destination)
    length = 8 + len(f.data)
    head = struct.pack(">HHH", f.sport, f.dport, length)
    total = -(ones_sum(s + d + struct.pack(">HH", 17, length) + head) + ones_sum(f.data)) % 0xffff
    udp = head + struct.pack(">H", total or 0xffff) + f.data
    if f.family == 6:
        return struct.pack(">IHBB", 0x60000000, length, 17, 64) + s + d + udp
    return psk2.ipv4(f.source, f.destination, udp)


def read_frame(frame):
    """The UDP datagram in an Ethernet frame, or None. Fragments are none."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[23] == 17 and not struct.unpack(">H", frame[20:22])[0] & 0x3fff:
        at, family = 14 + 4 * (frame[14] & 15), 4
        source, destination = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
    elif kind == b"\x86\xdd" and frame[20] == 17:
        at, family = 54, 6
        source, destination = (socket.inet_ntop(socket.AF_INET6, frame[x:x + 16]) for x in (22, 38))
    else:
        return None
    sport, dport, length = struct.unpack(">HHH", frame[at:at + 6])
    return Frame(family, source, sport, destination, dport, frame[at + 8:at + length])


def packet_socket(host, interface, size=32 << 20):
    """Frames of an interface; of None: packets of TUN devices, which may go and come again. Each with a virtio header."""
    s = psk2.socket_in(host, socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    if not interface:
        # The kernel picks them: load the device's type, compare, take or leave.
        code = b"".join(struct.pack("HBBI", *x) for x in ((0x28, 0, 0, 0xfffff000 + 28), (0x15, 0, 1, ARPHRD_NONE),
                                                          (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)))
        memory = ctypes.create_string_buffer(code)
        s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(memory)))
    else:
        s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    if interface:
        s.bind((interface, 3))
    return s


def kind_of(data):
    """hello, call, welcome, bind, data, prototype; or junk."""
    if data[:4] == b"PSKH" and len(data) > 8:
        return {(1, 0): "hello", (1, 1): "call", (2, 1): "welcome", (3, 0): "bind"}.get((data[5], data[6]), "junk")
    if data[:5] == b"PSK2\x02" and len(data) >= 48:
        return "data" if data[5] else "prototype"
    return "junk"


class Wire:
    """The only way between hosts a and b. policy(side, frame) says what becomes of a datagram: a list of
    (seconds, Frame) to deliver to the other side, or None: as it came. Everything else passes."""

    def __init__(self, net, name, a, b):
        self.host, self.hosts = net.host(name, netns=True), (a, b)
        self.a4, self.b4, self.a6, self.b6 = "10.99.0.1", "10.99.0.2", "fd99::1", "fd99::2"
        self.socks, self.macs = [], []
        for h, own, via, tap in ((a, (self.a4, self.a6), (self.b4, self.b6), "wa"),
                                 (b, (self.b4, self.b6), (self.a4, self.a6), "wb")):
            for x in ("all", "default"):
                self.host.run("sysctl", "-qw", f"net.ipv6.conf.{x}.disable_ipv6=1")
            net.link(h, [own[0] + "/24", own[1] + "/64"], self.host, [], "eth0", tap)
            for x in ("all", "eth0"):
                h.run("sysctl", "-qw", f"net.ipv4.conf.{x}.rp_filter=0")
            h.run("ip", "route", "add", "default", "via", via[0])
            h.run("ip", "-6", "route", "add", "default", "via", via[1])
            self.socks.append(packet_socket(self.host, tap))
            # What comes one after the other is received together, as from a card; a veth joins only what looks like one's.
            h.run("ethtool", "-K", "eth0", "gro", "on")
            self.host.run("ethtool", "-K", tap, "tso", "off")
            h.run("unshare", "-m", "sh", "-c", "mount -t sysfs none /sys && echo 100000 > /sys/class/net/eth0/gro_flush_timeout")
            link = h.run("ip", "-o", "link", "show", "eth0").out
            self.macs.append(bytes.fromhex(link.split("link/ether ")[1].split()[0].replace(":", "")))
        self.policy = None
        self.seen = [collections.deque(maxlen=60000), collections.deque(maxlen=60000)]
        self.handshakes = []                        # (side, Frame), all of them
        self.strays = collections.Counter()         # IP bytes to whoever is neither a nor b: {address: bytes}
        self.given = collections.Counter()          # IP bytes from such an address
        self.astray = []                            # kinds of data that went to one
        self.counts = collections.Counter()         # (side, kind): what a host sent
        self.together = [0, 0]                      # datagrams that left a host as one with others
        self.later, self.order = [], itertools.count()
        self.lock, self.done = threading.Lock(), False
        self.wake_r, self.wake_w = os.pipe()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def address(self, side, family):
        return (self.a4, self.b4)[side] if family == 4 else (self.a6, self.b6)[side]

    def side_of(self, address):
        return 0 if address in (self.a4, self.a6) else 1 if address in (self.b4, self.b6) else None

    def deliver(self, side, frame, after=0.0):
        """To host `side` (0: a, 1: b), as if from frame.source."""
        if after > 0:
            with self.lock:
                heapq.heappush(self.later, (time.monotonic() + after, next(self.order), side, frame))
            os.write(self.wake_w, b"x")
            return
        if self.side_of(frame.source) is None:
            self.given[frame.source] += len(frame.data) + (28 if frame.family == 4 else 48)
        try:
            self.socks[side].send(NO_OFFLOAD + self.frame_bytes(side, frame))
        except OSError:  # longer than the link takes, or its queue is full: lost
            pass

    def inject(self, side, data, source=None, sport=None, family=4, dport=None):
        """A datagram to host `side`, by default from where its peer is."""
        own, other = (CALLER, PORT)[side], (PORT, CALLER)[side]
        self.deliver(side, Frame(family, source or self.address(1 - side, family), other if sport is None else sport,
                                 self.address(side, family), dport or own, data))

    def frame_bytes(self, side, frame):
        kind = b"\x86\xdd" if frame.family == 6 else b"\x08\x00"
        return self.macs[side] + self.macs[1 - side] + kind + udp_packet(frame)

    def wronged(self):
        """What no address that proved nothing may get: data, or more bytes than it sent."""
        more = [f"{a} sent {self.given[a]} bytes and got {n}" for a, n in self.strays.items() if a in self.given and n > self.given[a]]
        return "; ".join((self.astray + more)[:5])

    def storm(self, side, datagrams, count, rate=200_000, sources=0, family=4, source=None):
        """Many datagrams in turn to a host by a program of its own, from `sources` addresses. How many were sent."""
        own, other = (CALLER, PORT)[side], (PORT, CALLER)[side]
        lines = [self.frame_bytes(side, Frame(family, source or (STRANGER[family] if sources else self.address(1 - side, family)),
                                              other, self.address(side, family), own, d)).hex() for d in datagrams]
        r = self.host.run(f"{lab.BUILD}/tests/tools/udp-storm", ("wa", "wb")[side], str(count), str(rate),
                          *([str(sources)] if sources else []), input="\n".join(lines), timeout=count / rate * 30 + 120)
        return int(r.out)

    def _due(self):
        now, ready = time.monotonic(), []
        with self.lock:
            while self.later and self.later[0][0] <= now:
                ready.append(heapq.heappop(self.later)[2:])
            wait = self.later[0][0] - now if self.later else 0.5
        for side, frame in ready:
            self.deliver(side, frame)
        return max(0.0, min(0.5, wait))

    def _take(self, side, raw):
        frame = read_frame(raw)
        if raw[12:14] in (b"\x08\x00", b"\x86\xdd") and (frame is None or self.side_of(frame.destination) is None):
            destination = socket.inet_ntoa(raw[30:34]) if raw[12:14] == b"\x08\x00" else \
                socket.inet_ntop(socket.AF_INET6, raw[38:54])
            if self.side_of(destination) is None and not destination.startswith(("ff", "fe80", "224.", "239.")):
                self.strays[destination] += len(raw) - 14
                if frame and kind_of(frame.data) in ("data", "prototype"):
                    self.astray.append(f"{kind_of(frame.data)} of {'ab'[side]} to {destination}")
                return
        if frame is None or frame.sport not in (PORT, CALLER):
            self.socks[1 - side].send(NO_OFFLOAD + raw)
            return
        self.counts[side, "bytes"] += len(raw) - 14
        self.counts[side, kind_of(frame.data)] += 1
        self.seen[side].append(frame.data)
        if frame.data[:4] == b"PSKH":
            self.handshakes.append((side, frame))
        fates = self.policy(side, frame) if self.policy else None
        if fates is None:
            self.deliver(1 - side, frame)
        else:
            for after, f in fates:
                self.deliver(1 - side, f, after)

    def _take_all(self, side, raw):
        """A frame with its virtio header: one packet, or what a card would have cut into several."""
        cut = pieces(raw, ETHERNET)
        if len(cut) > 1 and cut[0][23 if cut[0][12:14] == b"\x08\x00" else 20] == 17:
            self.together[side] += len(cut)
        for frame in cut:
            try:
                self._take(side, frame)
            except OSError:
                pass

    def _run(self):
        while not self.done:
            for s in select.select([*self.socks, self.wake_r], [], [], self._due())[0]:
                if s == self.wake_r:
                    os.read(self.wake_r, 4096)
                    continue
                for _ in range(64):
                    try:
                        raw, where = s.recvfrom(70000, socket.MSG_DONTWAIT)
                    except OSError:
                        break
                    if where[2] != PACKET_OUTGOING:
                        self._take_all(self.socks.index(s), raw)

    def close(self):
        self.done = True
        os.write(self.wake_w, b"x")
        self.thread.join()
        for s in self.socks:
            s.close()


def filled(packet, start, offset):
    """With the checksum that the kernel left to the device; start and offset as in a virtio header."""
    fields = bytearray(packet)
    total = psk2.checksum(packet[start:])
    if offset == 6 and total == 0:
        total = 0xffff
    fields[start + offset:start + offset + 2] = struct.pack(">H", total)
    return bytes(fields)


def pieces(raw, link=0):
    """The packets of what a packet socket gave with its virtio header, each as it is when it is alone; link: how long
    the header of the link in front of each is."""
    flags, kind, header, size, start, offset = struct.unpack("=BBHHHH", raw[:10])
    if link:
        return [raw[10:10 + link] + p for p in pieces(struct.pack("=BBHHHH", flags, kind, header, size, max(0, start - link),
                                                                  offset) + raw[10 + link:])]
    packet = raw[10:]
    if not kind:
        return [filled(packet, start, offset) if flags & 1 else packet]
    v4, tcp, found = packet[0] >> 4 == 4, offset == 16, []
    head = start + (8 if not tcp else (packet[start + 12] >> 4) * 4)
    body = packet[head:]
    partial = struct.unpack(">H", packet[start + offset:start + offset + 2])[0]
    for i, at in enumerate(range(0, len(body), size)):
        part, p = body[at:at + size], bytearray(packet[:head])
        length = head + len(part)
        if v4:
            p[2:6] = struct.pack(">HH", length, struct.unpack(">H", packet[4:6])[0] + i & 0xffff)
            p[10:12] = bytes(2)
            p[10:12] = struct.pack(">H", psk2.checksum(bytes(p[:start])))
        else:
            p[4:6] = struct.pack(">H", length - 40)
        if tcp:
            p[start + 4:start + 8] = struct.pack(">I", struct.unpack(">I", packet[start + 4:start + 8])[0] + at & 0xffffffff)
            p[start + 13] &= 0xff if at + size >= len(body) else 0xf6
            p[start + 13] &= 0xff if at == 0 else 0x7f
        else:
            p[start + 4:start + 6] = struct.pack(">H", length - start)
        # The sum of the pseudo header is of the whole's length.
        seed = partial + (~(len(packet) - start) & 0xffff) + (length - start)
        seed = (seed & 0xffff) + (seed >> 16)
        p[start + offset:start + offset + 2] = struct.pack(">H", (seed & 0xffff) + (seed >> 16))
        found.append(filled(bytes(p) + part, start, offset))
    return found


class Witness:
    """Every packet through a host's TUN devices: what its kernel gave, and what was delivered to it."""

    def __init__(self, host):
        self.sock = packet_socket(host, None, 128 << 20)
        self.sock.settimeout(0.2)
        self.given, self.delivered = collections.Counter(), collections.Counter()
        self.done = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.done:
            try:
                raw, where = self.sock.recvfrom(70000)
            except OSError:
                continue
            if where[3] != ARPHRD_NONE:
                continue
            for packet in pieces(raw):
                digest = hashlib.blake2b(packet, digest_size=12).digest()
                (self.given if where[2] == PACKET_OUTGOING else self.delivered)[digest] += 1

    def lost(self):
        return struct.unpack("II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]

    def close(self):
        self.done = True
        self.thread.join()
        self.sock.close()


class Stream:
    """A TCP connection through the tunnel whose every byte is checked."""

    def __init__(self, a, b, address, rate=200_000, seed=1, port=9000):
        self.rate, self.seed, self.done = rate, seed, False
        self.sent = self.whole = 0
        self.wrong = None
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.server = psk2.socket_in(b, family, socket.SOCK_STREAM)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind((address, port))
        self.server.listen(1)
        self.client = psk2.socket_in(a, family, socket.SOCK_STREAM)
        self.client.settimeout(20)
        self.client.connect((address, port))
        self.client.settimeout(None)
        self.connection = self.server.accept()[0]
        self.threads = [threading.Thread(target=x, daemon=True) for x in (self._send, self._receive)]
        for t in self.threads:
            t.start()

    def _blocks(self):
        rng, n = random.Random(self.seed), 0
        while True:
            yield struct.pack(">Q", n) + rng.randbytes(4088)
            n += 1

    def _send(self):
        try:
            for block in self._blocks():
                if self.done:
                    break
                self.client.sendall(block)
                self.sent += len(block)
                time.sleep(len(block) / self.rate)
            self.client.shutdown(socket.SHUT_WR)
        except OSError as e:
            self.wrong = self.wrong or f"sending: {e}"

    def _receive(self):
        rest = b""
        try:
            for block in self._blocks():
                while len(rest) < len(block):
                    chunk = self.connection.recv(65536)
                    if not chunk:
                        return
                    rest += chunk
                if not rest.startswith(block):
                    self.wrong = f"other bytes after {self.whole}"
                    return
                rest = rest[len(block):]
                self.whole += len(block)
        except OSError as e:
            self.wrong = self.wrong or f"receiving: {e}"

    def moves(self, timeout=20, count=20_000):
        """Whether count more bytes come through within timeout."""
        at = self.whole
        return bool(lab.wait_for(lambda: self.wrong or self.whole >= at + count, timeout, 0.02)) and not self.wrong

    def finish(self, timeout=60):
        """The end: what was sent has come, whole."""
        self.done = True
        for t in self.threads:
            t.join(timeout)
        alive = any(t.is_alive() for t in self.threads)
        for s in (self.client, self.connection, self.server):
            s.close()
        return not alive and not self.wrong and self.sent == self.whole


class Pair:
    """A tunnel across a wire: a is the initiator, b the responder."""

    def __init__(self, net, name, kind="keyfile", family=4, slots=1000, **more):
        self.net, self.name, self.kind, self.family = net, name, kind, family
        self.a, self.b = net.host("a" + name, netns=True), net.host("b" + name, netns=True)
        self.ends = (self.a, self.b)
        self.wire = Wire(net, "w" + name, self.a, self.b)
        self.keys, self.tunnel = None, "t"
        if kind == "pairing":
            self._pair()
        else:
            self._declare(slots, **more)
        lab.wait_for(self.is_up, 30, 0.05)
        self.witnesses = [Witness(h) for h in self.ends]

    def _declare(self, slots, **more):
        self.keys = psk2.KeyFile.random(slots)
        at = [f"[{x}]" if self.family == 6 else x for x in (self.wire.address(i, self.family) for i in (0, 1))]
        for i, h in enumerate(self.ends):
            path = os.path.join(h.dir, "key")
            with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as f:
                f.write(self.keys.data)
            members = dict(key_file=path, role=("initiator", "responder")[i], listen=(CALLER, PORT)[i],
                           endpoint=f"\"{at[1 - i]}:{(PORT, CALLER)[i]}\"", local_address=f"10.9.0.{1 + i}/30,fd09::{1 + i}/64",
                           peer_address=f"10.9.0.{2 - i},fd09::{2 - i}", **more)
            members.update({"peer": "prototype"} if self.kind == "prototype" else {"keepalive": "5s"})
            with open(os.path.join(h.etc, "tunnels", "t.yaml"), "w") as f:
                f.writelines(f"{k}: {v}\n" for k, v in members.items())
            h.start("tund")
            h.start("pskd", config="")
        self.inner = "10.9.0.1", "10.9.0.2"

    def _pair(self):
        port = 8099
        self.a.start("relayd", config=f'listen: ["{self.wire.a4}:{port}"]\n')
        for h in self.ends:
            h.start("pairingd", config="")
            h.start("tund")
            h.start("pskd", config="")
        pairs.pair(self.a, self.b, f"{self.wire.a4}:{port}", "far", "near")
        self.tunnels = "far", "near"

    def show(self, side):
        h = self.ends[side]
        name = "t" if self.kind != "pairing" else self.tunnels[side]
        r = h.handfast("--json", "tunnel", "show", name)
        return r.json["result"]["tunnel"] if r.code == 0 else {"state": f"no answer: {r.err}", "drops": {}}

    def is_up(self):
        return all(self.show(i)["state"] == "up" for i in (0, 1))

    def ping(self, count=1, wait=1):
        if self.kind == "pairing":
            self.inner = [x.split("/")[0] for x in self.show(0)["local_addresses"]][0], self.show(0)["peer_addresses"][0]
        r = self.a.run("ping", "-q", "-n", "-i", "0.01", "-c", str(count), "-W", str(wait), self.inner[1], check=False)
        return r.code == 0

    def recovers(self, timeout=100):
        return bool(lab.wait_for(self.ping, timeout, 0.1))

    def restart(self, side, how="stop"):
        getattr(self.ends[side].daemons["pskd"], how)()
        self.ends[side].start("pskd", config="")

    def alive(self):
        return all(d.alive() for h in self.ends for d in h.daemons.values())

    def rss_kb(self, side):
        with open(f"/proc/{self.ends[side].daemons['pskd'].pid}/status") as f:
            return next(int(x.split()[1]) for x in f if x.startswith("VmRSS:"))

    def call(self, **over):
        """A right HELLO of the responder, which the initiator answers with a handshake. Needs the key."""
        f = dict(role=psk2.RESPONDER, identity=hashlib.sha256(b"caller").digest()[:16], nonce_a=os.urandom(32),
                 tx_next=1 << 40)
        f.update(over)
        return psk2.handshake(self.keys, psk2.HELLO, **f)

    def forged(self):
        """Packets that came out of a TUN device and that the other side's kernel never gave, or gave less often."""
        delivered = [dict(w.delivered) for w in self.witnesses]
        if any(w.lost() for w in self.witnesses):
            return "a witness saw not all"
        for wait in (0.05, 1):  # what was given to be sent was so before, and may be counted late
            time.sleep(wait)
            wrong = [sum(n > self.witnesses[1 - i].given[d] for d, n in delivered[i].items()) for i in (0, 1)]
            if not any(wrong):
                return ""
        return f"packets that were not sent so often: {wrong} of {[len(x) for x in delivered]}"

    def repeats(self):
        """Sequences that a daemon used for two different packets. It never goes back to one, whatever the session."""
        n = 0
        for seen in self.wire.seen:
            used = {}
            for d in list(seen):
                if d[:4] == b"PSK2" and len(d) >= 48 and used.setdefault(d[24:32], d) != d:
                    n += 1
        return n

    def close(self):
        for w in self.witnesses:
            w.close()
        self.wire.close()
