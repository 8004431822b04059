#!/usr/bin/python3
"""A peer of the published PSK2 prototype: wire format version 2, without handshake.

Written from the prototype's own description, as a second implementation to measure pskd
against; it shares no code with it. Run as a program it stands at the far end of a tunnel and
answers every ICMP echo request, IPv4 and IPv6, like the machine behind a TUN device would:

    psk2_peer.py --psk FILE --state FILE [--initiator] --local ADDR PORT --remote ADDR PORT
"""
import argparse
import fcntl
import ipaddress
import json
import os
import random
import signal
import socket
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC, VERSION = b"PSK2", 2
HEADER = struct.Struct(">4sBBBB16sQ")  # magic, version, flags, direction, reserved, slot tag, sequence
HEADER_LEN, TAG_LEN = 32, 16
SLOT_LEN, HALF_LEN, PACKETS_PER_SLOT = 120, 60, 1000
TO_RESPONDER, TO_INITIATOR = 0, 1
REPLAY_WINDOW = 4096
SLOTS_AHEAD = 16
RESERVE = 64  # sequences that the state file is ahead of what was sent


class Half:
    """One direction's part of a slot: 16 bytes of tag, 12 of nonce, 32 of key."""

    def __init__(self, b):
        self.tag, self.nonce, self.key = b[:16], b[16:28], b[28:60]
        self.aead = ChaCha20Poly1305(self.key)

    def nonce_of(self, sequence):
        return self.nonce[:8] + struct.pack(">I", sequence & 0xffffffff)


class KeyFile:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.slots = os.fstat(self.fd).st_size // SLOT_LEN
        self.halves = {}

    def half(self, direction, sequence):
        """None: beyond the end of the file."""
        slot = sequence // PACKETS_PER_SLOT
        if slot >= self.slots:
            return None
        if (direction, slot) not in self.halves:
            at = slot * SLOT_LEN + direction * HALF_LEN
            self.halves[direction, slot] = Half(os.pread(self.fd, HALF_LEN, at))
        return self.halves[direction, slot]

    def close(self):
        os.close(self.fd)


def seal(keys, direction, sequence, packet, /, **header):
    """A datagram. header replaces fields (version, flags, tag …), which are authenticated as they are then."""
    half = keys.half(direction, sequence)
    fields = {"magic": MAGIC, "version": VERSION, "flags": 0, "direction": direction, "reserved": 0,
              "tag": half.tag, "sequence": sequence, **header}
    aad = HEADER.pack(*fields.values())
    return aad + half.aead.encrypt(half.nonce_of(sequence), packet, aad)


def unseal(keys, datagram):
    """(direction, sequence, packet), or None for anything that is not PSK2 under these keys."""
    if len(datagram) < HEADER_LEN + TAG_LEN:
        return None
    magic, version, flags, direction, reserved, tag, sequence = HEADER.unpack(datagram[:HEADER_LEN])
    if (magic, version, flags, reserved) != (MAGIC, VERSION, 0, 0) or direction > 1:
        return None
    half = keys.half(direction, sequence)
    if half is None or half.tag != tag:
        return None
    try:
        packet = half.aead.decrypt(half.nonce_of(sequence), datagram[HEADER_LEN:], datagram[:HEADER_LEN])
    except InvalidTag:
        return None
    return direction, sequence, packet


class Window:
    """Which sequences may still come: none twice, none older than the window or an earlier life."""

    def __init__(self, floor):
        self.floor, self.next, self.seen = floor, floor, set()

    def allows(self, sequence):
        low = max(self.floor, self.next - REPLAY_WINDOW)
        return low <= sequence < self.next + SLOTS_AHEAD * PACKETS_PER_SLOT and sequence not in self.seen

    def accept(self, sequence):
        self.seen.add(sequence)
        self.next = max(self.next, sequence + 1)
        if len(self.seen) > 2 * REPLAY_WINDOW:
            self.seen = {s for s in self.seen if s >= self.next - REPLAY_WINDOW}


class State:
    """The sequences, kept in a file. What is to be sent is written down before it is."""

    def __init__(self, path):
        self.path, self.tx, self.rx = path, 0, 0
        if os.path.exists(path):
            with open(path) as f:
                saved = json.load(f)
            self.tx, self.rx = saved["tx"], saved["rx"]
        self.reserved = self.tx

    def take(self):
        if self.tx >= self.reserved:
            self.save(self.tx + RESERVE)
        self.tx += 1
        return self.tx - 1

    def save(self, reserved):
        with open(self.path + ".new", "w") as f:
            json.dump({"tx": reserved, "rx": self.rx}, f)
            f.flush()
            os.fsync(f.fileno())
        os.rename(self.path + ".new", self.path)
        self.reserved = reserved


class Peer:
    """One end of a tunnel on a UDP socket that is the caller's."""

    def __init__(self, key_path, state_path, initiator, sock, remote):
        self.lock = os.open(state_path + ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX)  # one life at a time
        self.keys, self.state = KeyFile(key_path), State(state_path)
        self.tx_direction = TO_RESPONDER if initiator else TO_INITIATOR
        self.window = Window(self.state.rx)
        self.sock, self.remote = sock, remote
        self.refused = 0

    def close(self):
        """A clean end: the next life goes on exactly where this one was."""
        self.state.save(self.state.tx)
        self.keys.close()
        os.close(self.lock)

    def seal(self, packet):
        return seal(self.keys, self.tx_direction, self.state.take(), packet)

    def send(self, packet):
        self.send_datagram(self.seal(packet))

    def send_datagram(self, datagram):
        try:
            self.sock.sendto(datagram, self.remote)
        except ConnectionRefusedError:
            pass  # said about an earlier datagram

    def open(self, datagram):
        """The IP packet, or None: refused."""
        got = unseal(self.keys, datagram)
        if got is None or got[0] == self.tx_direction or not self.window.allows(got[1]):
            self.refused += 1
            return None
        self.window.accept(got[1])
        self.state.rx = self.window.next
        return got[2]

    def receive(self, timeout):
        """The next good IP packet within timeout seconds, or None."""
        self.sock.settimeout(timeout)
        while True:
            try:
                datagram = self.sock.recv(65536)
            except (TimeoutError, socket.timeout):
                return None
            except ConnectionRefusedError:
                continue
            packet = self.open(datagram)
            if packet is not None:
                return packet


# ---- the machine behind it: ICMP echo, both families ------------------------------------------

def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return struct.pack(">H", ~total & 0xffff)


def icmp(kind, rest, pseudo=b""):
    """rest: what follows the checksum."""
    return bytes([kind, 0]) + checksum(pseudo + bytes([kind, 0, 0, 0]) + rest) + rest


def ip_packet(source, destination, kind, rest):
    """An echo request or answer. Addresses are packed: 4 or 16 bytes each."""
    if len(source) == 4:
        body = icmp({"request": 8, "answer": 0}[kind], rest)
        head = struct.pack(">BBHHHBB", 0x45, 0, 20 + len(body), random.getrandbits(16), 0, 64, 1)
        return head + checksum(head + b"\0\0" + source + destination) + source + destination + body
    length = 4 + len(rest)
    body = icmp({"request": 128, "answer": 129}[kind], rest, source + destination + struct.pack(">II", length, 58))
    return struct.pack(">IHBB", 6 << 28, len(body), 58, 64) + source + destination + body


def echo_request(source, destination, ident, number, payload=b"psk2 " * 8):
    return ip_packet(ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed, "request",
                     struct.pack(">HH", ident, number) + payload)


def read_echo(packet):
    """(source, destination, "request" or "answer", what follows the checksum), or None."""
    if len(packet) >= 28 and packet[0] == 0x45 and packet[9] == 1:
        source, destination, body = packet[12:16], packet[16:20], packet[20:]
        kinds, pseudo = {8: "request", 0: "answer"}, b""
    elif len(packet) >= 48 and packet[0] >> 4 == 6 and packet[6] == 58:
        source, destination, body = packet[8:24], packet[24:40], packet[40:]
        kinds, pseudo = {128: "request", 129: "answer"}, source + destination + struct.pack(">II", len(body), 58)
    else:
        return None
    if body[0] not in kinds or checksum(pseudo + body) != b"\0\0":
        return None
    return source, destination, kinds[body[0]], body[4:]


def answer(packet):
    """The answer to an echo request, None for all else."""
    echo = read_echo(packet)
    if not echo or echo[2] != "request":
        return None
    source, destination, _, rest = echo
    return ip_packet(destination, source, "answer", rest)


def serve(peer, stop):
    """Answer echo requests until stop() is true."""
    while not stop():
        packet = peer.receive(0.1)
        reply = answer(packet) if packet else None
        if reply:
            peer.send(reply)


def open_socket(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.bind((address, port))
    return sock


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    a.add_argument("--psk", required=True)
    a.add_argument("--state", required=True)
    a.add_argument("--initiator", action="store_true")
    a.add_argument("--local", nargs=2, required=True)
    a.add_argument("--remote", nargs=2, required=True)
    args = a.parse_args()
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
    sock = open_socket(args.local[0], int(args.local[1]))
    peer = Peer(args.psk, args.state, args.initiator, sock, (args.remote[0], int(args.remote[1])))
    print("ready", flush=True)
    serve(peer, lambda: stopped)
    peer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
