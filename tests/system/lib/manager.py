"""The part of the service manager that daemons rely on: it passes listening sockets ($LISTEN_FDS),
keeps descriptors for them (FDSTORE=1) and gives them back at the next start.

    m = manager.Manager(host, "relayd", [("relayd.listen", sock)], config="...")
    m.start(); m.restart(); m.stop(); m.start()
    m.store                            # {name: [fd, ...]} as the daemon wants it kept
"""
import array
import ctypes
import os
import socket
import subprocess
import sys
import threading
import time

import lab

# The descriptors come under their own numbers; the program wants them from 3 on.
LAUNCH = """import fcntl, os, sys
fds = [fcntl.fcntl(int(x), fcntl.F_DUPFD, 200) for x in sys.argv[1].split(",") if x]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.closerange(3 + len(fds), 1024)
if fds:
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=sys.argv[2])
os.execvp(sys.argv[3], sys.argv[3:])
"""


def same_file(a, b):
    """Whether two descriptors are of one open file, as kcmp(2) says."""
    number = {"x86_64": 312, "aarch64": 272}[os.uname().machine]
    return ctypes.CDLL(None).syscall(number, os.getpid(), os.getpid(), 0, a, b) == 0


class Manager:
    def __init__(self, host, name, sockets=(), args=(), config=""):
        self.host, self.name, self.sockets = host, name, list(sockets)
        self.store, self.told, self.proc = {}, [], None
        self.stored = 0  # how often it was asked to
        self.slow = 0.0  # seconds before it does what it is told
        self.log_path = os.path.join(host.dir, f"{name}.log")
        self.argv = [f"{lab.BUILD}/bin/{name}", "--runtime-dir", host.runtime,
                     "--config", host.config(name, config)]
        if name != "relayd":  # which keeps nothing
            self.argv += ["--state-dir", host.state(name)]
        self.argv += list(args)
        self.path = os.path.join(host.dir, f"{name}.manager")
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(self.path)
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()
        host.daemons[f"{name}.managed"] = self

    def _listen(self):
        while True:
            try:
                data, ancillary, _, _ = self._notify.recvmsg(4096, socket.CMSG_SPACE(4 * 16))
            except OSError:
                return
            time.sleep(self.slow)
            fds = array.array("i")
            for level, kind, what in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(what[:len(what) - len(what) % 4])
            with self._changed:
                self._on_message(data.decode(errors="replace").split("\n"), list(fds))
                self._changed.notify_all()

    def _on_message(self, lines, fds):
        self.told += lines
        name = next((x[7:] for x in lines if x.startswith("FDNAME=")), "stored")
        if "FDSTORE=1" in lines:
            # One open file is kept once, whatever its name.
            had = [fd for kept in self.store.values() for fd in kept]
            new = [fd for fd in fds if not any(same_file(fd, x) for x in had)]
            self.stored += len(fds)
            if new:
                self.store.setdefault(name, []).extend(new)
            fds = [fd for fd in fds if fd not in new]
        elif "FDSTOREREMOVE=1" in lines:
            fds += self.store.pop(name, [])
        for fd in fds:
            os.close(fd)

    def has_told(self, line):
        with self._changed:
            return line in self.told

    def wait_told(self, line, timeout=10.0):
        with self._changed:
            return self._changed.wait_for(lambda: line in self.told, timeout)

    def start(self, timeout=10.0, ready=True):
        with self._changed:
            self.told.clear()
            passed = [(n, s.fileno()) for n, s in self.sockets]
            passed += [(n, fd) for n, fds in self.store.items() for fd in fds]
        env = dict(self.host.env(), NOTIFY_SOCKET=self.path)
        env.pop("JOURNAL_STREAM", None)
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(
                [*self.host.prefix(), sys.executable, "-I", "-S", "-c", LAUNCH,
                 ",".join(str(fd) for _, fd in passed), ":".join(n for n, _ in passed), *self.argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                pass_fds=[fd for _, fd in passed], preexec_fn=lab._die_with_parent)
        self.pid = self.proc.pid
        end = time.monotonic() + timeout
        while ready and not self.wait_told("READY=1", 0.05):
            if self.proc.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name}: {self.proc.poll()}: {self.log()[-800:]}")
        return self

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def end(self, timeout=5.0):
        """As in the middle of a restart: what is stored stays. The exit code."""
        if self.alive():
            self.proc.terminate()
        try:
            return self.proc.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def stop(self, timeout=5.0):
        """As systemctl stop: nothing is kept any more. The exit code."""
        code = self.end(timeout)
        time.sleep(0.05)
        with self._changed:
            for fds in self.store.values():
                for fd in fds:
                    os.close(fd)
            self.store.clear()
        return code

    def kill(self):
        if self.alive():
            self.proc.kill()
        if self.proc:
            self.proc.wait()

    def restart(self, hard=False):
        if hard:
            self.kill()
        else:
            self.end()
        return self.start()
