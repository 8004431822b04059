"""Machines with systemd as PID 1, for system tests: Debian 12 and 13 under systemd-nspawn, each with
its own network, disk and power switch, joined by cables and switches. Needs root, not systemd.

    import lab, machine                         # tests/run sets the path
    machine.need("10-example")                  # says skip and leaves where this cannot work
    with machine.Site() as site:
        laptop = site.machine("laptop", "bookworm")
        pi = site.machine("pi", "trixie", disk="image")      # an ext4 image: it can lose power
        site.cable(laptop, "10.7.0.1/24", pi, "10.7.0.2/24") # lan0 on both; also site.lan(…)
        site.up(laptop, pi)                                  # all at once; 2 to 4 s
        laptop.push(machine.deb_for("bookworm"), "/root/handfast.deb")
        r = laptop.exec("apt-get", "install", "-y", "/root/handfast.deb")   # r.code, r.out, r.err
        laptop.write("/etc/handfast/pskd.yaml", "max_tunnels: 3\\n")
        t = laptop.terminal("handfast", "pair", user="anna") # a program on a terminal of its own
        laptop.reboot(); pi.power_cut(); pi.up()
        site.unplug(laptop); site.plug(laptop)
    sys.exit(lab.finish())

Where things are:  HANDFAST_BUILD/rootfs/ keeps a tree for each release and list of packages (made by
mmdebstrap, once, some 40 s), a disk image of it where one was needed, build trees, and packages.
A "folder" machine is an overlay over such a tree, or a copy where overlays do not work.

What is left behind:  nothing. All mounts are in a mount namespace of this process, all networks are
those of child processes, loop devices let go with their mounts, and a guard process outside our
session waits for our end, also by kill -9, and ends the machines then. 00-machines tests that. Call Site methods from the main thread only (a child dies with the thread that made it).
"""
import atexit
import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

import lab
import terminal

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.abspath(os.path.join(HERE, "..", "..", "..", ".."))
STORE = os.path.join(lab.BUILD, "rootfs")
RELEASES = ("bookworm", "trixie")
TOOLS = ("mmdebstrap", "systemd-nspawn", "ip", "nsenter", "unshare", "mkfs.ext4", "fsfreeze",
         "dpkg-deb", "mount", "umount")
CGROUP = "/sys/fs/cgroup"
PREFIX = "handfast-booted-"

# What each machine has: systemd, tools of the tests, and what the package depends on and recommends
# (libcurl, which handfast auth loads), so that apt installs it without a network.
BASE = ("systemd systemd-sysv dbus udev iproute2 iputils-ping nftables procps kmod python3 tmux "
        "iperf3 libfaketime sudo libjansson4 libsodium23 libsqlite3-0 libsystemd0 libwslay1 "
        "libyaml-0-2 zlib1g").split()
LIBRARIES = {
    "bookworm": "libevent-2.1-7 libevent-core-2.1-7 libevent-openssl-2.1-7 libevent-pthreads-2.1-7 "
                "libmicrohttpd12 libssl3 libcurl4".split(),
    "trixie": "libevent-2.1-7t64 libevent-core-2.1-7t64 libevent-openssl-2.1-7t64 "
              "libevent-pthreads-2.1-7t64 libmicrohttpd12t64 libssl3t64 libcurl4t64".split(),
}
# A mirror may be slow or lose a connection. A tree that is not finished is thrown away, so dpkg need not wait for the
# disk while it is made; in the tree dpkg does.
MMDEBSTRAP = ("--aptopt=Acquire::Retries \"5\"", "--dpkgopt=force-unsafe-io",
              '--customize-hook=rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"')
CLEAN_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
             "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}

_CLONE_NEWNS = 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)
_private = False


class Unable(Exception):
    """This host cannot run booted machines; the text says why."""


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)


def _run(*argv, timeout=600, check=True, input=None, env=None):
    return lab._run(*argv, timeout=timeout, check=check, input=input, env=env)


def _private_mounts():
    """From here on, this process's mounts are its own, and /sys/fs/cgroup is pure cgroup2 (systemd 257
    refuses the older layouts)."""
    global _private
    if _private:
        return
    if _libc.unshare(_CLONE_NEWNS) != 0:
        raise Unable(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    _private = True
    r = _run("mount", "--make-rprivate", "/", check=False)
    if r.code == 0 and not os.path.exists(f"{CGROUP}/cgroup.procs"):
        r = _run("mount", "-t", "cgroup2", "cgroup2", CGROUP, check=False)
    if r.code != 0:
        raise Unable(f"cannot mount: {r.err.strip()}")


def unable():
    """Why booted machines do not work here, or ""."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [t for t in TOOLS if not shutil.which(t)]
    if missing:
        return f"missing: {' '.join(missing)}"
    try:
        tun = os.stat("/dev/net/tun")
        if not stat.S_ISCHR(tun.st_mode):
            return "no /dev/net/tun"
    except OSError:
        return "no /dev/net/tun"
    try:
        _private_mounts()
        probe = f"{CGROUP}/{PREFIX}{os.getpid()}-probe"
        os.mkdir(probe)
        os.rmdir(probe)
    except Unable as e:
        return str(e)
    except OSError as e:
        return f"no control groups: {e.strerror}"
    return ""


def need(name, releases=("bookworm",)):
    """Leave the test with a skip line unless it can boot machines of these releases."""
    why = unable()
    if not why:
        try:
            for release in releases:
                rootfs(release)
        except Unable as e:
            why = str(e)
    if why:
        lab.skip(name, why)
        sys.exit(0)


# ---- trees ---------------------------------------------------------------------------------------
class _Lock:
    """One process at a time makes a thing of this name."""

    def __init__(self, name):
        os.makedirs(STORE, exist_ok=True)
        os.chmod(STORE, 0o700)
        self.fd = os.open(os.path.join(STORE, f"{name}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def __enter__(self):
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        return self

    def read(self):
        """What write() left."""
        return os.pread(self.fd, 65536, 0).decode()

    def write(self, text):
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, text.encode(), 0)

    def __exit__(self, *exc):
        os.close(self.fd)


def _mirror():
    """The Debian mirror this machine uses."""
    r = _run("apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)",
             "Created-By: Packages", check=False)
    for line in r.out.splitlines():
        uri, _, who = line.partition(" ")
        if who == "Debian Debian":
            return uri
    for line in r.out.splitlines():
        if "/debian/" in line and "security" not in line:
            return line.split()[0]
    return "http://deb.debian.org/debian"


def _bootstrap(release, packages, variant):
    """The path of a tree with these packages."""
    packages = sorted(set(packages))
    key = hashlib.sha256(" ".join([release, variant, *packages]).encode()).hexdigest()[:12]
    name = f"{release}-{variant}-{key}"
    path = os.path.join(STORE, name)
    with _Lock(name):
        if os.path.isdir(path):
            return path
        part = f"{path}.part"
        for attempt in (1, 2):
            shutil.rmtree(part, ignore_errors=True)
            r = _run("mmdebstrap", "-q", f"--variant={variant}", f"--include={','.join(packages)}", *MMDEBSTRAP,
                     release, part, _mirror(), check=False, timeout=1200)
            if r.code == 0:
                break
        else:
            shutil.rmtree(part, ignore_errors=True)
            raise Unable(f"mmdebstrap {release}: {' '.join(r.err.split())[-300:]}")
        os.rename(part, path)
    return path


def rootfs(release, packages=()):
    """The tree that machines of this release are made from, with these packages beside the usual ones."""
    return _bootstrap(release, [*BASE, *LIBRARIES[release], *packages], "minbase")


def _image(tree, size):
    """An ext4 image of a tree, made once."""
    path = f"{tree}-{size}.ext4"
    with _Lock(os.path.basename(path)):
        if not os.path.exists(path):
            with open(f"{path}.part", "wb") as f:
                f.truncate(size << 20)
            _run("mkfs.ext4", "-q", "-F", "-d", tree, f"{path}.part")
            os.rename(f"{path}.part", path)
    return path


# ---- packages ------------------------------------------------------------------------------------
def _sources():
    """(paths, digest) of what the package is made from."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=SOURCE,
                            stdout=subprocess.PIPE, check=False).stdout.decode().split("\0")
    keep = ("common/", "daemons/", "conf/", "man/", "systemd/", "packaging/", "Makefile", "config.mk",
            "LICENSE", "README.md", "tests/")
    paths = sorted(p for p in listed if p.startswith(keep) and os.path.isfile(os.path.join(SOURCE, p)))
    h = hashlib.sha256()
    for p in paths:
        if p.startswith("tests/") and not p.endswith(".mk"):
            continue
        h.update(p.encode() + b"\0")
        with open(os.path.join(SOURCE, p), "rb") as f:
            h.update(hashlib.sha256(f.read()).digest())
    return paths, h.hexdigest()[:16]


def sources_digest():
    return _sources()[1]


def _build_dependencies():
    """The packages that building the .deb needs, as packaging/debian/control says."""
    with open(os.path.join(SOURCE, "packaging/debian/control")) as f:
        text = re.sub(r"(?m)^#.*\n", "", f.read())
    found = re.search(r"(?ms)^Build-Depends:(.*?)^(?=\S)", text).group(1)
    names = [re.split(r"[\s(\[<|:]", x.strip())[0] for x in found.replace("\n", " ").split(",")]
    return [n for n in names if n and n not in ("debhelper-compat", "qemu-user-static")] + \
        ["build-essential", "debhelper", "dpkg-dev", "git"]


def deb_for(release, version=None):
    """The path of the package of these sources, built in a tree of this release; kept until a source
    changes. With version, the same package under that version."""
    paths, digest = _sources()
    path = os.path.join(STORE, f"handfast-{release}-{digest}.deb")
    with _Lock(f"handfast-{release}"):
        if not os.path.exists(path):
            _forget_debs(release)
            _build_deb(release, paths, path)
        return path if version is None else _as_version(path, version)


def keep_deb(release, deb, digest):
    """Take a package that was made of the sources of this digest on a host of this release for deb_for()."""
    path = os.path.join(STORE, f"handfast-{release}-{digest}.deb")
    with _Lock(f"handfast-{release}"):
        if not os.path.exists(path) and sources_digest() == digest:
            _forget_debs(release)
            shutil.copy(deb, f"{path}.part")
            os.rename(f"{path}.part", path)


def _forget_debs(release):
    for old in os.listdir(STORE):
        if old.startswith(f"handfast-{release}-") and old.endswith(".deb"):
            os.unlink(os.path.join(STORE, old))


def builds_here(release):
    """Whether this host is of that release and has what building needs."""
    try:
        with open("/etc/os-release") as f:
            here = f"VERSION_CODENAME={release}\n" in f.read()
    except OSError:
        return False
    r = _run("dpkg-query", "-W", "-f", "${db:Status-Status}\n", *_build_dependencies(), check=False)
    return here and r.code == 0 and set(r.out.split()) == {"installed"}


def builder(release):
    """The path of a tree in which the package is built and looked at by lintian."""
    return _bootstrap(release, [*_build_dependencies(), "lintian"], "buildd")


def _build_deb(release, paths, path):
    here = builds_here(release)
    tree = None if here else builder(release)
    work = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-deb-")
    try:
        _private_mounts()
        source = os.path.join(work, "source")
        for p in paths:
            to = os.path.join(source, p)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy2(os.path.join(SOURCE, p), to)
        _run("git", "-C", source, "init", "-q")
        env = ["env", "-i", *(f"{k}={v}" for k, v in CLEAN_ENV.items())]
        if here:
            argv = [*env, "make", "-C", source, "deb"]
        else:
            root = _overlay(work, tree)
            os.mkdir(f"{root}/source")
            _run("mount", "--bind", source, f"{root}/source")
            _run("mount", "-t", "proc", "proc", f"{root}/proc")
            for d in ("null", "zero", "full", "random", "urandom", "tty"):
                _run("mount", "--bind", f"/dev/{d}", f"{root}/dev/{d}", check=False)
            argv = ["chroot", root, *env, "make", "-C", "/source", "deb"]
        r = _run(*argv, check=False, timeout=1500)
        debs = [x for x in _below(os.path.join(source, "build", "deb")) if x.endswith(".deb")
                and "dbgsym" not in x]
        if r.code != 0 or len(debs) != 1:
            raise RuntimeError(f"make deb in {release}: {r.code} {debs}: {(r.out + r.err)[-1500:]}")
        shutil.copy(debs[0], f"{path}.part")
        os.rename(f"{path}.part", path)
    finally:
        _unmount_below(work)
        shutil.rmtree(work, ignore_errors=True)


def _below(folder):
    return [os.path.join(d, f) for d, _, files in os.walk(folder) for f in files]


def _as_version(path, version):
    """A copy of a package that calls itself something newer."""
    made = f"{path[:-4]}_{version}.deb"
    if not os.path.exists(made):
        work = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-deb-")
        try:
            _run("dpkg-deb", "-R", path, f"{work}/x")
            control = f"{work}/x/DEBIAN/control"
            with open(control) as f:
                text = f.read()
            with open(control, "w") as f:
                f.write(re.sub(r"(?m)^Version: .*", f"Version: {version}", text))
            _run("dpkg-deb", "--root-owner-group", "-b", f"{work}/x", f"{made}.part")
            os.rename(f"{made}.part", made)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return made


# ---- mounts --------------------------------------------------------------------------------------
def _overlay(folder, tree):
    """A changeable view of a tree at FOLDER/root."""
    root, upper, work = (os.path.join(folder, d) for d in ("root", "upper", "work"))
    for d in (root, upper, work):
        os.makedirs(d, exist_ok=True)
    os.chmod(upper, 0o755)
    if os.path.isdir(f"{root}/etc"):
        return root
    r = _run("mount", "-t", "overlay", "overlay", "-o",
             f"lowerdir={tree},upperdir={upper},workdir={work}", root, check=False)
    if r.code != 0:
        _run("cp", "-a", "--reflink=auto", f"{tree}/.", root)
    return root


def _unmount_below(folder):
    if not _private:
        return
    with open("/proc/self/mounts") as f:
        mounts = [line.split()[1].replace("\\040", " ") for line in f]
    for m in reversed(mounts):
        if m == folder or m.startswith(folder + "/"):
            if _run("umount", m, check=False).code != 0:
                _run("umount", "-l", m, check=False)


# ---- networks ------------------------------------------------------------------------------------
class Net:
    """A network namespace that lives as long as a sleeping child."""

    def __init__(self):
        self.proc = subprocess.Popen(["unshare", "-n", "--", "sleep", "infinity"], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        self.pid = self.proc.pid
        own = os.readlink("/proc/self/ns/net")
        if not lab.wait_for(lambda: os.readlink(f"/proc/{self.pid}/ns/net") != own, 10, 0.005):
            raise Unable("no network namespace")
        self.path = f"/proc/{self.pid}/ns/net"
        self.members = []   # of a switch, in the order of its ports
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *argv, **kw):
        """A command of this host (not of the machine) in that network."""
        return _run("nsenter", f"--net={self.path}", "--", *argv, **kw)

    def close(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()


# ---- machines ------------------------------------------------------------------------------------
class Machine:
    """One machine. site.machine() makes it; nothing runs before up()."""

    def __init__(self, site, name, release, disk="folder", packages=(), tun=True, image_size=1200,
                 volumes=None, hostname=None):
        self.site, self.name, self.release, self.disk = site, name, release, disk
        self.hostname = hostname or name
        self.dir = os.path.join(site.dir, name)
        os.makedirs(self.dir)
        self.net = Net()
        self.tree = rootfs(release, packages)
        self.tun = tun
        self.image_size = image_size
        self.volumes = dict(volumes or {})  # path inside: MiB; a small ext4 of its own mounted there
        self.cgroup = f"{CGROUP}/{PREFIX}{os.getpid()}-{name}"
        self.proc = self.leader = None
        self.ports = {}     # interface: (switch's Net, its port)
        self.boot_seconds = None
        self._children = []

    # -- disk
    @property
    def root(self):
        return os.path.join(self.dir, "root")

    @property
    def _device(self):
        """The image file, on a file system of its own so that a power cut can freeze it."""
        return os.path.join(self.dir, "drive", "disk.img")

    def _insert_disk(self):
        if os.path.ismount(self.root) or os.path.isdir(f"{self.root}/etc"):
            return
        if self.disk == "folder":
            _overlay(self.dir, self.tree)
        else:
            drive = os.path.join(self.dir, "drive")
            if not os.path.ismount(drive):
                os.makedirs(drive)
                outer = os.path.join(self.dir, "drive.ext4")
                with open(outer, "wb") as f:
                    f.truncate((self.image_size + 200) << 20)
                _run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-m", "0", outer)
                _run("mount", "-o", "loop", outer, drive)
                _run("cp", "--sparse=always", _image(self.tree, self.image_size), self._device)
            os.makedirs(self.root, exist_ok=True)
            _run("mount", "-o", "loop", self._device, self.root)
        if not os.path.exists(f"{self.root}/etc/handfast-test-machine"):
            self._personalise()
        for inside, size in self.volumes.items():
            at = os.path.join(self.dir, "volume" + inside.replace("/", "-"))
            if not os.path.ismount(at):
                os.makedirs(at, exist_ok=True)
                if not os.path.exists(f"{at}.ext4"):
                    with open(f"{at}.ext4", "wb") as f:
                        f.truncate(size << 20)
                    _run("mkfs.ext4", "-q", "-F", "-m", "0", f"{at}.ext4")
                _run("mount", "-o", "loop", f"{at}.ext4", at)

    def _personalise(self):
        def put(path, text):
            with open(self.root + path, "w") as f:
                f.write(text)
        os.makedirs(f"{self.root}/var/log/journal", exist_ok=True)
        put("/etc/hostname", self.hostname + "\n")
        put("/etc/hosts", f"127.0.0.1 localhost {self.hostname}\n::1 localhost\n")
        with open("/proc/sys/kernel/random/uuid") as f:
            put("/etc/machine-id", f.read().replace("-", ""))
        put("/etc/handfast-test-machine", "made by tests/system/booted\n")

    def set_read_only(self, inside, read_only):
        """A volume's file system, for everybody. Fails while somebody has a file open to write there."""
        _run("mount", "-o", "remount,ro" if read_only else "remount,rw",
             os.path.join(self.dir, "volume" + inside.replace("/", "-")))

    def _remove_disk(self):
        _unmount_below(self.root)
        for inside in self.volumes:
            _unmount_below(os.path.join(self.dir, "volume" + inside.replace("/", "-")))

    # -- power
    def start(self):
        """Switch on; wait_up() waits for the end of the boot."""
        self._insert_disk()
        self._drop_cgroup()
        os.mkdir(self.cgroup)
        argv = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot",
                f"--machine=hf-{os.getpid()}-{self.name}"[:64], f"--hostname={self.hostname}",
                f"--directory={self.root}", f"--network-namespace-path={self.net.path}",
                "--capability=CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf @memlock",
                "--console=pipe", "--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        if self.tun:
            argv.append("--bind=/dev/net/tun")
        for inside in self.volumes:
            argv.append(f"--bind={os.path.join(self.dir, 'volume' + inside.replace('/', '-'))}:{inside}")
        procs = os.open(f"{self.cgroup}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

        def enter():
            os.setsid()
            _die_with_parent()
            os.write(procs, b"0")
        self.leader = None
        self._started = time.monotonic()
        with open(os.path.join(self.dir, "console.log"), "ab") as console:
            self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                                         preexec_fn=enter)
        os.close(procs)

    def _find_leader(self):
        """The machine's PID 1, as this host numbers it."""
        try:
            with open(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children") as f:
                children = f.read().split()
            for pid in children:
                with open(f"/proc/{pid}/status") as f:
                    status = f.read()
                with open(f"/proc/{pid}/cgroup") as f:
                    in_scope = "init.scope" in f.read()
                if re.search(r"^NSpid:\s+\d+\s+1$", status, re.M) and in_scope:
                    return int(pid)
        except OSError:
            pass
        return None

    def wait_up(self, timeout=90):
        """Wait until all of the boot's jobs are done; "running" or "degraded"."""
        end = self._started + timeout
        while time.monotonic() < end:
            if self.proc.poll() is not None:
                raise RuntimeError(f"{self.name} did not boot: {self.console()[-1500:]}")
            if self.leader is None:
                self.leader = self._find_leader()
            if self.leader is not None:
                # The state is asked in turns: one long wait can lose its answer early in the boot.
                state = self.exec("systemctl", "is-system-running", timeout=10).out.strip()
                if state in ("running", "degraded"):
                    self.boot_seconds = time.monotonic() - self._started
                    return state
            time.sleep(0.1)
        raise RuntimeError(f"{self.name}: no end of the boot after {timeout} s: {self.console()[-1500:]}")

    def up(self, timeout=90):
        self.start()
        return self.wait_up(timeout)

    def is_on(self):
        return self.proc is not None and self.proc.poll() is None

    def stop(self, timeout=60):
        """Shut down in order. The disk stays; up() starts again. False: it had to be killed."""
        if not self.is_on():
            return True
        try:
            os.kill(self.leader or self._find_leader() or 0, signal.SIGRTMIN + 4)
        except OSError:
            pass
        return self._wait_off(timeout)

    def _wait_off(self, timeout):
        try:
            self.proc.wait(timeout)
            clean = True
        except subprocess.TimeoutExpired:
            clean = False
        self.kill()
        return clean

    def kill(self):
        """All its processes die at once; what they had written reaches the disk later."""
        if self.proc is None:
            return
        self._kill_processes()
        self.proc.wait()
        self.leader = None
        for p in self._children:
            if p.poll() is None:
                p.kill()
            p.wait()
        self._children = []
        _kill_cgroup(self.cgroup)
        self._drop_cgroup()

    def _kill_processes(self):
        try:
            with open(f"{self.cgroup}/cgroup.kill", "w") as f:
                f.write("1")
        except OSError:
            pass
        if self.proc.poll() is None:
            self.proc.kill()

    def reboot(self, timeout=90):
        """systemctl reboot inside, and up again."""
        self.exec("systemctl", "reboot", "--no-block")
        self._wait_off(60)
        return self.up(timeout)

    def power_cut(self):
        """The disk keeps what it has at this instant, everything else is gone: for disk="image".
        Needs up() again."""
        if self.disk != "image":
            raise RuntimeError("only a machine with disk=\"image\" can lose power")
        drive, kept = os.path.join(self.dir, "drive"), os.path.join(self.dir, "kept.img")
        # From the freeze on no write reaches the image, and none that waits comes back to its caller:
        # a process is killed before it could see an answer.
        _run("fsfreeze", "--freeze", drive)
        try:
            self._kill_processes()
            _run("cp", "--sparse=always", self._device, kept)
        finally:
            _run("fsfreeze", "--unfreeze", drive)
        self.kill()
        self._remove_disk()
        _run("cp", "--sparse=always", kept, self._device)
        os.unlink(kept)

    def down(self):
        """Off, and the disk thrown away."""
        self.kill()
        _unmount_below(self.dir)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.net.close()
        self.site.machines.pop(self.name, None)

    def _drop_cgroup(self):
        _drop_cgroup(self.cgroup)

    # -- inside
    def _enter(self, user=None, env=None):
        if self.leader is None:
            raise RuntimeError(f"{self.name} is off")
        argv = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--", "env", "-i",
                *(f"{k}={v}" for k, v in dict(CLEAN_ENV, **(env or {})).items())]
        if user:
            argv += ["runuser", "-u", user, "--", "env", f"HOME=/home/{user}", f"USER={user}"]
        return argv

    def exec(self, *argv, timeout=60, input=None, check=False, user=None, env=None):
        """Run a command inside: a lab.Result. 124: it took longer than timeout."""
        return _run(*self._enter(user, env), "timeout", "-k", "2", str(timeout), *argv,
                    timeout=timeout + 10, input=input, check=check)

    def sh(self, script, **kw):
        """exec of a shell script."""
        return self.exec("sh", "-c", script, **kw)

    def popen(self, *argv, user=None, env=None, **kw):
        """A command inside, in the background: a Popen with text pipes. It ends with the machine at the
        latest; kill() of it stops only the way in, so end it by its input or from inside."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.STDOUT)
        p = subprocess.Popen([*self._enter(user, env), *argv], text=True, errors="replace",
                             preexec_fn=_die_with_parent, **kw)
        self._children.append(p)
        return p

    def terminal(self, *argv, user=None, columns=80):
        """A program inside on a terminal of its own: a terminal.OnTerminal (read_until, type, end)."""
        way, inside = self._enter(user, {"TERM": "xterm"}), ["env", "--default-signal=INT", *argv]
        # What ^C ends is the program alone, and the way in brings its status.
        t = terminal.OnTerminal(["env", "--ignore-signal=INT", *way, *inside], dict(os.environ), columns)
        self._children.append(t.proc)
        return t

    def unit(self, *argv, timeout=60, properties=()):
        """exec as a transient unit, with a cgroup and a journal of its own."""
        return self.exec("systemd-run", "-q", "--pipe", "--wait", "--collect",
                         *(f"--property={p}" for p in properties), "--", *argv, timeout=timeout)

    def push(self, path, to, mode="644"):
        """Copy a file of this host into the machine."""
        with open(path, "rb") as f:
            data = f.read()
        self._put(to, data, mode)

    def write(self, path, data, mode="644"):
        """Text or bytes."""
        self._put(path, data.encode() if isinstance(data, str) else data, mode)

    def _put(self, path, data, mode):
        p = subprocess.run([*self._enter(), "sh", "-c", 'mkdir -p "${1%/*}" && cat >"$1" && chmod "$2" "$1"',
                            "sh", path, mode], input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=60, check=False)
        if p.returncode != 0:
            raise RuntimeError(f"{self.name}:{path}: {p.stdout.decode(errors='replace')}")

    def read(self, path):
        """A file's bytes."""
        p = subprocess.run([*self._enter(), "cat", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=60, check=False)
        if p.returncode != 0:
            raise RuntimeError(f"{self.name}: {p.stderr.decode(errors='replace').strip()}")
        return p.stdout

    def handfast(self, *argv, timeout=60, **kw):
        return self.exec("handfast", *argv, timeout=timeout, **kw)

    def systemctl(self, *argv, timeout=60, check=False):
        return self.exec("systemctl", *argv, timeout=timeout, check=check)

    def show(self, unit, *properties):
        """{property: value} of a unit."""
        out = self.exec("systemctl", "show", "-p", ",".join(properties), unit).out
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def pid_of(self, unit):
        """The unit's main process, as the machine numbers it; 0: none."""
        return int(self.show(unit, "MainPID").get("MainPID") or 0)

    def journal(self, *argv):
        return self.exec("journalctl", "--no-pager", "-o", "short-monotonic", *argv).out

    def console(self):
        with open(os.path.join(self.dir, "console.log"), errors="replace") as f:
            return f.read()

    def install(self, deb, timeout=120):
        """apt install, without a network. The lab.Result."""
        self.push(deb, "/root/handfast.deb")
        return self.exec("apt-get", "install", "-y", "--no-install-recommends", "/root/handfast.deb",
                         timeout=timeout)

    def address(self, nic, cidr, replace=True):
        """Give an interface an address, in place of those it has."""
        if replace:
            self.net.run("ip", "addr", "flush", "dev", nic, "scope", "global")
        self.net.run("ip", "addr", "add", cidr, "dev", nic, *(["nodad"] if ":" in cidr else []))


# Waits until its input closes: the test is over, one way or another. It shares our mounts.
GUARD = r"""
trap "" HUP INT TERM
read -r _
for i in 1 2 3 4 5 6 7 8 9 10; do
	ls -d "$1"* >/dev/null || break
	for g in "$1"*; do echo 1 >"$g/cgroup.kill"; done
	find "$1"* -depth -type d -exec rmdir {} +
	sleep 0.3
done
[ -d "$2" ] || exit 0
awk -v d="$2/" 'index($2, d) == 1 { print $2 }' /proc/self/mounts | sort -r | xargs -r umount -l
rm -rf --one-file-system "$2"
"""


class Site:
    """All machines and networks of one test."""

    def __init__(self):
        why = unable()
        if why:
            raise Unable(why)
        sweep()
        self.dir = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
        os.chmod(self.dir, 0o755)
        self.machines, self.nets = {}, []
        self.closed = False
        self._guard = subprocess.Popen(["sh", "-c", GUARD, "sh", f"{CGROUP}/{PREFIX}{os.getpid()}-", self.dir],
                                       stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
        atexit.register(self.close)
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, lambda signo, frame: sys.exit(128 + signo))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def machine(self, name, release, **kw):
        """A new machine, off: Machine's arguments. NAME is unique in the site."""
        m = self.machines[name] = Machine(self, name, release, **kw)
        return m

    def up(self, *machines, timeout=120):
        """Boot machines at the same time."""
        for m in machines:
            m.start()
        return [m.wait_up(timeout) for m in machines]

    def lan(self, members, nic="lan0"):
        """A switch. members: [(machine, address or list of addresses, or None for none), …]; each gets an
        interface called nic. The addresses stay over reboots; interfaces without are left down."""
        hub = Net()
        self.nets.append(hub)
        hub.run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0", "stp_state", "0",
                "mcast_snooping", "0")
        hub.run("ip", "link", "set", "br0", "up")
        for m, addresses in members:
            self.join(hub, m, addresses, nic)
        return hub

    def join(self, hub, m, addresses, nic="lan0"):
        """One more machine on a switch that lan() made."""
        port = f"port{len(hub.members)}"
        hub.members.append(m)
        _run("ip", "link", "add", port, "netns", str(hub.pid), "type", "veth", "peer", "name", nic,
             "netns", str(m.net.pid))
        hub.run("ip", "link", "set", port, "master", "br0", "up")
        m.ports[nic] = (hub, port)
        for a in [addresses] if isinstance(addresses, str) else addresses or []:
            m.address(nic, a, replace=False)
        if addresses:
            m.net.run("ip", "link", "set", nic, "up")

    def cable(self, a, address_a, b, address_b, nic="lan0"):
        """Two machines alone on a wire; addresses as for lan()."""
        return self.lan([(a, address_a), (b, address_b)], nic)

    def unplug(self, m, nic="lan0"):
        """Pull the plug: the interface loses its carrier."""
        hub, port = m.ports[nic]
        hub.run("ip", "link", "set", port, "down")

    def plug(self, m, nic="lan0"):
        hub, port = m.ports[nic]
        hub.run("ip", "link", "set", port, "up")

    def close(self):
        if self.closed:
            return
        self.closed = True
        for m in list(self.machines.values()):
            if m.proc is not None:
                m._kill_processes()
        for m in list(self.machines.values()):
            m.down()
        for n in self.nets:
            n.close()
        _unmount_below(self.dir)
        shutil.rmtree(self.dir, ignore_errors=True)
        self._guard.stdin.close()
        self._guard.wait()


def _drop_cgroup(path):
    for d, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(d)
        except OSError as e:
            if e.errno != errno.ENOENT:
                break


def _kill_cgroup(path):
    """Another may be at it, too."""
    def is_empty():
        try:
            with open(f"{path}/cgroup.events") as f:
                return "populated 0" in f.read()
        except OSError:
            return True
    try:
        with open(f"{path}/cgroup.kill", "w") as f:
            f.write("1")
    except OSError:
        pass
    return lab.wait_for(is_empty, 10)


def sweep():
    """Remove what tests left that were killed with -9: folders and empty control groups."""
    for folder in (tempfile.gettempdir(), CGROUP):
        for n in os.listdir(folder):
            pid = n[len(PREFIX):].split("-")[0]
            if not n.startswith(PREFIX) or not pid.isdigit() or os.path.exists(f"/proc/{pid}"):
                continue
            path = os.path.join(folder, n)
            if folder == CGROUP:
                _kill_cgroup(path)
                _drop_cgroup(path)
            else:
                shutil.rmtree(path, ignore_errors=True)
