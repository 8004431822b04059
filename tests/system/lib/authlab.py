"""An authd on loopback for tests, and its control calls.

    s = authlab.Server(net, "one")          # open registration, a cheap Argon2id, no bans
    c = s.member("alice")                   # lib/opaque.py's client, registered and logged in
    authlab.control(s.host, "Users")        # a call of io.handfast.Auth
"""
import hashlib
import json
import os
import socket

import lab
import opaque
from opaque import b64

PASSWORD = b"correct horse battery staple"
# What clients may be asked for at least: the tests stretch often.
CHEAP = "argon2id:\n  memory: 19MiB\n  passes: 2\n"
PATIENT = "bans:\n  attempts: 100000\n  attempts_per_address: 100000\n  proofs_per_address: 1000000\n"


def control(host, method, **params):
    """A control call: parameters, or the error's name."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(os.path.join(host.runtime, "authd.sock"))
    s.sendall(json.dumps({"method": f"io.handfast.Auth.{method}", "parameters": params}).encode() + b"\0")
    data = b""
    while not data.endswith(b"\0"):
        data += s.recv(65536)
    s.close()
    a = json.loads(data[:-1])
    return a["error"].rsplit(".", 1)[1] if "error" in a else a.get("parameters", {})


def invite(host, **params):
    token = b64(os.urandom(16))
    return token, control(host, "Invite", hash=hashlib.sha256(token.encode()).hexdigest(), **params)


class Server:
    """An authd of its own on this machine's loopback."""

    def __init__(self, net, name, config="", registration="open", bans=PATIENT, env=None):
        """PORT in config stands for its port."""
        self.host, self.port, self.env = net.host(name), lab.free_port(), env
        config = config.replace("PORT", str(self.port))
        self.text = f"listen: [\"127.0.0.1:{self.port}\"]\nregistration: {registration}\n{CHEAP}{bans}{config}"
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        self.daemon = self.host.start("authd", config=self.text, env=self.env)

    def restart(self, kill=False):
        self.daemon.kill() if kill else self.daemon.stop()
        self.start()

    def client(self, **kw):
        return opaque.Client(self.url, **kw)

    def member(self, user, password=PASSWORD):
        c = self.client()
        r = c.register(user, password)
        if r.status == 201:
            r = c.login(user, password)
        if r.status != 200:
            raise RuntimeError(r)
        return c
