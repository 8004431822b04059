"""A Varlink daemon made of a table of functions, for testing who calls daemons.

    with Fake(runtime_dir, "pairingd", {"io.handfast.Pairing.Peers": lambda call: {"peers": []}}) as d:
        …  d.calls is [(method, parameters, more), …]

A function gets a Call and returns the last reply's parameters, or raises Refuse.
call.more({...}) sends one of several replies; call.gone waits for the caller's end.
"""
import json
import os
import select
import socket
import struct
import threading
import time


class Refuse(Exception):
    def __init__(self, error, message="no", hint=""):
        super().__init__(error)
        self.error, self.message, self.hint = error, message, hint


class Raw(Exception):
    """Send these bytes in place of an answer, then hang up."""

    def __init__(self, data):
        super().__init__()
        self.data = data


class Call:
    def __init__(self, conn, parameters, wants_more):
        self.conn, self.parameters, self.wants_more = conn, parameters, wants_more

    def send(self, message):
        self.conn.sendall(json.dumps(message).encode() + b"\0")

    def more(self, parameters):
        self.send({"parameters": parameters, "continues": True})

    def gone(self, timeout=10):
        """True once the caller has hung up."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if select.select([self.conn], [], [], 0.05)[0] and not self.conn.recv(1, socket.MSG_PEEK):
                return True
        return False


class Fake:
    def __init__(self, runtime, name, methods):
        self.methods, self.calls = methods, []
        self.path = os.path.join(runtime, f"{name}.sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener.bind(self.path)
        self.listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        # shutdown, too: accept() in the thread keeps a closed listener alive.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def named(self, method):
        """Parameters of the calls of one method, by its last name."""
        return [p for m, p, _ in self.calls if m.endswith("." + method)]

    def _accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        buffer = b""
        try:
            while True:
                while b"\0" not in buffer:
                    data = conn.recv(65536)
                    if not data:
                        return
                    buffer += data
                text, buffer = buffer.split(b"\0", 1)
                self._answer(conn, json.loads(text))
        except OSError:
            pass
        finally:
            conn.close()

    def _answer(self, conn, message):
        method, parameters = message["method"], message.get("parameters", {})
        self.calls.append((method, parameters, bool(message.get("more"))))
        call = Call(conn, parameters, bool(message.get("more")))
        try:
            if method not in self.methods:
                raise Refuse("org.varlink.service.MethodNotFound", method)
            call.send({"parameters": self.methods[method](call)})
        except Refuse as e:
            call.send({"error": e.error, "parameters": {"message": e.message, "hint": e.hint}})
        except Raw as e:
            conn.sendall(e.data)
            conn.shutdown(socket.SHUT_RDWR)


class SecretSocket:
    """pairing-secret.sock: keeps what was handed over and answers with status."""

    def __init__(self, runtime, status=0):
        self.path, self.status = os.path.join(runtime, "pairing-secret.sock"), status
        self.got = []  # (ticket, class, value)
        self.came = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(4)
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)

    def _serve(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            with conn:
                data = conn.recv(4096)
                self.got.append((data[:16].hex(), data[16], data[17:]))
                conn.send(struct.pack("B", self.status))
                self.came.set()
