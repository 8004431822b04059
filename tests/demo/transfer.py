"""Carry N bytes over one TCP connection and compare SHA-256 at both ends.

    transfer.py receive ADDRESS PORT          prints "listening", then "BYTES SHA256 SECONDS"
    transfer.py send ADDRESS PORT BYTES SEED  prints "BYTES SHA256 SECONDS"
"""
import hashlib
import random
import socket
import sys
import time

CHUNK = 1 << 20


def receive(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, port))
        s.listen(1)
        s.settimeout(60)
        print("listening", flush=True)
        c, _ = s.accept()
        c.settimeout(60)
        digest, total, start = hashlib.sha256(), 0, time.monotonic()
        while chunk := c.recv(CHUNK):
            digest.update(chunk)
            total += len(chunk)
        print(total, digest.hexdigest(), f"{time.monotonic() - start:.2f}", flush=True)


def send(address, port, total, seed):
    rng = random.Random(seed)
    blocks = [rng.randbytes(CHUNK) for _ in range(16)]
    digest, sent, start = hashlib.sha256(), 0, time.monotonic()
    with socket.create_connection((address, port), timeout=60) as c:
        i = 0
        while sent < total:
            chunk = blocks[i % len(blocks)][: total - sent]
            c.sendall(chunk)
            digest.update(chunk)
            sent += len(chunk)
            i += 1
    print(sent, digest.hexdigest(), f"{time.monotonic() - start:.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(sys.argv[2], int(sys.argv[3]))
    else:
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
