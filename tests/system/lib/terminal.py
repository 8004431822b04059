"""A program on a terminal of its own: what it shows, what is typed, whether it echoes."""
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time


class OnTerminal:
    def __init__(self, argv, env, columns=80, **kw):
        self.text = ""
        self.fd, self.other = pty.openpty()
        fcntl.ioctl(self.other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

        def take_terminal():
            os.setsid()
            fcntl.ioctl(self.other, termios.TIOCSCTTY, 0)

        # The other end stays open, so that its settings can be read after the program's end.
        self.proc = subprocess.Popen(argv, stdin=self.other, stdout=self.other, stderr=self.other,
                                     env=env, preexec_fn=take_terminal, **kw)

    def pump(self, timeout):
        if select.select([self.fd], [], [], timeout)[0]:
            self.text += os.read(self.fd, 65536).decode(errors="replace")
            return True
        return False

    def read_until(self, text, timeout=10):
        end = time.monotonic() + timeout
        while text not in self.text:
            if time.monotonic() > end:
                raise RuntimeError(f"no {text!r} on the terminal, only {self.text[-300:]!r}")
            self.pump(0.05)
        return self.text

    def type(self, text):
        os.write(self.fd, text.encode())

    def has_echo(self):
        return bool(termios.tcgetattr(self.other)[3] & termios.ECHO)

    def end(self, timeout=10):
        """The exit code; the screen is in text. has_echo stays what it was at the end."""
        end = time.monotonic() + timeout
        while self.proc.poll() is None:
            if time.monotonic() > end:
                self.proc.kill()
                self.proc.wait()
                raise RuntimeError(f"no end; the terminal says {self.text[-300:]!r}")
            self.pump(0.02)
        while self.pump(0.05):
            pass
        echo = self.has_echo()
        self.has_echo = lambda: echo
        os.close(self.fd)
        os.close(self.other)
        return self.proc.returncode
