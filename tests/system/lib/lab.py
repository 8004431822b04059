"""Hosts for system tests: network namespaces joined by veth, real daemons with
state of their own, and everything gone again at the end, also when interrupted.

    import lab                         # sys.path is set by tests/run; see the end of this text
    with lab.Lab() as net:
        laptop, pi = net.host("laptop", netns=True), net.host("pi", netns=True)
        net.link(laptop, "10.99.0.1/24", pi, "10.99.0.2/24")
        laptop.start("pskd", config="log_level: debug\\n")
        r = laptop.handfast("status")  # r.code, r.out, r.err; r.json with "--json"
        lab.check("status_answers", r.code == 0, r.err)
    sys.exit(lab.finish())

A test that is run by hand:  PYTHONPATH=tests/system/lib tests/system/40-pairing
"""
import atexit
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.path.abspath(os.environ.get("HANDFAST_BUILD", "build"))
_failed = 0


def ok(name):
    print(f"ok {name}", flush=True)


def fail(name, why=""):
    global _failed
    _failed += 1
    print(f"FAIL {name}: {' '.join(str(why).split())[:600]}", flush=True)


def skip(name, why):
    print(f"skip {name}: {why}", flush=True)


def check(name, condition, why=""):
    """One line of the verdict. Returns the condition."""
    if condition:
        ok(name)
    else:
        fail(name, why)
    return bool(condition)


def finish():
    return 1 if _failed else 0


def need_root(name):
    """Leave the test with a skip line unless it runs as root with namespaces."""
    if os.geteuid() != 0:
        skip(name, "needs root")
        sys.exit(0)


def wait_for(condition, timeout=10.0, interval=0.02):
    """Poll until condition() is true; its value, or None when the time is over."""
    end = time.monotonic() + timeout
    while True:
        v = condition()
        if v:
            return v
        if time.monotonic() > end:
            return None
        time.sleep(interval)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self):
        """Every --json line, parsed."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    @property
    def json(self):
        """The last --json line: the command's answer."""
        return self.lines[-1]

    def __repr__(self):
        return f"code {self.code}, out {self.out!r}, err {self.err!r}"


class Daemon:
    """A running program that told READY=1 on a notify socket of its own."""

    def __init__(self, host, name, argv, env, timeout=10.0):
        self.host, self.name = host, name
        self.log_path = os.path.join(host.dir, f"{name}.log")
        notify_path = os.path.join(host.dir, f"{name}.notify")
        if os.path.exists(notify_path):
            os.unlink(notify_path)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(notify_path)
        os.chmod(notify_path, 0o666)
        self.told, self._heard = [], threading.Condition()
        # One that nobody reads would block the daemon after a dozen STATUS lines.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        env = dict(env, NOTIFY_SOCKET=notify_path)
        env.pop("JOURNAL_STREAM", None)
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         env=env, preexec_fn=_die_with_parent)
        self.pid = self.proc.pid
        end = time.monotonic() + timeout
        while not self.has_told("READY=1"):
            if self.proc.poll() is not None:
                self._hang_up()
                raise RuntimeError(f"{name} ended with {self.proc.returncode}: {self.log()[-800:]}")
            if time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{name} not ready after {timeout} s: {self.log()[-800:]}")
        # nsenter and setpriv exec the program, so this pid is the daemon itself.

    def _read(self):
        while text := self._notify.recv(4096):
            with self._heard:
                self.told += text.decode(errors="replace").split("\n")
                self._heard.notify_all()

    def _hang_up(self):
        """What was told so far is read."""
        if self._notify.fileno() >= 0:
            self._notify.shutdown(socket.SHUT_RDWR)
            self._reader.join()
            self._notify.close()

    def has_told(self, line):
        """Whether sd_notify brought this line, earlier or in a moment."""
        with self._heard:
            return self._heard.wait_for(lambda: line in self.told, 0.05)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def alive(self):
        return self.proc.poll() is None

    def signal(self, signo):
        self.proc.send_signal(signo)

    def stop(self, timeout=5.0):
        """SIGTERM; the exit code, or None when it had to be killed."""
        if self.alive():
            self.proc.terminate()
        try:
            return self.proc.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        finally:
            self._hang_up()

    def kill(self):
        """kill -9, and wait for it to be gone."""
        if self.alive():
            self.proc.kill()
        self.proc.wait()
        self._hang_up()


class Host:
    """One machine: folders of its own, and a namespace when asked."""

    def __init__(self, lab, name, netns):
        self.lab, self.name = lab, name
        self.dir = os.path.join(lab.dir, name)
        self.runtime = os.path.join(self.dir, "run")
        self.etc = os.path.join(self.dir, "etc")
        for d in (self.dir, self.runtime, self.etc, os.path.join(self.etc, "tunnels"),
                  os.path.join(self.dir, "state")):
            os.mkdir(d, 0o755)
        self.daemons = {}
        self.netns = None
        if netns:
            self.netns = f"hf-{os.getpid()}-{name}"
            _run("ip", "netns", "add", self.netns)
            lab.namespaces.append(self.netns)
            self.run("ip", "link", "set", "lo", "up")

    def prefix(self):
        """argv that enters this host's network."""
        if not self.netns:
            return []
        return ["nsenter", f"--net=/run/netns/{self.netns}", "--"]

    def env(self):
        e = {k: v for k, v in os.environ.items() if not k.startswith(("LISTEN_", "WATCHDOG_"))}
        e.update(HANDFAST_RUNTIME_DIR=self.runtime, PATH=f"{BUILD}/bin:{os.environ['PATH']}",
                 LC_ALL="C.UTF-8")
        return e

    def state(self, daemon):
        return os.path.join(self.dir, "state", daemon)

    def config(self, daemon, text):
        """Write this host's DAEMON.yaml; its path."""
        path = os.path.join(self.etc, f"{daemon}.yaml")
        with open(path, "w") as f:
            f.write(text)
        return path

    def start(self, name, *args, config=None, wrapper=(), env=None, timeout=10.0):
        """Start a daemon and wait for READY=1. wrapper: argv in front (strace, setpriv …)."""
        argv = [*self.prefix(), *wrapper, f"{BUILD}/bin/{name}", "--runtime-dir", self.runtime]
        if name != "tund":
            path = self.config(name, config) if config is not None else \
                os.path.join(self.etc, f"{name}.yaml")
            if not os.path.exists(path):
                self.config(name, "")
            argv += ["--config", path]
            if name != "relayd":  # which keeps nothing
                argv += ["--state-dir", self.state(name)]
        d = Daemon(self, name, [*argv, *args], dict(self.env(), **(env or {})), timeout)
        self.daemons[name] = d
        return d

    def run(self, *argv, timeout=30, input=None, check=True):
        """Any command in this host's network."""
        return _run(*self.prefix(), *argv, timeout=timeout, input=input, check=check, env=self.env())

    def popen(self, *argv, **kw):
        """A command in the background, killed with the lab."""
        p = subprocess.Popen([*self.prefix(), *argv], env=kw.pop("env", self.env()),
                             preexec_fn=_die_with_parent, **kw)
        self.lab.children.append(p)
        return p

    def handfast(self, *args, timeout=60, input=None):
        return self.run(f"{BUILD}/bin/handfast", *args, timeout=timeout, input=input, check=False)

    def command(self, *args, **kw):
        """The handfast command in the background: a Popen with text pipes."""
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        kw.setdefault("stdin", subprocess.DEVNULL)
        return self.popen(f"{BUILD}/bin/handfast", *args, text=True, **kw)


def _run(*argv, timeout=30, input=None, check=True, env=None):
    try:
        p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           errors="replace", timeout=timeout, env=env,
                           **({"stdin": subprocess.DEVNULL} if input is None else {"input": input}))
        r = Result(p.returncode, p.stdout, p.stderr)
    except subprocess.TimeoutExpired as e:
        r = Result(124, (e.stdout or b"").decode(errors="replace"),
                   (e.stderr or b"").decode(errors="replace") + f" (no end after {timeout} s)")
    if check and r.code != 0:
        raise RuntimeError(f"{' '.join(argv)}: {r.code}: {r.err.strip() or r.out.strip()}")
    return r


class Lab:
    def __init__(self):
        sweep()
        self.dir = tempfile.mkdtemp(prefix=f"handfast-lab-{os.getpid()}-")
        os.chmod(self.dir, 0o755)
        self.hosts, self.namespaces, self.children = {}, [], []
        self.closed = False
        self.keep_logs = bool(os.environ.get("HANDFAST_KEEP"))
        atexit.register(self.close)
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, lambda signo, frame: sys.exit(128 + signo))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def host(self, name, netns=False):
        h = self.hosts[name] = Host(self, name, netns)
        return h

    def link(self, a, address_a, b, address_b, name_a="eth0", name_b="eth0"):
        """A veth pair between two hosts; addresses are one CIDR or a list."""
        _run("ip", "link", "add", name_a, "netns", a.netns, "type", "veth",
             "peer", "name", name_b, "netns", b.netns)
        for h, n, addresses in ((a, name_a, address_a), (b, name_b, address_b)):
            for x in [addresses] if isinstance(addresses, str) else addresses:
                h.run("ip", "addr", "add", x, "dev", n, *(["nodad"] if ":" in x else []))
            h.run("ip", "link", "set", n, "up")

    def bridge(self, name, members):
        """A switch in a namespace of its own: members is [(host, cidr or list), …]."""
        hub = self.host(name, netns=True)
        hub.run("ip", "link", "add", "br0", "type", "bridge")
        hub.run("ip", "link", "set", "br0", "up")
        for i, (h, addresses) in enumerate(members):
            self.link(h, addresses, hub, [], "eth0", f"port{i}")
            hub.run("ip", "link", "set", f"port{i}", "master", "br0")
        return hub

    def close(self):
        if self.closed:
            return
        self.closed = True
        for p in self.children:
            if p.poll() is None:
                p.kill()
                p.wait()
        for h in self.hosts.values():
            for d in h.daemons.values():
                if d.alive():
                    d.proc.terminate()
        for h in self.hosts.values():
            for d in h.daemons.values():
                try:
                    d.proc.wait(3)
                except subprocess.TimeoutExpired:
                    d.kill()
        for n in self.namespaces:
            subprocess.run(["ip", "netns", "del", n], stderr=subprocess.DEVNULL)
        if self.keep_logs:
            _unmount_below(self.dir)
            print(f"# kept: {self.dir}", file=sys.stderr)
        else:
            _remove(self.dir)


def _unmount_below(folder):
    """What is mounted in a lab's folder, the last first."""
    with open("/proc/self/mountinfo") as f:
        at = [line.split()[4].replace("\\040", " ") for line in f]
    for m in reversed([m for m in at if m.startswith(folder + "/")]):
        subprocess.run(["umount", "-l", m], stderr=subprocess.DEVNULL)


def _remove(folder):
    """A lab's folder, and nothing of what may still be mounted in it."""
    _unmount_below(folder)
    subprocess.run(["rm", "-rf", "--one-file-system", "--", folder], stderr=subprocess.DEVNULL)


def sweep():
    """Remove what labs left whose process is gone (killed with -9): namespaces and folders."""
    def is_left(name, prefix):
        pid = name[len(prefix):].split("-")[0]
        return name.startswith(prefix) and pid.isdigit() and not os.path.exists(f"/proc/{pid}")

    for n in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        if is_left(n, "hf-"):
            subprocess.run(["ip", "netns", "del", n], stderr=subprocess.DEVNULL)
    for n in os.listdir(tempfile.gettempdir()):
        if is_left(n, "handfast-lab-"):
            _remove(os.path.join(tempfile.gettempdir(), n))
