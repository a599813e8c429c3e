#!/usr/bin/env python3
"""top_screen.py SLUICE: `sluice top` on a terminal: what it shows, keys, a new size, the end."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

sluice = sys.argv[1]


class Screen:
    def __init__(self, *args, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            # Before it starts the terminal has its size.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execv(sluice, [sluice, "top", *args])
        self.seen = ""

    def read(self, until, seconds=60):
        """What is written up to `until`."""
        end = time.monotonic() + seconds
        text = ""
        while until not in text:
            left = end - time.monotonic()
            assert left > 0, f"no {until!r} in {text!r}"
            if not select.select([self.fd], [], [], left)[0]:
                continue
            try:
                text += os.read(self.fd, 65536).decode()
            except OSError:
                raise AssertionError(f"it has ended before {until!r}: {text!r}") from None
        return text

    def size(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, keys):
        os.write(self.fd, keys.encode())

    def end(self):
        text = ""
        try:
            while data := os.read(self.fd, 65536):
                text += data.decode()
        except OSError:
            pass
        return text, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def restored(text):
    """The other screen is left, and the cursor is there again."""
    return "\x1b[?1049l" in text and "\x1b[?25h" in text or "\x1b[?12l" in text


# 24 rows of 80 columns hold all of it here.
screen = Screen("-d", "0.2")
text = screen.read("EVENTS LOST BY")
for part in ("sluice top", "PORT", "VERDICTS", "WORKER", "CYCLES/PKT", "CYCLES/RUN", "count_events",
             "net_ring0 xdp", "xdp_drop"):
    assert part in text, f"no {part}"
assert max(int(row) for row in re.findall(r"\x1b\[(\d+);\d+H", text)) <= 24, "below the screen"
# Only what changes is written, but for Ctrl-L.
screen.send("s\x0c")
screen.read("by cycles")
screen.send("r\x0c")
screen.read("by cycles (turned)")
screen.send("+\x0c")
screen.read("every 0.4 s")
screen.size(10, 40)
os.kill(screen.pid, signal.SIGWINCH)
text = screen.read("sluice top")
screen.send("\x1bOB\x1bOB\x1b[6~\x0c")
text = screen.read("EVENTS LOST")
assert max(int(row) for row in re.findall(r"\x1b\[(\d+);\d+H", text)) <= 10, "below the small one"
screen.send("q")
text, status = screen.end()
assert status == 0, f"status {status}"
assert restored(text), f"not restored: {text!r}"

# Ends by itself, and by a signal; the terminal is left as it was.
screen = Screen("-d", "0.1", "-n", "1")
text, status = screen.end()
assert status == 0 and restored(text), "-n"
screen = Screen("-d", "5")
screen.read("PORT")
os.kill(screen.pid, signal.SIGTERM)
text, status = screen.end()
assert status != 0 and restored(text), f"a signal: {status} {text!r}"

# As small as it gets.
screen = Screen("-d", "0.1", "-n", "2", rows=2, columns=5)
text, status = screen.end()
assert status == 0, "a tiny screen"
