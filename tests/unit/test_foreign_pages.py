"""Which pages may read an event stream."""

from collections.abc import Collection

import httpx
import pytest
from starlette.responses import PlainTextResponse

from service.web.foreign_pages import ForeignPages

HERE = "https://app.example.com"


@pytest.mark.parametrize(
    ("origins", "path", "allowed"),
    [
        ((), "/stream", "*"),
        ((HERE,), "/stream", HERE),
        (("https://other.example.com",), "/stream", None),
        ((), "/elsewhere", None),
    ],
)
async def test_a_page_is_told_whether_it_may_read(origins: Collection[str], path: str, allowed: str | None) -> None:
    app = ForeignPages(PlainTextResponse("x", 403), ["/stream"], origins)
    headers = {"Origin": HERE}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as http:
        answer = await http.get(path, headers=headers)
        # A refusal too: else a browser takes it for a fault of the network, and comes again and again.
        assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (403, allowed)
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "last-event-id"}
        answer = await http.options(path, headers=headers | asked)
        assert (answer.status_code == 200) is (allowed is not None)
