"""Bodies of requests that are not what was announced."""

from collections.abc import Iterable

import pytest
from fastapi import Request
from starlette.types import Message

from service.web.bodies import read_json
from service.web.problems import Problem


def request_of(messages: Iterable[Message]) -> Request:
    left = iter(messages)

    async def receive() -> Message:
        return next(left)

    return Request({"type": "http", "headers": []}, receive)


async def test_a_client_that_goes_in_the_middle_of_its_request_is_no_fault_of_the_node() -> None:
    part: Message = {"type": "http.request", "body": b'{"type":', "more_body": True}
    with pytest.raises(Problem, match="broke off") as raised:
        await read_json(request_of([part, {"type": "http.disconnect"}]), 1_000)
    assert raised.value.status == 400
