"""A relay's side of HTTP/1.1 and RFC 6455, small enough to break each rule on purpose."""
import asyncio
import base64
import hashlib
import json
import os
import socket
import struct

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Gone(Exception):
    """The other end of a line has hung up."""


def frame(data, opcode=TEXT, fin=True, rsv=0, mask=False, length=None):
    """A frame as bytes; length: what its head claims."""
    n = len(data) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", n)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", n)
    if mask:
        key = os.urandom(4)
        return head + key + bytes(b ^ key[i % 4] for i, b in enumerate(data))
    return head + data


class Line:
    """A device's WebSocket."""

    def __init__(self, reader, writer, session, role):
        self.reader, self.writer = reader, writer
        self.session, self.role = session, role
        self.open = True

    def raw(self, data):
        if self.open and not self.writer.is_closing():
            self.writer.write(data)

    def text(self, data):
        self.raw(frame(data if isinstance(data, bytes) else data.encode()))

    def close(self):
        """End the connection without a word."""
        self.open = False
        self.writer.close()

    async def receive(self):
        """The next text message; what controls there are is answered."""
        whole = b""
        try:
            while True:
                a, b = await self.reader.readexactly(2)
                n = b & 127
                if n > 125:
                    n = int.from_bytes(await self.reader.readexactly(2 if n == 126 else 8), "big")
                key = await self.reader.readexactly(4) if b & 128 else bytes(4)
                data = await self.reader.readexactly(n)
                data = bytes(x ^ key[i % 4] for i, x in enumerate(data))
                if a & 15 == CLOSE:
                    self.raw(frame(data[:2], CLOSE))
                    raise Gone
                if a & 15 == PING:
                    self.raw(frame(data, PONG))
                elif a & 15 in (0, TEXT):
                    whole += data
                    if a & 128:
                        return whole.decode()
        except (asyncio.IncompleteReadError, OSError):
            raise Gone from None


async def request(reader):
    """Method, target and headers of a request, or None."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        return None
    words = head[0].split(" ")
    fields = dict(line.lower().split(":", 1)[:1] + [line.split(":", 1)[1].strip()] for line in head[1:] if ":" in line)
    n = int(fields.get("content-length", "0"))
    if n:
        await reader.readexactly(n)
    return words[0], words[1], fields


def answer(status, body, more=""):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
            f"Cache-Control: no-store\r\n{more}\r\n").encode() + text


def accept(fields):
    """The answer to a WebSocket handshake."""
    key = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + GUID).digest()).decode()
    return (f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {key}\r\n\r\n").encode()


async def serve(handler):
    """A listener on loopback; (its port, the server)."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, family=socket.AF_INET)
    return server.sockets[0].getsockname()[1], server
