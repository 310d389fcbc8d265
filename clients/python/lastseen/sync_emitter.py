"""Emitting events straight to Kafka, from code that blocks: Django, Flask, Celery, scripts.

The one place of kafka-python-ng, and of its successor kafka-python, which has the same module name.
"""

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakSet

try:
    from kafka import KafkaProducer
    from kafka.errors import KafkaError, KafkaTimeoutError
    from kafka.partitioner.default import murmur2
except ImportError as missing:
    raise ImportError('SyncEventEmitter needs kafka-python-ng: pip install "lastseen[kafka]"') from missing

from lastseen.emitting import (
    DEFAULT_TIMEOUT,
    DEFAULT_TOPIC,
    Emitted,
    Emitter,
    Fields,
    Records,
    addresses,
    checked_timeout,
)
from lastseen.errors import Closed, LastseenError, LogUnavailable
from lastseen.in_flight import MAX_EVENTS, InFlight, Pending
from lastseen.linger import checked_linger
from lastseen.partitioning import Partitioner
from lastseen.refusals import explain, unconfirmed

_BATCH_BYTES: Final = 128 * 1024
_MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
_CONNECT_AGAIN_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 3.0


class SyncEventEmitter(Emitter[Emitted]):
    """Appends events to the topic; a call returns when all replicas in sync have its event.

    Without `bootstrap_servers` the environment variable LASTSEEN_KAFKA names them. The first event connects,
    in each process anew: an emitter made before a fork works in the child too. Any number of threads may share
    one; the events of each thread keep their order within a project (or task, or user).

    `nowait` has the same calls and returns futures. At most 2,000 events and about 8 MiB are under way; when
    that is full a call waits for room; `linger`, in seconds, is how long an event waits for others to share its
    request. A call raises InvalidEvent or EventTooLarge (both ValueErrors) before
    anything is sent, LogUnavailable after `timeout` seconds without Kafka's answer, and else what
    `lastseen.errors.Rejected` stands for.

    kafka-python-ng has no idempotent producer, so its own retry may append an event twice; as it has one id,
    every reader takes it once.

        with SyncEventEmitter("localhost:9092") as emitter:
            emitter.emit_task_event(TaskEvents.STARTED, "build-7", project_id="shop", user_id="ann")
    """

    def __init__(
        self,
        bootstrap_servers: str | Sequence[str] | None = None,
        topic: str = DEFAULT_TOPIC,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        linger: float = 0.0,
    ) -> None:
        self._bootstrap = addresses(bootstrap_servers)
        self._kafka = ",".join(self._bootstrap)
        self._topic = topic
        self._timeout = checked_timeout(timeout)
        self._linger = checked_linger(linger)
        self._records = Records()
        self._partitioner = Partitioner(murmur2)
        self._producer: Any = None
        self._connecting = threading.Lock()
        self._in_flight = InFlight()
        self._closed = False
        _emitters.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As `close`; where an exception leaves the block that is the one to be told."""
        if error is None:
            self.close()
        else:
            with suppress(LogUnavailable):
                self.close(min(self._timeout, _STOP_SECONDS))

    @property
    def nowait(self) -> Emitter[Future[Emitted]]:
        """The same calls, answered with futures. They wait only for room and for the first connection.

        `result()` of such a future gives the place or raises as the blocking call would, no later than that. A
        callback of it runs in the producer's thread and must not wait for another event.
        """
        return _NoWait(self)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every event taken on so far is answered, for better or worse: its future tells.

        Raises LogUnavailable if that takes more than `timeout` seconds (the emitter's own, where None).
        """
        left = self._timeout if timeout is None else timeout
        if waiting := self._in_flight.wait(left):
            raise LogUnavailable(
                f"Kafka at {self._kafka} has not confirmed {waiting} events within {left:g} s: "
                "they may be in the log all the same; emit them again with their ids"
            )

    def close(self, timeout: float | None = None) -> None:
        """Flush and disconnect. What is not answered by then is given up, and `flush`'s error raised."""
        self._closed = True
        try:
            self.flush(timeout)
        finally:
            with self._connecting:
                producer, self._producer = self._producer, None
            if producer is not None:
                producer.close(timeout=0 if self._in_flight.wait(0.0) else _STOP_SECONDS)
            self._in_flight.give_up(_closed())

    def _emit(self, fields: Fields) -> Emitted:
        return self._submit(fields).result()

    def _submit(self, fields: Fields) -> Pending:
        id_, record = self._records.make(fields)
        if self._closed:
            raise _closed()
        pending = Pending(id_, self._kafka, self._timeout)
        if not self._in_flight.add(pending, len(record.value)):
            raise unconfirmed(self._kafka, id_, f"others have waited for its answer for {self._timeout:g} s")
        try:
            producer = self._producer or self._connect(pending)
            partition = self._partitioner.partition_of(record.key, len(producer.partitions_for(self._topic)))
            sent = producer.send(
                self._topic, record.value, record.key, partition=partition, headers=list(record.headers)
            )
        except BaseException as error:
            told = self._explain(error, pending)
            self._in_flight.settle(pending, told)
            if told is error or not isinstance(error, Exception):
                raise
            raise told from error
        sent.add_callback(self._appended, pending)
        sent.add_errback(self._failed, pending)
        if sent.is_done:
            # Answered between the two, it may have missed whom to tell.
            if sent.failed():
                self._failed(pending, sent.exception)
            else:
                self._appended(pending, sent.value)
        return pending

    def _appended(self, pending: Pending, metadata: Any) -> None:
        self._in_flight.settle(pending, Emitted(pending.id, metadata.partition, metadata.offset))

    def _failed(self, pending: Pending, error: Exception) -> None:
        self._in_flight.settle(pending, self._explain(error, pending))

    def _explain(self, error: BaseException, pending: Pending) -> LastseenError:
        if isinstance(error, LastseenError):
            return error
        if self._closed:
            return _closed()
        if isinstance(error, KafkaTimeoutError):
            why = f"it does not answer in time, or has no topic {self._topic} (`lastseen topics create` makes it)"
            return unconfirmed(self._kafka, pending.id, why)
        if isinstance(error, KafkaError | OSError):
            return explain(error, self._kafka, self._topic, pending.id)
        return pending.late()

    def _connect(self, pending: Pending) -> Any:
        """The producer of this process; tries for half of the time, as the topic has to be found in the other."""
        until = pending.deadline - self._timeout / 2
        if not self._connecting.acquire(timeout=max(0.0, until - time.monotonic())):
            raise pending.late()
        try:
            while self._producer is None:
                if self._closed:
                    raise _closed()
                try:
                    self._producer = self._new_producer(max(0.0, until - time.monotonic()))
                except KafkaError:
                    if time.monotonic() + _CONNECT_AGAIN_SECONDS > until:
                        raise
                    time.sleep(_CONNECT_AGAIN_SECONDS)
            return self._producer
        finally:
            self._connecting.release()

    def _new_producer(self, seconds: float) -> Any:
        options = {
            "bootstrap_servers": self._bootstrap,
            "client_id": "lastseen-emitter",
            "acks": "all",
            # As often as it takes: how long a caller waits is bounded by its own deadline.
            "retries": 2**31 - 1,
            # With one request at a time a retry is not overtaken.
            "max_in_flight_requests_per_connection": 1,
            "batch_size": _BATCH_BYTES,
            "linger_ms": round(self._linger * 1000),
            "max_request_size": _MAX_REQUEST_BYTES,
            "request_timeout_ms": int(self._timeout * 1000),
            "max_block_ms": int(self._timeout * 1000 / 2),
        }
        # What only one of the two libraries has.
        either = {
            "enable_idempotence": True,
            "allow_auto_create_topics": False,
            "bootstrap_timeout_ms": int(seconds * 1000),
            "api_version_auto_timeout_ms": int(seconds * 1000),
            # Its own bound never holds anyone up: ours is the one that is told.
            "buffer_memory": MAX_EVENTS * _BATCH_BYTES,
        }
        known = KafkaProducer.DEFAULT_CONFIG
        return KafkaProducer(**options, **{name: value for name, value in either.items() if name in known})

    def _forked(self) -> None:
        """Go on in a forked child: threads, locks and connections of the parent are none of the child's."""
        if self._producer is not None:
            _inherited.append(self._producer)
        self._producer = None
        self._connecting = threading.Lock()
        self._in_flight = InFlight()
        self._records.forked()


class _NoWait(Emitter[Future[Emitted]]):
    def __init__(self, emitter: SyncEventEmitter) -> None:
        self._emitter = emitter

    def _emit(self, fields: Fields) -> Future[Emitted]:
        return self._emitter._submit(fields)


_emitters: WeakSet[SyncEventEmitter] = WeakSet()
_inherited: list[Any] = []
"""Producers of a parent process, kept: to be collected means to be closed, over locks that nobody lets go of."""


def _after_fork() -> None:
    for emitter in list(_emitters):
        emitter._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _closed() -> Closed:
    return Closed("the emitter is closed: make another one")
