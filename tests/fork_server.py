"""Forks one of our modules out of a process that has imported it: `python -m MODULE`, less a second of imports.

`python -m tests.fork_server MODULE FD`: on the socket FD a byte comes for each process, with four descriptors: its
connection, and its stdin, stdout and stderr. On the connection comes a line of JSON, its `arguments`, `environment` and
`folder`; back go two lines: its pid, and once it has ended its return code, as `subprocess` has it.
"""

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import ExitStack, suppress


def main() -> None:
    """Serve until whoever asks has gone; in each process that is forked, return as that module returns."""
    module, fd = sys.argv[1], int(sys.argv[2])
    importlib.import_module(module)
    # As under `-m`: the module runs as `__main__`, and nobody has imported it.
    del sys.modules[module]
    gc.collect()
    gc.freeze()
    connection, standard = _serve(socket.socket(fileno=fd))
    _become(module, connection, standard)


def _serve(control: socket.socket) -> tuple[socket.socket, list[int]]:
    """Fork for each request. Returns in the forked processes only: connection, and the standard descriptors."""
    with ExitStack() as ours:
        woken, waker = (ours.enter_context(one) for one in socket.socketpair())
        selector = ours.enter_context(selectors.DefaultSelector())
        ours.enter_context(control)
        waker.setblocking(False)
        # A Ctrl-C is for the processes, not for who forks them.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno())
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        running: dict[int, socket.socket] = {}
        while True:
            for key, _ in selector.select():
                if key.fileobj is woken:
                    woken.recv(4096)
                    _tell_of_ends(running)
                    continue
                asked, descriptors, _, _ = socket.recv_fds(control, 1, 4)
                if not asked:
                    sys.exit()
                connection, standard = socket.socket(fileno=descriptors[0]), descriptors[1:]
                if (pid := os.fork()) == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    for other in running.values():
                        other.close()
                    return connection, standard
                for descriptor in standard:
                    os.close(descriptor)
                running[pid] = connection
                _tell(connection, pid)


def _tell_of_ends(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as connection:
            _tell(connection, os.waitstatus_to_exitcode(status))


def _tell(connection: socket.socket, number: int) -> None:
    # Whoever asked may be no longer interested.
    with suppress(OSError):
        connection.sendall(b"%d\n" % number)


def _become(module: str, connection: socket.socket, standard: list[int]) -> None:
    with connection, connection.makefile("rb") as lines:
        asked = json.loads(lines.readline())
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = [module, *asked["arguments"]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
