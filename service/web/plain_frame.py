"""Most messages of clients, read without the library's protocol: a frame that has come whole and alone.

The protocol is a dozen objects a connection, and most of what such a message costs.
"""

from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

_FINAL_TEXT: Final = 0x81
_MASKED: Final = 0x80
_TWO_BYTES_MORE: Final = 126


def plain_text(data: bytes, most: int) -> str | None:
    """The text of a message of at most so many bytes, where `data` is its one frame and nothing else; else None."""
    if len(data) < 6 or data[0] != _FINAL_TEXT or data[1] < _MASKED:
        return None
    size, at = data[1] - _MASKED, 2
    if size == _TWO_BYTES_MORE:
        size, at = int.from_bytes(data[2:4], "big"), 4
        if size < _TWO_BYTES_MORE:
            return None
    elif size > _TWO_BYTES_MORE:
        return None
    if size > most or len(data) != at + 4 + size:
        return None
    try:
        return apply_mask(data[at + 4 :], data[at : at + 4]).decode()
    except UnicodeDecodeError:
        return None


def wire_size(payload: int) -> int:
    """Bytes of a client's frame with a payload of so many, at least."""
    if payload < _TWO_BYTES_MORE:
        return 6 + payload
    return 8 + payload if payload < 65_536 else 14 + payload
