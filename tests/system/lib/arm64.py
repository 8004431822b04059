"""arm64 programs on this machine: the roots they are built and installed in, and an emulator that the kernel
knows within the mount namespace of one command only.

    import arm64
    arm64.need("71-example")                     # says skip and leaves where this cannot work
    deb = arm64.make_deb()                       # a lab.Result: its last line is the path; also makes arm64.CROSS
    r = arm64.run(arm64.CROSS, "sh", "-c", "…")  # in a root
"""
import os
import re
import shutil
import subprocess
import sys

import lab

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(TREE, "tests", "system", "booted", "lib"))
import machine  # noqa: E402

BINFMT = "/usr/lib/binfmt.d/qemu-aarch64.conf"
with open("/etc/os-release") as f:
    RELEASE = re.search(r"(?m)^VERSION_CODENAME=(\w+)", f.read() + "\nVERSION_CODENAME=none").group(1)
# Where packaging/build-deb builds: this machine's programs, arm64's libraries.
CROSS = os.path.join(lab.BUILD, f"cross-{RELEASE}-arm64")
# What the package depends on, without an init.
PACKAGES = "systemd-standalone-sysusers systemd-standalone-tmpfiles libsystemd0 libjansson4 libsodium23 " \
    "libsqlite3-0 libwslay1 libyaml-0-2"

EMULATED = """
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || exit 99
known=/proc/sys/fs/binfmt_misc/qemu-aarch64 # perhaps by another's hand meanwhile
[ -e $known ] || cat "$1" 2>/dev/null >/proc/sys/fs/binfmt_misc/register || [ -e $known ] || exit 99
shift
"""
ENTER = """
for d in null zero full random urandom tty; do
	touch "$1/dev/$d"; mount --bind "/dev/$d" "$1/dev/$d" || exit 99
done
mkdir -p "$1/dev/shm"; mount -t tmpfs tmpfs "$1/dev/shm" || exit 99
mount -t proc proc "$1/proc" || exit 99
exec chroot "$@"
"""


def need(name):
    lab.need_root(name)
    for tool in ("dpkg-buildpackage", "lintian", "git", "mmdebstrap", "qemu-aarch64-static"):
        if not shutil.which(tool):
            lab.skip(name, f"no {tool} (make deps-test)")
            sys.exit(0)
    if not os.path.exists(BINFMT):
        lab.skip(name, f"no {BINFMT}")
        sys.exit(0)
    if RELEASE not in machine.RELEASES or lab._run("dpkg", "--print-architecture").out.strip() != "amd64":
        lab.skip(name, "wants Debian 12 or 13 on amd64")
        sys.exit(0)
    r = _emulated("exec true")
    if r.code != 0:
        lab.skip(name, f"the kernel takes no emulator: {r.err.strip()}")
        sys.exit(0)


def _emulated(script, *argv, timeout=300):
    return lab._run("unshare", "-m", "-p", "-f", "--kill-child", "--propagation", "private", "bash", "-c",
                    EMULATED + script, "_", BINFMT, *argv, timeout=timeout, check=False, env=machine.CLEAN_ENV)


def run(root, *argv, timeout=300):
    """Run a command in a root, with arm64 programs."""
    return _emulated(ENTER, root, *argv, timeout=timeout)


def make_deb():
    """make deb for arm64, once for the same sources."""
    with machine._Lock("arm64-deb") as lock:
        sources = machine.sources_digest()
        made = lock.read().split("\n")
        if made[0] == sources and os.path.isfile(made[1]) and os.path.isdir(CROSS):
            return lab.Result(0, made[1], "")
        r = lab._run("make", "-C", TREE, "--no-print-directory", f"BUILD={lab.BUILD}", "ARCH=arm64", "deb",
                     timeout=1500, check=False, env=dict(os.environ, MAKEFLAGS=""))
        lock.write(f"{sources}\n{r.out.strip().splitlines()[-1]}" if r.code == 0 else "")
        return r


def make_unit_tests():
    """Build the unit tests at /unit/build in CROSS; a lab.Result. What was built is gone on from, and what did
    not change keeps its time."""
    with machine._Lock("arm64-unit"):
        if not os.path.isdir(CROSS):
            made = make_deb()
            if not os.path.isdir(CROSS):
                return made
        source = f"{CROSS}/unit/source"
        listed = subprocess.run(["git", "-c", f"safe.directory={TREE}", "ls-files", "-coz", "--exclude-standard"],
                                cwd=TREE, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
        lab._run("rm", "-rf", source)
        for p in filter(None, listed):
            if os.path.lexists(os.path.join(TREE, p)):
                os.makedirs(os.path.dirname(os.path.join(source, p)), exist_ok=True)
                shutil.copy2(os.path.join(TREE, p), os.path.join(source, p), follow_symlinks=False)
        return run(CROSS, "make", "-C", "/unit/source", "-s", f"-j{os.cpu_count()}", "BUILD=/unit/build",
                   "CC=aarch64-linux-gnu-gcc", "PKG_CONFIG=aarch64-linux-gnu-pkg-config", "CFLAGS=-O1", "unit-tests",
                   timeout=1500)


def tree():
    """The path of an arm64 root that has what the package depends on, made once; raises machine.Unable."""
    packages = ",".join(sorted(PACKAGES.split() + machine.LIBRARIES[RELEASE]))
    path = os.path.join(lab.BUILD, "rootfs", f"{RELEASE}-arm64")
    stamp = f"{path}.packages"
    with machine._Lock("arm64"):
        if os.path.exists(stamp):
            with open(stamp) as f:
                if f.read() == packages and os.path.isdir(path):
                    return path
            os.unlink(stamp)
        for attempt in (1, 2):
            for p in (path, f"{path}.part"):
                lab._run("rm", "-rf", "--one-file-system", p)
            r = _emulated('exec mmdebstrap -q --variant=essential --architectures=arm64 "$@"', f"--include={packages}",
                          *machine.MMDEBSTRAP, RELEASE, f"{path}.part", machine._mirror(), timeout=1500)
            if r.code == 0:
                break
        else:
            raise machine.Unable(f"mmdebstrap for arm64: {' '.join(r.err.split())[-300:]}")
        os.rename(f"{path}.part", path)
        with open(stamp, "w") as f:
            f.write(packages)
    return path
