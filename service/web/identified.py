"""Who calls over HTTP."""

from fastapi import Request

from service.domain.errors import Denied
from service.domain.identity import Identity
from service.web.problems import Problem


async def identify(request: Request) -> Identity:
    """Who calls, by `Authorization: Bearer`. Raises Problem 401."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() != "bearer" or not token:
            raise Denied("Authentication required: send Authorization: Bearer TOKEN")
        identity: Identity = await request.app.state.authenticator.identify(token.strip())
    except Denied as error:
        raise Problem(
            401, str(error), code="unauthorized", headers={"WWW-Authenticate": 'Bearer realm="lastseen"'}
        ) from error
    return identity
