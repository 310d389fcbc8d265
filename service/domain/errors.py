"""The one tree of errors: the class says what to do, the fields what happened, the message how to mend it.

- LastseenError
    - BadRequest            the caller's to mend; never retried as it is
    - Denied                the caller may not
    - TooMany               the caller has used up what it may have; retry after `retry_after` seconds
    - Unavailable           passes by itself; retry after `retry_after` seconds
        - LogUnavailable        Kafka does not answer
            - OffsetsGone           Kafka no longer holds, or never held, the offsets asked for
                - EpochEnded            another epoch is the present one: begin afresh in it
        - HistoryUnavailable    Postgres does not answer
        - TooManyCommands       as many commands wait for their receipts as may
        - NoRunner              nobody has taken a start by its deadline
    - Unreadable            a record that no reader can use; quarantined and passed
"""


class LastseenError(Exception):
    """Any error of the service's own."""


class BadRequest(LastseenError):
    """The caller has to change something. `field` names it where it is one."""

    def __init__(self, message: str, *, code: str = "bad_request", field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class Denied(LastseenError):
    """The caller may not do that."""


class TooMany(LastseenError):
    """The caller has, or does, as much as it may. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(LastseenError):
    """Something is away and will be back. `retry_after` is in seconds."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LogUnavailable(Unavailable):
    """Kafka does not answer; nothing was acknowledged."""


class OffsetsGone(LogUnavailable):
    """Offsets outside what Kafka holds of a partition: ask for the bounds again and start within them."""


class EpochEnded(OffsetsGone):
    """The epoch at hand is not the present one any more: its offsets mean nothing now."""


class HistoryUnavailable(Unavailable):
    """Postgres does not answer, and the records asked for are only there."""

    code = "history_unavailable"


class TooManyCommands(Unavailable):
    """As many commands wait for their receipts as may: nothing was appended."""

    code = "too_many_commands"


class NoRunner(Unavailable):
    """Nobody has taken a start by its deadline: the same again, with its `id`, may still start the task once."""

    code = "no_runner"


class Unreadable(LastseenError):
    """A record that no reader can use. `reason` is a short stable code, the message the detail.

    `channels` are those that its headers name, as far as they can be believed: whose readers lack an event.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.channels: tuple[str, ...] = ()
