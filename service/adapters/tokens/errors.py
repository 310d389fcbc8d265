"""What is wrong with a token or a secret. No message quotes either."""

from service.domain.errors import LastseenError


class InvalidToken(LastseenError):
    """The token is not accepted; the message says which part of it is wrong."""


class WeakSecret(LastseenError):
    """The secret is too short to sign with."""
