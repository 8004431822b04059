"""A line between one pairingd and the relay that counts its messages and can stop before any of them."""
import json
import socket
import struct
import threading

# Rounds of handfast-pairing(7): the sequence of each side's messages.
ROUNDS = {1: "hello", 2: "choose", 3: "pake", 4: "confirm", 5: "handshake", 6: "finish", 7: "verdict",
          8: "identity", 9: "prepared"}


class Line:
    """Listens on a port of its own; all that is said there goes to the relay, until hold."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.cond = threading.Condition()
        self.hold = None      # this message and later ones wait for pass_on() or drop()
        self.epoch = 0        # connections of an earlier one say no more
        self.sent = []        # (kind, seq) of each packet, in order
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            self.sockets += [client, server]
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _down(self, client, server):
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:
            pass
        _shut(client)

    def _up(self, client, server):
        epoch = self.epoch
        try:
            f = client.makefile("rb")
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = f.readline()
                if not line:
                    raise OSError("cut")
                head += line
            server.sendall(head)
            if b"websocket" not in head.lower():
                while data := f.read1(65536):
                    server.sendall(data)
                raise OSError("end")
            while frame := _frame(f):
                raw, text = frame
                if not self._may_pass(text, epoch):
                    break
                server.sendall(raw)
        except (OSError, ValueError, IndexError, struct.error):
            pass
        _shut(server)
        _shut(client)

    def _may_pass(self, text, epoch):
        try:
            m = json.loads(text) if text else {}
        except ValueError:
            m = {}
        if not isinstance(m, dict) or m.get("type") != "packet":
            return True
        seq, kind = m["payload"]["seq"], m["payload"].get("kind", "")
        with self.cond:
            self.sent.append((kind, seq))
            self.cond.notify_all()
            while self.hold is not None and seq >= self.hold and epoch == self.epoch:
                self.cond.wait()
            return epoch == self.epoch

    def wait_sent(self, seq, timeout, stop=lambda: False):
        """Until the device has said message seq. False when it does not."""
        with self.cond:
            for _ in range(int(timeout / 0.1)):
                if any(s >= seq for _, s in self.sent):
                    return True
                if stop():
                    return False
                self.cond.wait(0.1)
        return False

    def guesses(self):
        """Messages with bytes derived from the secret that begin a guess."""
        return sum(kind == "pake" for kind, _ in self.sent)

    def pass_on(self):
        with self.cond:
            self.hold = None
            self.cond.notify_all()

    def drop(self):
        """What waits is never said; what is said from now on, on new connections, passes."""
        with self.cond:
            self.hold = None
            self.epoch += 1
            self.cond.notify_all()
        for s in list(self.sockets):
            _shut(s)

    def close(self):
        self.drop()
        _shut(self.listener)  # wakes who waits there
        self.listener.close()


def _shut(s):
    try:
        s.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _frame(f):
    """(raw bytes, text) of a client's frame; None at the end."""
    head = f.read(2)
    if len(head) < 2:
        return None
    n = head[1] & 127
    extra = f.read(2 if n == 126 else 8 if n == 127 else 0)
    if extra:
        n = int.from_bytes(extra, "big")
    mask = f.read(4) if head[1] & 128 else b""
    body = f.read(n)
    text = bytes(c ^ mask[i & 3] for i, c in enumerate(body)) if mask else body
    return head + extra + mask + body, text if head[0] & 15 == 1 else b""
