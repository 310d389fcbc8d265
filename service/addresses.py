"""Addresses of servers, checked where they come in: a client library would end in a traceback, or wait, for them."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, ip_address, ip_network
from urllib.parse import urlsplit

from service.domain.errors import BadRequest

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]+)(:(?P<port>\d{1,5}))?", re.ASCII)
_MOST = 65535
_REMEMBERED = 4_096
"""Addresses of clients whose block is not found anew: a crowd behind one proxy or network has few."""
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", re.ASCII)
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:\d{1,5})?", re.ASCII)


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


def is_loopback(host: str) -> bool:
    """Whether a host, named or by its address (IPv6 with or without brackets), is this machine for itself only."""
    name = host.strip("[]").lower().removesuffix(".")
    try:
        address = ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@lru_cache(_REMEMBERED)
def address_block(host: str | None) -> str | None:
    """What counts as one address: of IPv6 a /64, which is what one customer has. None for loopback and for no host."""
    if not host or is_loopback(host):
        return None
    try:
        address = ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ip_network((int(address) >> 64 << 64, 64)))


def key_set_address(text: str) -> str:
    """`https://host/path` of a key set; `http` for loopback alone. Raises BadRequest, which does not quote it."""
    problem = "the address of the key set must look like https://issuer.example/.well-known/jwks.json"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadRequest(problem) from None
    if parts.scheme not in ("https", "http") or not host or any(character.isspace() for character in text):
        raise BadRequest(problem)
    if parts.scheme == "http" and not is_loopback(host):
        raise BadRequest(f"{problem}: with http whoever is on the way could put in keys; only loopback may have it")
    if parts.username is not None or parts.password is not None:
        raise BadRequest(f"{problem}, without a user or password: addresses are written to logs")
    return text


def origin(text: str) -> str:
    """`https://host` or `https://host:port`, as a browser writes it; `null` too. Raises BadRequest."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        raise BadRequest(f"an origin looks like https://app.example.com or http://127.0.0.1:3000, not {text!r}")
    # A browser leaves out the port that goes without saying.
    scheme, _, place = text.lower().partition("://")
    return text.lower().removesuffix({"https": ":443", "http": ":80"}.get(scheme, "")) if place else text.lower()


def host_name(text: str) -> str:
    """A host as in `Host`, without a port, in small letters; IPv6 in brackets or not. Raises BadRequest."""
    name = text.strip("[]").lower().removesuffix(".")
    try:
        return str(ip_address(name))
    except ValueError:
        if _NAME.fullmatch(name) is None:
            raise BadRequest(f"a host is a name or an address without a port, not {text!r}") from None
        return name


def network(text: str) -> str:
    """An address or network, such as `10.0.0.0/8`. Raises BadRequest."""
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise BadRequest(f"an address or network looks like 10.0.0.7 or 10.0.0.0/8, not {text!r} ({error})") from None


def _is_address(text: str) -> bool:
    found = _HOST_AND_PORT.fullmatch(text)
    return found is not None and (found["port"] is None or 0 < int(found["port"]) <= _MOST)
