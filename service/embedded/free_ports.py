"""Ports of the embedded servers: free at the moment, the same at the next start where that is possible."""

import secrets
import socket
from collections.abc import Iterable

# Below the ranges from which systems take the ports of outgoing connections: a server that is started again must
# not find its port taken by somebody's client.
RANGE = range(20000, 30000)
HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger in TIME_WAIT don't make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose(count: int, wanted: Iterable[int] = ()) -> list[int]:
    """`count` free loopback ports: those of `wanted` that are free, then others."""
    chosen = [port for port in wanted if is_free(port)][:count]
    for port in secrets.SystemRandom().sample(RANGE, 200):
        if len(chosen) == count:
            break
        if port not in chosen and is_free(port):
            chosen.append(port)
    return chosen
