"""Two hosts with a tunnel t between them that is keyed by a file, and what staging the next file is tested with."""
import os
import socket
import sys
import time

import lab
import psk2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "faults"))

PORT = 7200
WAIT = 90


def show(host, name="t"):
    r = host.handfast("--json", "tunnel", "show", name)
    return r.json["result"]["tunnel"] if r.code == 0 else {"state": f"no answer: {r.err}", "key_file": ""}


def call(host, *args):
    return host.handfast("--json", "tunnel", *args)


def code_of(r):
    return r.json.get("error", {}).get("code", "").rsplit(".", 1)[-1]


def path(host, name):
    return os.path.join(host.dir, name)


def ledger(host, name="t.ledger"):
    return os.path.join(host.state("pskd"), "ledgers", name)


def write_key(host, keys, name):
    with open(os.open(path(host, name), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as f:
        f.write(keys.data)
    return path(host, name)


def content(host, name):
    with open(path(host, name), "rb") as f:
        return f.read()


def declare(host, name, **members):
    file = os.path.join(host.etc, "tunnels", f"{name}.yaml")
    with open(file, "w") as f:
        f.writelines(f"{k}: {v}\n" for k, v in members.items())
    return file


def start_pair(net, slots=2000, **more):
    """a and b, up, with the file one; the file two lies beside it."""
    a, b = net.host("a", netns=True), net.host("b", netns=True)
    net.link(a, ["10.99.0.1/24"], b, ["10.99.0.2/24"])
    one, two = psk2.KeyFile.random(slots), psk2.KeyFile.random(1000)
    for h, role, mine in ((a, "initiator", {"endpoint": f"10.99.0.2:{PORT}"}), (b, "responder", {"listen": PORT})):
        text = {"key_file": write_key(h, one, "one"), "role": role, "erase": "zero", "keepalive": "5s",
                "local_address": f"10.9.0.{1 + (h is b)}/30", "peer_address": f"10.9.0.{2 - (h is b)}", **mine, **more}
        declare(h, "t", **text)
        write_key(h, two, "two")
        h.start("tund")
        h.start("pskd", config="")
    lab.check("tunnel_comes_up", ping_until(a), f"{show(a)} {show(b)}")
    return a, b


def ping_until(host, address="10.9.0.2"):
    return lab.wait_for(lambda: host.run("ping", "-q", "-c", "1", "-W", "1", address, check=False).code == 0, WAIT, 0.1)


def stage(host, name="two"):
    return call(host, "stage", "t", path(host, name))


def has_switched(host, name="t"):
    t = show(host, name)
    return t["state"] == "up" and t["key_file"].endswith("/two") and "staged" not in t


def both_switch(a, b):
    return all(lab.wait_for(lambda h=h: has_switched(h), WAIT, 0.1) for h in (a, b)) and ping_until(a)


def is_finished(host):
    return lab.wait_for(lambda: "retired" not in show(host), WAIT, 0.2)


def restart(host, **env):
    host.daemons["pskd"].kill()
    host.start("pskd", config="", env=env or None)


def log(host):
    return host.daemons["pskd"].log()


def use_up(host):
    """All that the file has left for this side."""
    s = psk2.socket_in(host, socket.AF_INET, socket.SOCK_DGRAM)
    end = time.monotonic() + WAIT
    while show(host)["state"] != "exhausted" and time.monotonic() < end:
        for _ in range(500):
            try:
                s.sendto(bytes(10), ("10.9.0.2", 9))
            except OSError:
                pass
        time.sleep(0.02)
    s.close()
    return show(host)["state"] == "exhausted"
