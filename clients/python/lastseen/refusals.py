"""What Kafka's errors mean to a producer. Told by the protocol's error codes, which all clients share."""

from typing import Final

from lastseen.errors import AccessDenied, InvalidEvent, LastseenError, LogUnavailable, Rejected

UNKNOWN_TOPIC: Final = 3
_TOO_LARGE: Final = frozenset({10, 18})
_INVALID_TOPIC: Final = 17
_DENIED: Final = frozenset({29, 31, 58})
"""The topic, the cluster, the login."""


def unconfirmed(kafka: str, id_: str | None, why: str) -> LogUnavailable:
    """The error of an event that may be in the log or not."""
    return LogUnavailable(
        f"Kafka at {kafka} has not confirmed event {id_}: {why}. It may be in the log all the same: "
        f"emit it again with id={id_!r}, and it counts once",
        id=id_,
    )


def explain(error: Exception, kafka: str, topic: str, id_: str) -> LastseenError:
    """The error of the emitter's own for what a Kafka client raised when event `id_` was appended."""
    # An error of the operating system has an `errno` of another kind.
    code = None if isinstance(error, OSError) else getattr(error, "errno", None)
    if code in _TOO_LARGE:
        return InvalidEvent(
            f"data: Kafka takes no batch of that size in topic {topic}: raise the topic's max.message.bytes",
            field="data",
            code="too_large",
        )
    if code == UNKNOWN_TOPIC:
        return unconfirmed(kafka, id_, f"there is no topic {topic}: make it with `lastseen topics create`")
    if code == _INVALID_TOPIC:
        return Rejected(f"{topic!r} is no name that Kafka takes for a topic", code="topic")
    if code in _DENIED:
        return AccessDenied(f"Kafka at {kafka} does not let this producer write to topic {topic}: {error!r}", code=code)
    return unconfirmed(kafka, id_, f"{error!r}")
