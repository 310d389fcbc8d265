"""A program that runs another on a terminal of its own, passes everything on, and keeps a copy of what that wrote.

`python recorded_terminal.py FILE COLUMNS ROWS PROGRAM ARGUMENT…`, itself on a terminal. So a test knows what a program
has written from the program's side. Signals to end go to the program, and it ends when the program has.
"""

import os
import pty
import signal
import struct
import sys
import tty
from fcntl import ioctl
from select import select
from termios import TCSADRAIN, TIOCSWINSZ

_AT_ONCE = 4096


def main(file: str, columns: int, rows: int, *argv: str) -> int:
    """Run it to its end; its exit status."""
    program, terminal = pty.fork()
    if program == 0:
        ioctl(0, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.execvpe(argv[0], argv, {**os.environ, "TERM": "xterm-256color"})
    # Not its default, which throws away what was typed before.
    tty.setraw(0, TCSADRAIN)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.killpg(program, number))
    copy = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    while True:
        ready, _, _ = select([0, terminal], [], [])
        if 0 in ready:
            _write(terminal, os.read(0, _AT_ONCE))
        if terminal in ready:
            try:
                data = os.read(terminal, _AT_ONCE)
            except OSError:
                # What a terminal says when nobody has it open any more.
                break
            _write(copy, data)
            _write(1, data)
    _, status = os.waitpid(program, 0)
    return os.waitstatus_to_exitcode(status) & 0x7F


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
