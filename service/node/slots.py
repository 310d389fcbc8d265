"""The subscribers by number, and beside each the descriptor of its socket while frames may be sent on that."""

from array import array
from typing import Generic, Protocol, TypeVar


class Subscriber(Protocol):
    """Who watches channels."""

    id: str
    slot: int
    """Its number here; -1 while it has none."""

    def descriptor(self) -> int:
        """Its socket's, where nothing waits that was written before, and nothing is said at its end; else -1."""
        ...

    def send(self, frames: bytes) -> None:
        """Send the frames of a step, or what its socket has not taken of them, behind what waits."""
        ...


S = TypeVar("S", bound=Subscriber)

NONE = -1


class Slots(Generic[S]):
    """`fds[slot]` is NONE while bytes of that subscriber wait elsewhere, while it closes, and where it has no socket.

    So nothing is asked of a connection when frames are sent, and a descriptor that the system has given to somebody
    else is in no slot: whoever owns the socket leaves before it is closed.
    """

    def __init__(self) -> None:
        self.fds = array("i")
        self._subscribers: list[S | None] = []
        self._of_id: dict[str, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._of_id)

    def __getitem__(self, slot: int) -> S | None:
        return self._subscribers[slot]

    def of(self, id_: str) -> int | None:
        """The slot of the subscriber with this id, if it has one."""
        return self._of_id.get(id_)

    def take(self, subscriber: S) -> int:
        """Its slot, made where it has none."""
        if subscriber.slot == NONE:
            if self._free:
                slot = self._free.pop()
                self._subscribers[slot] = subscriber
            else:
                slot = len(self.fds)
                self.fds.append(NONE)
                self._subscribers.append(subscriber)
            subscriber.slot = slot
            self._of_id[subscriber.id] = slot
        return subscriber.slot

    def wait(self, subscriber: S) -> None:
        """Bytes of it wait elsewhere, or it ends: send nothing past them."""
        if subscriber.slot != NONE:
            self.fds[subscriber.slot] = NONE

    def leave(self, subscriber: S) -> None:
        """It is gone; the slot is another's next."""
        slot, subscriber.slot = subscriber.slot, NONE
        if slot != NONE:
            self.fds[slot] = NONE
            self._subscribers[slot] = None
            del self._of_id[subscriber.id]
            self._free.append(slot)
