"""What the end of a connection, or its refusal, means to the caller."""

from http import HTTPStatus
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidStatus

from lastseen.close_codes import PROJECT_DENIED, TOKEN_EXPIRED, Return, when_to_return
from lastseen.errors import AccessDenied, AuthenticationFailed, BadRequest, Rejected, TokenExpired

_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


def code_and_reason(closed: ConnectionClosed) -> tuple[int, str]:
    """What the server closed with; without a close frame of its own the line broke."""
    return (1006, "the connection broke") if closed.rcvd is None else (closed.rcvd.code, closed.rcvd.reason)


def refusal(closed: ConnectionClosed) -> Rejected:
    """The error that a close for good is."""
    code, reason = code_and_reason(closed)
    if code == TOKEN_EXPIRED:
        return TokenExpired("the token has expired: get another", code=code)
    if reason == PROJECT_DENIED:
        return AccessDenied(reason, code=code)
    if when_to_return(code, reason) is Return.AFTER_RENEWING:
        return AuthenticationFailed(f"the service does not accept the token: {reason}", code=code)
    return Rejected(f"the server closed the connection for good: {code} {reason}".rstrip(), code=code)


def wait_after(error: InvalidStatus) -> float:
    """The seconds to wait after this HTTP answer to the hand-shake. Raises where waiting helps nothing."""
    response = error.response
    status = response.status_code
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        try:
            return float(response.headers.get("Retry-After", "0"))
        except ValueError:
            return 0.0
    text = (response.body or b"").decode(errors="replace")[:300]
    message = f"the service answered HTTP {status} instead of a WebSocket: {text}".rstrip(": ")
    if status == HTTPStatus.UNAUTHORIZED:
        raise AuthenticationFailed(message, code=status) from error
    if status == HTTPStatus.FORBIDDEN:
        raise AccessDenied(message, code=status) from error
    raise BadRequest(message, code=status, status=status) from error
