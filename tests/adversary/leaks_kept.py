"""Where secrets must not be: arguments and environments, logs, answers, the runtime folder, memory once a secret has had
its use, and core dumps. Two devices pair with the handfast command over a relay that wants a token, and bring up a
tunnel, while every process is looked at."""
import base64
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import people
import protocol

import lab
import leaks

LIMITLESS = ("sh", "-c", 'ulimit -c unlimited && cd "$1" && shift && exec "$@"', "sh")
# The lab's own environment (its build folder, say) is no secret; these commands ask for all that can be asked.
COMMANDS = (["status"], ["peers"], ["identity"], ["doctor"], ["tunnel", "list"], ["relay", "sessions"], ["metrics"], ["peer", "show", "{peer}"],
            ["tunnel", "show", "{peer}"], ["log"], ["version"])


class Secret:
    def __init__(self, name, value):
        self.name, self.value = name, value
        forms = {value, value.hex().encode(), base64.b64encode(value).rstrip(b"=")} if len(value) > 8 else {value}
        edge = (rb"(?<![0-9A-Za-z])", rb"(?![0-9A-Za-z])") if len(value) <= 8 else (b"", b"")
        self.pattern = re.compile(edge[0] + b"(?:" + b"|".join(map(re.escape, forms)) + b")" + edge[1])

    def lies_in(self, data):
        return bool(self.pattern.search(data))


def memory(pid):
    """Everything that the process can write to."""
    out = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, mode = line.split()[:2]
            if mode.startswith("rw"):
                a, b = (int(x, 16) for x in span.split("-"))
                if b - a < 1 << 28:
                    try:
                        mem.seek(a)
                        out.append(mem.read(b - a))
                    except OSError:
                        pass
    return b"".join(out)


def tree(folder):
    """{path: bytes} of the plain files below."""
    out = {}
    for at, _, names in os.walk(folder):
        for n in names:
            path = os.path.join(at, n)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as f:
                    out[path] = f.read()
    return out


def seed_of(host):
    """The identity's seed, wherever it stands in its file."""
    with open(os.path.join(host.state("pairingd"), "identity.key"), "rb") as f:
        data = f.read()
    public = base64.b64decode(host.handfast("--json", "identity").json["result"]["public_key"])
    for i in range(len(data) - 31):
        key = Ed25519PrivateKey.from_private_bytes(data[i:i + 32])
        if key.public_key().public_bytes(**protocol.RAW) == public:
            return data[i:i + 32]
    return None


class Watch(threading.Thread):
    """Looks at the arguments and environment of all that the test started, again and again."""

    def __init__(self):
        super().__init__(daemon=True)
        self.secrets, self.found, self.looks, self.over = [], set(), 0, False
        self.start()

    def run(self):
        while not self.over:
            for s in list(self.secrets):
                for place in leaks.find(s):
                    try:
                        with open(os.path.dirname(place) + "/comm") as f:
                            self.found.add(f"{os.path.basename(place)} of {f.read().strip()}")
                    except OSError:
                        self.found.add(place)
            self.looks += 1
            time.sleep(0.05)


def pair(a, b, relay, pin_of, watch, *more):
    """Both with the command, the number picked by the two. (alice's lines, bob's lines, the PIN)"""
    def begin(host, *args, **kw):
        fifo = os.path.join(host.dir, f"number-{time.monotonic_ns()}")
        os.mkfifo(fifo, 0o600)
        picks = [] if "--no-sas" in more else ["--sas-file", fifo]
        p = host.command("--json", "pair", *args, *picks, *more, **kw)
        p.fifo, p.lines = fifo, []
        return p

    def until(p, key):
        for line in p.stdout:
            p.lines.append(json.loads(line))
            if key in p.lines[-1]:
                return p.lines[-1][key]
        raise RuntimeError(f"no {key}: {p.lines[-2:]} {p.stderr.read()}")

    pa = begin(a, "--relay", relay)
    invitation = until(pa, "invitation")
    pin, extra = pin_of(pa.lines)
    if pin:
        watch.secrets.append(pin)
    if pin:
        r, w = os.pipe()
        os.write(w, pin.encode() + b"\n")
        os.close(w)
        extra = ("--pin-fd", str(r))
        pb = begin(b, invitation, *extra, pass_fds=(r,))
        os.close(r)
    else:
        pb = begin(b, invitation)
    if "--no-sas" not in more:
        both = set(until(pa, "choices")) & set(until(pb, "choices"))
        number = both.pop()
        for p in (pa, pb):
            with open(p.fifo, "w") as f:
                f.write(number + "\n")
    for p in (pa, pb):
        out, err = p.communicate(timeout=60)
        p.lines += [json.loads(x) for x in out.splitlines()]
        if p.returncode:
            raise RuntimeError(f"not paired: {p.lines[-1:]} {err}")
    return pa.lines, pb.lines, pin, invitation


def session_ids(host):
    import sqlite3
    db = sqlite3.connect(f"file:{host.state('pairingd')}/pairings.db?mode=ro&immutable=1", uri=True)
    try:
        return [bytes(r[0]) for r in db.execute("SELECT session_id FROM attempt ORDER BY number")]
    finally:
        db.close()


def roots(host):
    d = people.Device(host, lambda h: None)
    return [r for _, _, r in d.roots()]


def store_roots(host):
    """As pskd does once it has them: pairingd erases its own."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(10)
    s.connect(os.path.join(host.runtime, "identity.sock"))
    listed, more = b"", True
    while more:
        d = s.recv(8192)
        if d[0] == 19:
            listed, more = listed + d[6:], d[5]
    n = 0
    while listed:
        n += 1
        for kind in (2, 3):
            s.send(bytes([kind]) + struct.pack(">I", n) + listed[:32])
            while s.recv(8192)[0] < 128:
                pass
        listed = listed[34 + struct.unpack(">H", listed[32:34])[0]:]
    s.close()


def check(net):
    relay, a, b = net.host("leakrelay", netns=True), net.host("leaka"), net.host("leakb")
    a.netns = b.netns = relay.netns
    relay.run("ip", "link", "add", "dummy0", "type", "dummy", check=False)
    token = "tokenfortests" + os.urandom(12).hex()
    path = os.path.join(relay.dir, "tokens")
    with open(path, "w") as f:
        f.write(token + "\n")
    url = "ws://127.0.0.1:7117"
    cwd = os.path.join(net.dir, "cores")
    os.mkdir(cwd)
    wrapper = (*LIMITLESS, cwd)
    relay.start("relayd", config=f'listen: ["127.0.0.1:7117"]\ntokens_file: {path}\n', wrapper=wrapper)
    for n, h in enumerate((a, b)):
        h.start("pairingd", config=f"device_name: {h.name}\nrelay: {url}\nrelay_token_file: {path}\n"
                                   f"tunnel_port_base: {7300 + 50 * n}\n", wrapper=wrapper)
    watch = Watch()
    watch.secrets.append(token)

    la, lb, pin, invitation = pair(a, b, url, lambda lines: (next(x["pin"] for x in lines if "pin" in x), ()), watch)
    shared = roots(a)
    store_roots(b)
    # A second pairing of the same two, with a secret file.
    value = os.urandom(24).hex()
    watch.secrets.append(value)
    files = []
    for h in (a, b):
        files.append(os.path.join(h.dir, "secret"))
        with open(files[-1], "w") as f:
            f.write(value)
    lines = pair(a, b, url, lambda lines: (None, ()), watch, "--secret-file", files[0], "--no-sas")[:2]
    shared += [r for r in roots(a) if r not in shared]
    for h in (a, b):
        store_roots(h)

    ids = session_ids(a)
    secrets = [Secret("PIN", pin.encode()), Secret("secret of the file", value.encode())]
    for cls, v, i in (("PIN", pin, ids[-2]), ("SEC", value, ids[-1])):
        secrets.append(Secret(f"stretched {cls}", protocol.stretch(b"v40-spake2-x25519", i, cls.encode(), v.encode())))
    secrets += [Secret("tunnel root", r) for r in shared]
    seeds = [Secret("identity seed", s) for s in map(seed_of, (a, b)) if s]
    tokens = [Secret("relay's token", token.encode())]
    lab.check("leaks_the_instrument_knows_the_secrets", len(seeds) == 2 and len(shared) == 2, f"{len(seeds)} {len(shared)}")

    # Memory, before anything restarts.
    found = []
    for h, name in ((a, "pairingd"), (b, "pairingd"), (relay, "relayd")):
        data = memory(h.daemons[name].pid)
        found += [f"{s.name} in {h.name}'s {name}" for s in secrets if s.lies_in(data)]
        if name == "pairingd":
            lab.check(f"leaks_the_instrument_sees_memory_{h.name}", tokens[0].lies_in(data) and len(data) > 100000, len(data))
    lab.check("i5_no_used_secret_is_left_in_memory", not found, found)

    # A tunnel's start, as far as it gets where both ends are one machine.
    for h in (a, b):
        h.start("tund", wrapper=wrapper)
        h.start("pskd", config="", wrapper=wrapper)
    a.handfast("tunnel", "up", "leakb", "--timeout", "3s")
    said = []
    for h in (a, b):
        for c in COMMANDS:
            r = h.handfast("--json", *[x.replace("{peer}", "leakb" if h is a else "leaka") for x in c], timeout=30)
            said.append((c, r.out + r.err))
    bad = h.handfast("--json", "pair", invitation, "--pin-file", "/dev/null")
    said.append((["pair", "again"], bad.out + bad.err))
    watch.over = True
    watch.join()
    lab.check("i5_no_secret_in_arguments_or_environment", not watch.found, watch.found)
    lab.check("leaks_processes_were_looked_at", watch.looks > 10, watch.looks)

    everything = secrets + seeds + tokens
    hosts = (relay, a, b)
    logs = {f"{h.name}'s {n}": d.log().encode() for h in hosts for n, d in h.daemons.items()}
    found = [f"{s.name} in the log of {n}" for n, t in logs.items() for s in everything if s.lies_in(t)]
    lab.check("i5_no_secret_in_a_log", not found and all(len(t) > 0 for t in logs.values()), f"{found} {[n for n in logs if not logs[n]]}")
    found = [f"{s.name} in the answer to {' '.join(c)}" for c, t in said for s in everything if s.lies_in(t.encode())]
    lab.check("i5_no_secret_in_an_answer_or_error", not found, found)
    # The PIN itself is shown to the person who makes it, and nowhere else.
    lines = [(side, json.dumps(x).encode()) for side, ls in (("alice", la), ("bob", lb), *zip(("alice", "bob"), lines)) for x in ls]
    found = [(side, s.name) for side, t in lines for s in everything
             if s.lies_in(t) and not (side == "alice" and s.name == "PIN" and b'"pin"' in t)]
    lab.check("i5_the_pairing_command_shows_the_pin_alone", not found, found)
    found = [f"{s.name} in {f}" for h in hosts for f, t in tree(h.runtime).items() for s in everything if s.lies_in(t)]
    lab.check("i5_no_secret_in_the_runtime_folder", not found, found)
    found = [f"{s.name} in {f}" for h in hosts for f, t in tree(os.path.join(h.dir, "state")).items() if "pairingd" in f
             for s in secrets + tokens if s.lies_in(t)]
    lab.check("i5_no_used_secret_in_pairingds_files", not found, found)
    cores(net, cwd, hosts, url, everything)


def cores(net, cwd, hosts, url, everything):
    """What a crash leaves. The command waits with its PIN on the screen meanwhile."""
    a = hosts[1]
    with open("/proc/sys/kernel/core_pattern") as f:
        pattern = f.read().strip()
    if pattern.startswith(("|", "/")):
        lab.skip("i5_no_secret_in_a_core_dump", f"cores go to {pattern} here")
        return
    control = subprocess.Popen([*LIMITLESS, cwd, "sleep", "60"], stderr=subprocess.DEVNULL)
    lab.wait_for(lambda: b"sleep" == open(f"/proc/{control.pid}/cmdline", "rb").read().split(b"\0")[0])
    control.send_signal(signal.SIGABRT)
    control.wait()
    cores_now = [n for n in os.listdir(cwd) if n.startswith("core")]
    if not cores_now:
        lab.skip("i5_no_secret_in_a_core_dump", "nothing dumps core here")
        return
    for n in cores_now:
        os.unlink(os.path.join(cwd, n))
    fifo = os.path.join(a.dir, "nobody-picks")
    os.mkfifo(fifo, 0o600)
    command = a.popen(*LIMITLESS, cwd, f"{lab.BUILD}/bin/handfast", "--json", "pair", "--relay", url,
                      "--sas-file", fifo, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
    pin, lines = None, []
    for line in command.stdout:
        lines.append(json.loads(line))
        pin = lines[-1].get("pin") or pin
        if "invitation" in lines[-1]:
            break
    if not pin:
        lab.fail("i5_no_secret_in_a_core_dump", f"no PIN to look for: {lines}")
        return
    everything = everything + [Secret("PIN on the screen", pin.encode())]
    found, names = [], []
    for h in hosts:
        for name, d in h.daemons.items():
            names.append((name, d.proc))
    names.insert(0, ("handfast", command))
    for name, proc in names:
        if proc.poll() is not None:
            continue
        proc.send_signal(signal.SIGABRT)
        code = proc.wait(20)
        if code != -signal.SIGABRT:
            found.append(f"{name} ended with {code}")
        for n in os.listdir(cwd):
            with open(os.path.join(cwd, n), "rb") as f:
                data = f.read()
            found += [f"{s.name} in the core of {name}" for s in everything if s.lies_in(data)]
            found += [f"{name} dumped {len(data)} bytes"]
            os.unlink(os.path.join(cwd, n))
    lab.check("i5_no_secret_in_a_core_dump", not found, found)


if __name__ == "__main__":
    with lab.Lab() as the_net:
        check(the_net)
    sys.exit(lab.finish())
