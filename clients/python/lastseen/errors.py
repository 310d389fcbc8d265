"""What the client can fail with: the class says what to do, the fields what happened, the message how to mend it.

- LastseenError
    - Rejected                the server will not; the same again would be refused again
        - AuthenticationFailed    no token, or one that is not accepted: get another
            - TokenExpired            it was accepted and has run out
        - AccessDenied            the token's owner may not: `channel` where it is about one
        - BadRequest              the request is wrong: `field` names what to change
    - Ended                   the server ended the subscription: `channel`, `reason`
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


class Ended(LastseenError):
    """The server ended a subscription, for `reason`."""

    def __init__(self, channel: str, reason: str) -> None:
        super().__init__(f"the server ended the subscription of {channel}: {reason}")
        self.channel = channel
        self.reason = reason


class ProtocolError(LastseenError):
    """A message of the other side means nothing in version 1 of the protocol."""


class Closed(LastseenError):
    """The client is not open."""
