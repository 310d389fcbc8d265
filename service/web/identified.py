"""Who calls over HTTP."""

import math
from collections.abc import Awaitable

from fastapi import Request

from service.domain.errors import Denied, TooMany, Unavailable
from service.domain.identity import Identity
from service.web.credentials import Given, bearer
from service.web.door import Door
from service.web.problems import Problem, unavailable


async def identify(request: Request, given: Given | None = None) -> Identity:
    """Who calls, by what was `given`, else by `Authorization: Bearer`.

    Raises Problem: 401, 429 after too many failures from the caller's address, 503 where the issuer's keys can't be
    had now.
    """
    door: Door = request.app.state.door
    if given is None and (token := bearer(request.headers)) is not None:
        given = Given(False, token)
    return await let_in(door.identify(given, request.client))


async def let_in(coming: Awaitable[Identity]) -> Identity:
    """Who it is that the door lets in. Raises Problem, as `identify`."""
    try:
        return await coming
    except Denied as error:
        raise Problem(
            401, str(error), code="unauthorized", headers={"WWW-Authenticate": 'Bearer realm="lastseen"'}
        ) from error
    except TooMany as error:
        raise too_many(error) from error
    except Unavailable as error:
        raise unavailable(error) from error


def too_many(error: TooMany) -> Problem:
    """429, with when to come back."""
    headers = {"Retry-After": str(max(math.ceil(error.retry_after), 1))}
    return Problem(429, str(error), code="too_many", headers=headers)
