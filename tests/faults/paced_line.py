"""A WebSocket that is read as slowly as a test wants, and that breaks at any byte."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

from lastseen.notices import Message
from pydantic_core import from_json, to_json
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

SEGMENT = 1400
"""As over a network: with loopback's own of 64 KiB the kernel alone would hold megabytes for a slow reader."""
_AT_ONCE = 65_536
_QUIET_SECONDS = 0.2


@dataclass
class PacedLine:
    """One connection; made by `open`. `rate` and `cut_in` may be changed at any time."""

    _socket: socket.socket
    _protocol: ClientProtocol
    rate: float | None = None
    """Bytes a second that are read; None: all that come."""
    cut_in: int | None = None
    """After so many further bytes it breaks."""
    pause: float = 0.05
    """Seconds between two reads of a line with a rate."""
    read: int = 0
    """Bytes so far."""
    was_cut: bool = False
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    async def open(cls, address: str, *, receive_buffer: int | None = None, segment: int | None = SEGMENT) -> Self:
        """Connect; the hand-shake is over with the first message. Raises OSError.

        The sizes are bytes; None: what the kernel gives, which is megabytes over loopback.
        """
        uri = parse_uri(address)
        sock = socket.socket()
        try:
            sock.setblocking(False)
            if segment is not None:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (uri.host, uri.port))
            protocol = ClientProtocol(uri, max_size=None)
            protocol.send_request(protocol.connect())
            await loop.sock_sendall(sock, b"".join(protocol.data_to_send()))
        except BaseException:
            sock.close()
            raise
        return cls(sock, protocol)

    async def messages(self) -> AsyncIterator[Message]:
        """What comes, until either side ends it. Raises ConnectionRefusedError where the hand-shake is turned down."""
        while True:
            size = _AT_ONCE
            if (rate := self.rate) is not None:
                await asyncio.sleep(self.pause)
                size = max(int(rate * self.pause), 1) if rate > 0 else 0
            if self.cut_in is not None:
                size = min(size, self.cut_in)
                if self.cut_in <= 0:
                    self.cut()
            if self.was_cut:
                return
            if size == 0:
                continue
            # With a deadline, so that what is asked of a quiet line is seen.
            if not await self._is_readable(_QUIET_SECONDS):
                continue
            if self.was_cut:
                return
            try:
                data = self._socket.recv(size)
            except BlockingIOError:
                continue
            except OSError:
                return
            self.read += len(data)
            if self.cut_in is not None:
                self.cut_in -= len(data)
            self._protocol.receive_data(data) if data else self._protocol.receive_eof()
            for event in self._protocol.events_received():
                match event:
                    case Response():
                        if self._protocol.handshake_exc is not None:
                            raise ConnectionRefusedError(str(self._protocol.handshake_exc))
                    case Frame(opcode=Opcode.TEXT):
                        yield from_json(bytes(event.data))
            if not data or self._protocol.close_rcvd is not None:
                return

    async def _is_readable(self, seconds: float) -> bool:
        """Whether something, or the end, has come within so many seconds. Nothing is taken: nothing can be lost."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._socket, ready.set)
        try:
            async with asyncio.timeout(seconds):
                await ready.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._socket)
        return True

    @property
    def close(self) -> tuple[int | None, str]:
        """Code and reason of the server's close; None where the line broke."""
        received = self._protocol.close_rcvd
        return (None, "") if received is None else (received.code, received.reason)

    async def send(self, message: Message, *, half: bool = False) -> None:
        """Say something; with `half` the line breaks in the middle of it. On a broken line nothing happens."""
        if self.was_cut or self._protocol.state is not State.OPEN:
            return
        self._protocol.send_text(to_json(message))
        data = b"".join(self._protocol.data_to_send())
        with contextlib.suppress(OSError):
            async with self._sending:
                await asyncio.get_running_loop().sock_sendall(self._socket, data[: len(data) // 2] if half else data)
        if half:
            self.cut()

    def cut(self, *, reset: bool = False) -> None:
        """Break it here; with `reset` as a crash does it. Whoever reads it gives the socket back then, by `end`."""
        if self.was_cut:
            return
        self.was_cut = True
        # Perhaps it has ended by itself.
        with contextlib.suppress(OSError):
            if reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)

    def end(self) -> None:
        """Give the socket back; nobody reads or writes any more."""
        self._socket.close()
