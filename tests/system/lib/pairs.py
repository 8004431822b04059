"""Two hosts on loopback that pair with the handfast command, through a relay of their own."""
import json
import os

import lab

SECRET = "a secret that both of them have"


def start_relay(net, name="relay"):
    """A host with a relay on loopback; its address."""
    port = lab.free_port()
    h = net.host(name)
    h.start("relayd", config=f"listen: [\"127.0.0.1:{port}\"]\n")
    return f"127.0.0.1:{port}"


def pair(a, b, relay, name_at_a, name_at_b):
    """a begins, b joins, both with one secret. The results of both."""
    for h in (a, b):
        path = os.path.join(h.dir, "pair-secret")
        with open(path, "w") as f:
            f.write(SECRET)
    first = a.command("--json", "pair", "--relay", relay, "--secret-file", os.path.join(a.dir, "pair-secret"),
                      "--no-sas", "--name", name_at_a)
    invitation = None
    while not invitation:
        line = first.stdout.readline()
        if not line:
            raise RuntimeError(f"no invitation: {first.stderr.read()}")
        invitation = json.loads(line).get("invitation")
    second = b.handfast("--json", "pair", invitation, "--secret-file", os.path.join(b.dir, "pair-secret"),
                        "--no-sas", "--name", name_at_b)
    out, err = first.communicate(timeout=30)
    if first.returncode != 0 or second.code != 0:
        raise RuntimeError(f"not paired: {out} {err} {second}")


def peers(host):
    return {p["name"]: p for p in host.handfast("--json", "peers").json["result"]["peers"]}


def files_holding(folder, *needles):
    """Files below a folder in which one of these byte strings lies."""
    found = []
    for at, _, names in os.walk(folder):
        for n in names:
            with open(os.path.join(at, n), "rb") as f:
                data = f.read()
            found += [os.path.join(at, n) for x in needles if x in data]
    return found


def snapshot(folder):
    """What a folder holds, byte for byte, and who may read it."""
    seen = {}
    for at, _, names in os.walk(folder):
        for n in names:
            path = os.path.join(at, n)
            with open(path, "rb") as f:
                seen[os.path.relpath(path, folder)] = (os.stat(path).st_mode, f.read())
    return seen
