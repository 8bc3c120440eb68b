"""A command on a real pseudo-terminal of 80 columns."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time


def in_terminal(command, press=None, columns=80, seconds=300):
    """Run `command`; returns (everything it wrote, exit code). See the fixture `terminal`."""
    child, master = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
        os.execvpe(command[0], command, {**environment, "TERM": "xterm-256color"})
    out, end = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            if not select.select([master], [], [], 1.0)[0]:
                continue
            try:
                part = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            out += part
            if press and re.search(press[0], out.decode(errors="replace")):
                os.write(master, press[1])
                press = None
        else:
            os.kill(child, 9)
    finally:
        os.close(master)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return out.decode(errors="replace"), code
