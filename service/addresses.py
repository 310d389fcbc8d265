"""Addresses of servers, checked where they come in: a client library would end in a traceback, or wait, for them."""

import re

from service.domain.errors import BadRequest

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]+)(:(?P<port>\d{1,5}))?", re.ASCII)
_MOST = 65535


def bootstrap_servers(text: str) -> str:
    """`host:port,…` of Kafka, without spaces. Raises BadRequest."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not _is_address(part):
            raise BadRequest(f"Kafka's address has to look like host:9092 or host-1:9092,host-2:9092, not {text!r}")
    return ",".join(parts)


def database_address(text: str) -> str:
    """`postgresql://user:password@host:port/name`, as it is. Raises BadRequest, which does not quote it."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise BadRequest("the database address must look like postgresql://user:password@host:port/name")
    places = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    for place in places.split(",") if places else ():
        if not _is_address(place):
            raise BadRequest(
                f"the database address must look like postgresql://user:password@host:port/name, its {place!r} is no "
                "host:port (in a user or password write / ? # as %2F %3F %23)"
            )
    return text


def _is_address(text: str) -> bool:
    found = _HOST_AND_PORT.fullmatch(text)
    return found is not None and (found["port"] is None or 0 < int(found["port"]) <= _MOST)
