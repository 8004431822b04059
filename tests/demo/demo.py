"""make demo: two machines pair over a relay, a tunnel comes up between them, and through it somebody at
one logs in to a web service on the other.

Laptop, Pi and relay are network namespaces joined by veth; the programs are the
real ones with state of their own in a temporary folder. One narrated line a step.
A step that fails says what failed and where the logs are, and the exit status is 1.
"""
import json
import os
import shutil
import sys
import threading
import time

import lab

MEGABYTES = int(os.environ.get("DEMO_MEGABYTES", "200"))
TRANSFER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "transfer.py")
UNSIGNED = """import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=20).status)
except urllib.error.HTTPError as e:
    print(e.code)
"""
step_no = 0


def say(text):
    global step_no
    step_no += 1
    print(f"{step_no:2d}. {text}", flush=True)


class Failed(Exception):
    pass


def must(condition, what):
    if not condition:
        raise Failed(what)


class Pairing:
    """`handfast --json pair` in the background: its events, and the file it reads the SAS from."""

    def __init__(self, host, *args, stdin=None):
        self.host = host
        self.sas = os.path.join(host.dir, "sas")
        os.mkfifo(self.sas, 0o600)
        self.events, self.seen = [], threading.Condition()
        self.proc = host.command("--json", "pair", *args, "--sas-file", self.sas)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.proc.stdout:
            with self.seen:
                self.events.append(json.loads(line))
                self.seen.notify_all()
        with self.seen:
            self.events.append({"event": "end"})
            self.seen.notify_all()

    def wait(self, key, timeout=30):
        """The first line that has key (or is that event)."""
        def find():
            return next((e for e in self.events if e.get("event") == key or key in e), None)
        with self.seen:
            self.seen.wait_for(lambda: find() or any(e.get("event") == "end" for e in self.events),
                               timeout)
            found = find()
        if not found:
            err = self.proc.stderr.read() if self.proc.poll() is not None else ""
            raise Failed(f"{self.host.name}: no {key} from handfast pair; "
                         f"it said {self.events[-2:]} {err.strip()}")
        return found


def pair(laptop, pi):
    first = Pairing(laptop, "--relay", "ws://10.99.0.3:7117", "--note", "hello from the laptop")
    pin = first.wait("pin")["pin"]
    invitation = first.wait("invitation")["invitation"]
    say(f"laptop: handfast pair shows PIN {pin} and the invitation {invitation}")
    pin_file = os.path.join(pi.dir, "pin")
    with open(os.open(pin_file, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
        f.write(pin + "\n")
    second = Pairing(pi, invitation, "--pin-file", pin_file)
    a, b = first.wait("sas")["choices"], second.wait("sas")["choices"]
    say(f"both show three numbers: laptop {', '.join(a)}; pi {', '.join(b)}")
    common = set(a) & set(b)
    must(len(common) == 1, f"the two screens share {len(common)} numbers, not one")
    say(f"the one that is on both screens is {common.copy().pop()}: picked on both")
    for p in (first, second):
        with open(p.sas, "w") as f:
            f.write(common.copy().pop() + "\n")
    for p in (first, second):
        answer = p.wait("ok")
        must(answer["ok"], f"{p.host.name}: {answer}")
        must(p.proc.wait(10) == 0, f"{p.host.name}: handfast pair ended badly")
    for h, other in ((laptop, "pi"), (pi, "laptop")):
        peers = h.handfast("--json", "peers").json["result"]["peers"]
        must([p["name"] for p in peers] == [other], f"{h.name}: peers are {peers}")
        must(peers[0]["state"] == "active", f"{h.name}: the pairing is {peers[0]['state']}")
    say("paired: each has pinned the other's identity key; the relay knows neither")


def tunnel(laptop, pi):
    up = {h: h.command("tunnel", "up", other) for h, other in ((laptop, "pi"), (pi, "laptop"))}
    for h, p in up.items():
        out, err = p.communicate(timeout=60)
        must(p.returncode == 0, f"{h.name}: handfast tunnel up: {err.strip() or out.strip()}")
    say("handfast tunnel up on both: the handshake is done, signed by both identities")
    shown = pi.handfast("--json", "tunnel", "show", "laptop")
    must(shown.code == 0, f"handfast tunnel show: {shown}")
    addresses = [a.split("/")[0] for a in shown.json["result"]["tunnel"]["local_addresses"]]
    for a in addresses:
        r = laptop.run("ping", "-q", "-c", "5", "-i", "0.2", "-W", "2", a, check=False)
        must(r.code == 0, f"ping {a} through the tunnel: {r.out.strip()}")
        rtt = r.out.strip().splitlines()[-1].split("=")[-1].strip()
        say(f"ping {a} from the laptop: 5 of 5 answered, min/avg/max {rtt}")
    must(len(addresses) == 2, f"one IPv4 and one IPv6 address, not {addresses}")
    return addresses


def transfer(laptop, pi, address):
    receiver = pi.popen(sys.executable, TRANSFER, "receive", address, "9000", stdout=-1, text=True)
    must(receiver.stdout.readline().strip() == "listening", "the receiver does not listen")
    sent = laptop.run(sys.executable, TRANSFER, "send", address, "9000", str(MEGABYTES * 1000000),
                      str(int(time.time())), timeout=300).out.split()
    got = receiver.communicate(timeout=60)[0].split()
    must(sent[:2] == got[:2], f"sent {sent[:2]} but received {got[:2]}")
    rate = int(got[0]) * 8 / 1e6 / max(float(got[2]), 0.001)
    say(f"{MEGABYTES} MB over TCP through the tunnel, {rate:.0f} Mbit/s, same SHA-256 at both ends: "
        f"{got[1][:16]}…")


def login(laptop, pi):
    """authd on the Pi's end of the tunnel; a user registers, logs in and asks through it."""
    own, peer = (pi.handfast("tunnel", "address", *o, "laptop").out.strip() for o in (["--own"], []))
    url = f"http://{own}:7150"
    pi.start("authd", config=f'listen: ["{own}:7150"]\nprivate_networks: ["{peer}"]\n')
    say(f"pi: authd listens on {own}:7150, its address in the tunnel, and takes registrations from {peer}")
    invite = pi.handfast("--json", "auth", "invite", "anna")
    must(invite.code == 0, f"handfast auth invite: {invite}")
    password = os.path.join(laptop.dir, "password")
    with open(os.open(password, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
        f.write("correct horse battery staple\n")

    def auth(*args):
        # The way is protected by the tunnel: hence no TLS.
        r = laptop.run("env", f"XDG_STATE_HOME={laptop.dir}", f"{lab.BUILD}/bin/handfast", "auth", *args, "--plain-http",
                       timeout=60, check=False)
        must(r.code == 0, f"handfast auth {args[0]}: {r.err.strip()}")
        return r.out.strip()
    auth("register", url, "anna", "--invite", invite.json["result"]["token"], "--password-file", password)
    say("laptop: handfast auth register: anna, by an invitation from the Pi; the Pi has seen no password")
    said = auth("login", url, "anna", "--password-file", password)
    say(f"laptop: handfast auth login {url}: {said}")
    body = '{"to": "anna", "note": "through the tunnel"}'
    try:
        sent = auth("request", "-H", "Content-Type: application/json", "-d", body, f"{url}/api/transfer")
        notes = json.loads(auth("request", f"{url}/api/transfers"))["transfers"]
        must([n["note"] for n in notes] == ["through the tunnel"], f"the notes are {notes}")
        say(f"laptop: handfast auth request: a signed POST of {len(body)} bytes, answered {sent}, and there it is")
        code = laptop.run(sys.executable, "-c", UNSIGNED, f"{url}/api/whoami").out.strip()
        must(code == "401", f"a request without a proof is answered {code}")
        say("laptop: the same without a proof: 401")
    finally:
        # A key may be in the kernel's keyring, which outlives the namespaces.
        auth("logout", url)


def run(net):
    laptop, pi = net.host("laptop", netns=True), net.host("pi", netns=True)
    relay = net.bridge("relay", [(laptop, ["10.99.0.1/24", "fd99::1/64"]),
                                 (pi, ["10.99.0.2/24", "fd99::2/64"])])
    relay.run("ip", "addr", "add", "10.99.0.3/24", "dev", "br0")
    say("three network namespaces: laptop 10.99.0.1, pi 10.99.0.2, relay 10.99.0.3")
    relay.start("relayd", config='listen: ["10.99.0.3:7117"]\n')
    say("relay: relayd listens on 10.99.0.3:7117")
    for h in (laptop, pi):
        h.start("tund")
        h.start("pairingd", config=f"device_name: {h.name}\n")
        h.start("pskd", config="")
    say("laptop and pi: tund, pairingd and pskd are ready, each with keys of its own")
    pair(laptop, pi)
    addresses = tunnel(laptop, pi)
    transfer(laptop, pi, addresses[0])
    for h, other in ((laptop, "pi"), (pi, "laptop")):
        r = h.handfast("tunnel", "show", other)
        must(r.code == 0, f"{h.name}: handfast tunnel show: {r.err}")
        say(f"{h.name}: handfast tunnel show {other}")
        print("".join(f"      {line}\n" for line in r.out.rstrip().splitlines()), end="")
    login(laptop, pi)
    for h in (laptop, pi, relay):
        for d in reversed(list(h.daemons.values())):
            must(d.stop() == 0, f"{h.name}: {d.name} did not stop cleanly: {d.log()[-300:]}")
    say("all daemons stopped cleanly; namespaces and folders are removed")


def main():
    if os.geteuid() != 0:
        print("make demo makes network namespaces and a TUN device: run it as root", file=sys.stderr)
        return 1
    net = lab.Lab()
    try:
        run(net)
    except (Failed, RuntimeError, OSError, KeyError, IndexError) as e:
        kept = f"/tmp/handfast-demo-logs-{os.getpid()}"
        os.makedirs(kept, exist_ok=True)
        for h in net.hosts.values():
            for d in h.daemons.values():
                shutil.copy(d.log_path, os.path.join(kept, f"{h.name}-{d.name}.log"))
        net.close()
        print(f"FAILED at step {step_no + 1}: {e}\nThe daemons' logs are in {kept}", file=sys.stderr)
        return 1
    net.close()
    print(f"Done: the tunnel carried the data ({MEGABYTES} MB, SHA-256 equal at both ends), a login and signed requests.")
    return 0


sys.exit(main())
