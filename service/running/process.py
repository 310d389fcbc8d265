"""A program that runs: its descriptors, its signals, its end."""

import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Final

from lastseen.threads import in_thread

from service.running.output_stream import OutputStream
from service.running.program import Program, Size
from service.running.readiness import until_readable
from service.running.session import descendants_of, goes_on, groups_of, has_members
from service.tied import tie_to_parent

DEFAULT_TERM: Final = "xterm-256color"
_RESET: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


class Process:
    """A started program. It stays a zombie until it is closed, so that its id can't become another's meanwhile."""

    def __init__(
        self, child: "subprocess.Popen[bytes]", streams: Sequence[OutputStream], stdin: int | None, own_group: bool
    ) -> None:
        self._child = child
        self.has_session = own_group
        """Whether it has one of its own."""
        self.streams = streams
        self.stdin = stdin
        """Where its input is written to, without blocking; None where it takes none."""
        self.returncode: int | None = None
        """As `subprocess` gives it, once it has ended."""
        self._closed = False

    @property
    def pid(self) -> int:
        """Its id; with a group of its own also that of its group and session."""
        return self._child.pid

    async def wait(self) -> int:
        """Its return code, once it has ended."""
        if self.returncode is None:
            self.returncode = await _exit_of(self._child)
        return self.returncode

    def send(self, number: int) -> None:
        """A signal to it and to all that belongs to it; to nobody once it is closed, or ended without a session.

        Without a session these are itself and what it has started: its group is ours too.
        """
        if self._closed:
            return
        if not self.has_session:
            if self.returncode is None:
                for pid in (self.pid, *descendants_of(self.pid)):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            return
        for group in groups_of(self.pid):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)

    def pass_on(self, number: int) -> None:
        """A signal that came to us: to it alone, as whoever sent it would have sent it to the program."""
        if not self._closed and self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def is_alive(self) -> bool:
        """Whether it, or anybody else of its session, goes on."""
        if not self.has_session:
            return self.returncode is None and goes_on(self.pid)
        return has_members(self.pid)

    def close_stdin(self) -> None:
        """Its input has ended. Of a terminal it has not: that ends with its output."""
        if self.stdin is not None and self.streams[0].name != "pty":
            os.close(self.stdin)
            self.stdin = None

    def close(self) -> None:
        """Give everything back."""
        if self._closed:
            return
        self._closed = True
        for stream in self.streams:
            stream.close()
        if self.stdin is not None:
            os.close(self.stdin)
        self._child.poll()


def spawn(program: Program, argv: Sequence[str], *, input_: bool = False) -> Process:
    """Start `argv` in the surroundings of `program`, with an open stdin if either says so.

    Raises OSError or SubprocessError when that can't be done, ValueError for a NUL in the arguments.
    """
    with ExitStack() as ours, ExitStack() as theirs:
        env = program.env
        files: tuple[int | None, int, int]
        stdin: int | None
        if program.pty is not None:
            master, slave = _terminal(program.pty, ours, theirs)
            files = (slave, slave, slave)
            streams = [OutputStream("pty", master)]
            stdin = os.dup(master)
            ours.callback(os.close, stdin)
            env = {"TERM": DEFAULT_TERM, **(os.environ if env is None else env)}
        else:
            (out, out_end), (err, err_end) = (_pipe(ours, theirs) for _ in range(2))
            stdin_end, stdin = _stdin(program, input_, ours, theirs)
            files = (stdin_end, out_end, err_end)
            streams = [OutputStream("stdout", out), OutputStream("stderr", err)]
        child = subprocess.Popen(  # noqa: S603 - what may be run was decided
            argv,
            stdin=files[0],
            stdout=files[1],
            stderr=files[2],
            cwd=program.cwd,
            env=env,
            start_new_session=program.own_group,
            preexec_fn=_prepare(program),  # noqa: PLW1509 - it takes no lock
        )
        ours.pop_all()
    return Process(child, streams, stdin, program.own_group)


def _terminal(size: Size, ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    master, slave = os.openpty()
    ours.callback(os.close, master)
    theirs.callback(os.close, slave)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))
    return master, slave


def _pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    """What we read from, and what the program writes to."""
    read_end, write_end = os.pipe()
    ours.callback(os.close, read_end)
    theirs.callback(os.close, write_end)
    return read_end, write_end


def _stdin(program: Program, input_: bool, ours: ExitStack, theirs: ExitStack) -> tuple[int | None, int | None]:
    """What the program reads from (None: what we do), and what we write to."""
    if program.inherit_stdin:
        return None, None
    if not (program.input or input_):
        return subprocess.DEVNULL, None
    read_end, write_end = os.pipe()
    theirs.callback(os.close, read_end)
    ours.callback(os.close, write_end)
    os.set_blocking(write_end, False)
    return read_end, write_end


def _prepare(program: Program) -> Callable[[], None] | None:
    """What the child does before it becomes the program. It has its session by then, and its descriptors."""
    if not program.own_group:
        return None
    tie, takes_terminal = tie_to_parent(signal.SIGKILL), program.pty is not None

    def prepare() -> None:
        if tie is not None:
            tie()
        # Whoever started us in the background may have had us ignore them, and the program would inherit that.
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
        if takes_terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    return prepare


async def _exit_of(child: "subprocess.Popen[bytes]") -> int:
    """Wait without reaping it where the system can (Linux)."""
    if not hasattr(os, "pidfd_open"):
        return await in_thread(child.wait)
    fd = os.pidfd_open(child.pid)
    try:
        await until_readable(fd)
        status = os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it has ended
    finally:
        os.close(fd)
    assert status is not None
    return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
