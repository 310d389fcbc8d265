"""What a broker remembers of a fetch (KIP-227), so that each request names only what has changed since the last.

A request of twelve partitions, and its answer, cost both sides more than the record that one of them has. In a
session the broker keeps what it was asked for; a request names partitions whose offset has moved, an answer those
that have something. Where a broker has no room for a session each request names everything, and asks for one anew.
"""

from collections.abc import Mapping
from typing import Final

from aiokafka.protocol.fetch import FetchRequest, FetchRequestStruct

SESSION_ERRORS: Final = frozenset({70, 71})
"""Errors of a whole answer that a new session mends: Kafka's FETCH_SESSION_ID_NOT_FOUND and
INVALID_FETCH_SESSION_EPOCH."""
_FIRST_WITH_SESSIONS: Final = 7
"""The version of a fetch."""
_LAST_EPOCH: Final = 2**31 - 1
_READ_COMMITTED: Final = 1
_ANSWER_BYTES: Final = 50 * 1024 * 1024
_PARTITION_BYTES: Final = 1024 * 1024


class FetchSession:
    """One broker's memory of what this process asks it for."""

    def __init__(self) -> None:
        self._id = 0
        self._epoch = 0
        self.offsets: dict[int, int] = {}
        """What the last request asked for: of each partition the offset, named or remembered."""

    def request(self, topic: str, asked: Mapping[int, int], wait_ms: int) -> "SessionRequest":
        """The request that has the broker look for `asked`: of each partition the offset."""
        remembered = self.offsets if self._epoch else {}
        self.offsets = dict(asked)
        named = [
            (partition, offset, _PARTITION_BYTES)
            for partition, offset in asked.items()
            if remembered.get(partition) != offset
        ]
        forgotten = [partition for partition in remembered if partition not in asked]
        return SessionRequest(topic, named, forgotten, wait_ms, self._id, self._epoch)

    def answered(self, id_: int) -> None:
        """The last request was answered without an error, by the session that the answer names; 0 is none."""
        if id_ == 0:
            self.restart()
            self._id = 0
        else:
            self._id = id_
            self._epoch = 1 if self._epoch == _LAST_EPOCH else self._epoch + 1

    def restart(self) -> None:
        """What the broker remembers is not known any more: the next request ends that, and begins a new session."""
        self._epoch = 0


class SessionRequest(FetchRequest):  # type: ignore[misc]
    """A fetch, read_committed, answered once there is anything or `wait_ms` have passed."""

    def __init__(
        self,
        topic: str,
        named: list[tuple[int, int, int]],
        forgotten: list[int],
        wait_ms: int,
        session_id: int,
        session_epoch: int,
    ) -> None:
        super().__init__(wait_ms, 1, _ANSWER_BYTES, _READ_COMMITTED, [(topic, named)] if named else [])
        self.forgotten = [(topic, forgotten)] if forgotten else []
        self.session_id = session_id
        self.session_epoch = session_epoch

    def build(self, request_struct_class: type[FetchRequestStruct]) -> FetchRequestStruct:
        """As the class above, which knows of no sessions: brokers before Kafka 1.1 have none."""
        struct = super().build(request_struct_class)
        if request_struct_class.API_VERSION >= _FIRST_WITH_SESSIONS:
            struct.session_id = self.session_id
            struct.session_epoch = self.session_epoch
            struct.forgotten_topics_data = self.forgotten
        return struct
