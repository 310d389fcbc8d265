"""Access tokens: JSON Web Tokens, signed with a shared secret or with a key that the issuer publishes."""

from service.adapters.tokens.errors import InvalidToken as InvalidToken
from service.adapters.tokens.errors import WeakSecret as WeakSecret
from service.adapters.tokens.secret import MIN_SECRET_BYTES as MIN_SECRET_BYTES
from service.adapters.tokens.secret import issue as issue
from service.adapters.tokens.secret import verify as verify
