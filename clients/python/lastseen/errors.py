"""What the client can fail with: the class says what to do, the fields what happened, the message how to mend it.

- LastseenError
    - Rejected                the server will not; the same again would be refused again
        - AuthenticationFailed    no token, or one that is not accepted: get another
            - TokenExpired            it was accepted and has run out
        - AccessDenied            the token's owner may not: `channel` where it is about one
        - BadRequest              the request is wrong: `field` names what to change
            - InvalidEvent            so is the event, told before anything was sent; a ValueError too
                - OtherProject            its task belongs to another project, or to none
    - LogUnavailable          Kafka has not confirmed the event `id`: emit it again, with that id
    - NoRunner                nobody has taken the start of `task`: start it again, with the same `id`
    - Ended                   the server ended the subscription of `channel`; `reason`: rights, project_deleted, token
    - ProtocolError           the other side does not speak version 1 of the protocol
    - Closed                  used before it was opened, or after it was closed
"""


class LastseenError(Exception):
    """Any error of the client's own."""


class Rejected(LastseenError):
    """The server will not do that, however often it is asked. `code` is the server's, where it gave one."""

    def __init__(self, message: str, *, code: str | int | None = None) -> None:
        super().__init__(message)
        self.code = code


class AuthenticationFailed(Rejected):
    """The token is missing or not accepted."""


class TokenExpired(AuthenticationFailed):
    """The token was good and has run out."""


class AccessDenied(Rejected):
    """The token's owner may not read that channel or do that."""

    def __init__(self, message: str, *, code: str | int | None = None, channel: str | None = None) -> None:
        super().__init__(message, code=code)
        self.channel = channel


class BadRequest(Rejected):
    """The request is wrong as it is. `status` is HTTP's, `field` what to change."""

    def __init__(
        self, message: str, *, code: str | int | None = None, status: int = 400, field: str | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.field = field


class InvalidEvent(BadRequest, ValueError):
    """The event is wrong as it is; nothing was sent. `field` is the path of the first thing to change."""

    def __init__(self, message: str, *, field: str, code: str = "invalid_event") -> None:
        super().__init__(message, code=code, status=422, field=field)


class OtherProject(InvalidEvent):
    """A task keeps one project for life: `project` is the one that it has, None where it began without."""

    def __init__(self, task: str, project: str | None, given: str) -> None:
        right = f"give project_id={project!r} or leave it out" if project is not None else "leave project_id out"
        super().__init__(
            f"project_id: task {task} belongs to {f'project {project}' if project is not None else 'no project'}, not "
            f"to {given}, and keeps that for life: {right}, or start a task with another id",
            field="project_id",
            code="conflict",
        )
        self.task = task
        self.project = project


class LogUnavailable(LastseenError):
    """Kafka has not confirmed an event; it may be in the log all the same.

    `id` is the event's: emitted again with this id and the same arguments, it counts once. None where the
    error is about no single event.
    """

    def __init__(self, message: str, *, id: str | None = None) -> None:  # noqa: A002 - the envelope's word
        super().__init__(message)
        self.id = id


class NoRunner(LastseenError):
    """No runner has taken the start of a task before its deadline.

    Started again with this `id`, it is the same start: `task` is started once at most.
    """

    def __init__(self, message: str, *, task: str, id: str) -> None:  # noqa: A002 - the envelope's word
        super().__init__(message)
        self.task = task
        self.id = id


class Ended(LastseenError):
    """The server ended a subscription, for good.

    `reason`: `rights` (the user may no longer read the channel), `project_deleted`, `token` (the new token does not
    grant it), or another word of a later server.
    """

    def __init__(self, channel: str, reason: str) -> None:
        super().__init__(f"the server ended the subscription of {channel}: {reason}")
        self.channel = channel
        self.reason = reason


class ProtocolError(LastseenError):
    """A message of the other side means nothing in version 1 of the protocol."""


class Closed(LastseenError):
    """The client is not open."""
