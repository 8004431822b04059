"""Somebody who knows a session's code takes a place that is taken, or was: with tokens, twice at once, with lies about
what came last. A relay that resumes nothing (handfast-relay(7)) refuses each, and the two who are there notice nothing."""
import base64
import concurrent.futures
import json
import os
import socket
import struct

import relay as hostile

import lab

TIMEOUT = 10


class Client:
    """A connection to relayd; status: what it answered, 101 when it is in."""

    def __init__(self, port, target, fields=""):
        self.s = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        key = base64.b64encode(os.urandom(16)).decode()
        self.s.sendall((f"GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n").encode())
        self.f = self.s.makefile("rb")
        self.status = int((self.f.readline().split() + [b"", b"0"])[1])
        while self.status and self.f.readline() not in (b"\r\n", b""):
            pass

    def send(self, text):
        data = text.encode()
        n = len(data)
        head = bytes([0x81, 0x80 | n]) if n < 126 else b"\x81\xfe" + struct.pack(">H", n)
        self.s.sendall(head + bytes(4) + data)

    def receive(self, seconds=TIMEOUT):
        """The next text frame's JSON; None when there is none, "over" at the end."""
        self.s.settimeout(seconds)
        try:
            head = self.f.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                return "over"
            n = head[1] & 127
            n = n if n < 126 else int.from_bytes(self.f.read(2 if n == 126 else 8), "big")
            return json.loads(self.f.read(n))
        except socket.timeout:
            self.f = self.s.makefile("rb")
            return None
        except OSError:
            return "over"

    def close(self):
        self.f.close()
        self.s.close()


def new_session(port):
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as s:
        s.sendall(b"POST /session HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        return json.loads(s.makefile("rb").read().partition(b"\r\n\r\n")[2])["session_code"]


def packet(seq):
    return hostile.envelope("packet", {"kind": "test", "seq": seq, "body_b64": "AAAA"})


# How one asks to go on with a connection: (what comes after the place, header fields).
ASKS = [("", ""), ("?resume_token=" + "t" * 43, ""), ("?resume_token=" + "t" * 43 + "&last_seq=0", ""),
        ("?last_seq=9007199254740992", ""), ("?last_seq=-1", ""), ("/" + "t" * 43, ""), ("", "Authorization: Bearer " + "t" * 43 + "\r\n"),
        ("", "Handfast-Resume: " + "t" * 43 + "\r\n")]


def passes(a, b, seq):
    """Whether a message of each comes to the other, and nothing else."""
    for x, y in ((a, b), (b, a)):
        x.send(packet(seq))
        got = y.receive()
        if not isinstance(got, dict) or got["type"] != "relay" or got["payload"]["msg"]["payload"]["seq"] != seq:
            return False
    return True


def check(net):
    host, port = net.host("seats"), lab.free_port()
    host.start("relayd", config=f'listen: ["127.0.0.1:{port}"]\nlimits:\n  failed_joins_per_minute: 1000000\n'
                                "  failed_join_burst: 100000\n  connections_per_address: 200\n")
    attacks, wrong = 0, []
    code = new_session(port)
    a = Client(port, f"/ws/{code}/alice")
    b = Client(port, f"/ws/{code}/bob")
    hellos = [x.receive() for x in (a, b)] + [x.receive() for x in (a, b)]
    if [h["type"] for h in hellos] != ["hello", "hello", "peer_joined", "peer_joined"] or "resume_token" in json.dumps(hellos):
        wrong.append(f"two joined: {hellos}")
    seq = 0
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for more, fields in ASKS:
            for role in hostile.ROLES:
                # Two connections with the one token, at once.
                both = list(pool.map(lambda _, r=role, m=more, f=fields: Client(port, f"/ws/{code}/{r}{m}", f), range(2)))
                attacks += 2
                seq += 1
                if any(c.status == 101 for c in both):
                    wrong.append(f"{role}{more} {fields}: let in")
                if not passes(a, b, seq):
                    wrong.append(f"{role}{more} {fields}: the two who were there are no more")
                for c in both:
                    c.close()
    # The place of one who is gone, and the whole session after that.
    a.close()
    left = b.receive()
    if not isinstance(left, dict) or left["type"] != "peer_left":
        wrong.append(f"alice is gone, and bob was told {left}")
    for more, fields in ASKS:
        c = Client(port, f"/ws/{code}/alice{more}", fields)
        attacks += 1
        if c.status == 101:
            wrong.append(f"alice's place{more} {fields}: taken again")
        c.close()
    b.close()
    # Messages that ask for it on a connection that is there; the two go on, or it is over, and nobody is sent again.
    for ask in ("resume", "hello"):
        code = new_session(port)
        a, b = Client(port, f"/ws/{code}/alice"), Client(port, f"/ws/{code}/bob")
        for x in (a, b, a, b):
            x.receive()
        a.send(packet(1))
        b.receive()
        for last in (0, 1, 2**53):
            a.send(hostile.envelope(ask, {"resume_token": "t" * 43, "last_seq": last}))
            attacks += 1
        got = b.receive(0.3)
        if isinstance(got, dict) and got["type"] == "relay":
            wrong.append(f"{ask}: bob was sent {got} again")
        a.close()
        b.close()
    alive = host.daemons["relayd"].alive()
    print(f"# {attacks} second joins")
    lab.check("i3_a_place_with_the_relay_is_taken_once_and_nothing_is_resumed", alive and not wrong,
              "; ".join(wrong)[:2000] if alive else "relayd ended")
    return attacks
