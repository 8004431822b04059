"""PSK2 as the published prototype speaks it, in Python: one packet at a time, by select, with a window of 4096.

    python_tunnel.py TUN KEY-FILE ROLE OWN-ADDRESS PEER-ADDRESS PORT

For benchmarks: what a tunnel of the same wire format costs where it is written first. ROLE: 0 initiator, 1
responder. TUN is made here; addresses and its state are the caller's.
"""
import fcntl
import os
import select
import socket
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
SLOT, PACKETS, WINDOW = 120, 1000, 4096


class Half:
    """One direction's slots, of which the last ones used are expanded."""

    def __init__(self, data, direction):
        self.data, self.direction, self.slots = data, direction, {}

    def slot(self, number):
        found = self.slots.get(number)
        if not found:
            b = self.data[SLOT * number + 60 * self.direction:][:60]
            found = self.slots[number] = b[:16], b[16:24], ChaCha20Poly1305(b[28:60])
            if len(self.slots) > 16:
                del self.slots[min(self.slots)]
        return found


class Window:
    def __init__(self):
        self.next, self.bits = 0, 0

    def is_new(self, sequence):
        behind = self.next - 1 - sequence
        return behind < 0 or (behind < WINDOW and not self.bits >> behind & 1)

    def take(self, sequence):
        ahead = sequence - self.next + 1
        if ahead > 0:
            self.bits = (self.bits << ahead | 1) & (1 << WINDOW) - 1
            self.next = sequence + 1
        else:
            self.bits |= 1 << -ahead


def main():
    name, key_path, role, own, peer, port = sys.argv[1:]
    with open(key_path, "rb") as f:
        data = f.read()
    tx, rx = Half(data, int(role)), Half(data, 1 - int(role))
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, buffer, 4 << 20)
    sock.bind((own, int(port)))
    sock.connect((peer, int(port)))
    sequence, window = 0, Window()
    print("ready", flush=True)
    while True:
        for fd in select.select([tun, sock.fileno()], [], [])[0]:
            try:
                if fd == tun:
                    packet = os.read(tun, 65535)
                    tag, nonce, aead = tx.slot(sequence // PACKETS)
                    header = b"PSK2\x02\0" + bytes([tx.direction, 0]) + tag + struct.pack(">Q", sequence)
                    sock.send(header + aead.encrypt(nonce + struct.pack(">I", sequence & 0xffffffff), packet, header))
                    sequence += 1
                    continue
                datagram = sock.recv(65535)
                header, (number,) = datagram[:32], struct.unpack(">Q", datagram[24:32])
                if header[:8] != b"PSK2\x02\0" + bytes([rx.direction, 0]) or not window.is_new(number):
                    continue
                tag, nonce, aead = rx.slot(number // PACKETS)
                if tag == header[8:24]:
                    packet = aead.decrypt(nonce + struct.pack(">I", number & 0xffffffff), datagram[32:], header)
                    window.take(number)
                    os.write(tun, packet)
            except (OSError, InvalidTag, struct.error):
                continue  # lost


if __name__ == "__main__":
    main()
