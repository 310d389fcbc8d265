"""The browser's own EventSource follows a project over a killed node, and ends for good when its right does."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import httpx

from service.domain import server_sent
from tests.browser.chromium import browsing, find_chromium, serving
from tests.driven import Driven
from tests.waiting import until

HTML = Path(__file__).with_name("event_source.html").read_bytes()
COUNT = 300


async def publish(url: str, access: str, *events: Mapping[str, object]) -> None:
    """With the same ids until the node is there."""

    async def published() -> bool:
        try:
            response = await http.post(f"{url}/api/v1/events", json=list(events))
        except httpx.TransportError:
            return False
        assert response.status_code in (202, 503), response.text
        return response.status_code == 202

    headers = {"Authorization": f"Bearer {access}"}
    async with httpx.AsyncClient(trust_env=False, timeout=30, headers=headers) as http:
        await until(published, timeout=60, what="the events published")


async def test_event_source_misses_nothing_over_a_killed_node(driven: Driven, tmp_path: Path) -> None:
    find_chromium()
    await driven.until_well()
    url = driven.up.instance["url"]
    admin, ann = await driven.token("--user", "root", "--role", "admin"), await driven.token("--user", "ann")
    member = {"project_id": "sourced", "data": {"user_id": "ann"}}
    begin: dict[str, object] = {
        "type": "task_started",
        "task_id": "sourced-1",
        "project_id": "sourced",
        "user_id": "root",
    }
    await publish(
        url,
        admin,
        {"type": "project_created", "project_id": "sourced"},
        {"type": "project_member_added", **member},
        begin,
    )
    events = [
        {
            "type": "task_output",
            "id": f"sourced-{number}",
            "task_id": "sourced-1",
            "project_id": "sourced",
            "data": {"number": number, "text": "Grüße \u2028 日本語 🎉\r\n"},
        }
        for number in range(COUNT)
    ]
    stream = f"{url}/api/v1/events/stream?"
    fragment = urlencode(
        {
            "url": stream + urlencode({"channel": "task:sourced-1", "after": "earliest", "token": ann}),
            "denied": stream + urlencode({"channel": "project:another", "token": ann}),
        }
    )

    async def publish_all() -> None:
        for at in range(0, COUNT, 5):
            await publish(url, admin, *events[at : at + 5])
        end = {"type": "task_completed", "task_id": "sourced-1", "project_id": "sourced"}
        await publish(url, admin, end)

    async with serving(HTML) as page, browsing(f"{page.url}#{fragment}", tmp_path / "profile"):
        publishing = asyncio.create_task(publish_all())

        def shown() -> int:
            return int(page.posted.get("/progress", ({}, "0"))[1])

        await until(lambda: shown() > 20, timeout=60, what="events in the page")
        assert not publishing.done(), "the node is killed in the middle"
        await driven.kill_and_see_it_back("node-1")
        await publishing
        await until(lambda: "/events" in page.posted, timeout=60, what="the last event in the page")
        query, text = page.posted["/events"]
        got = [json.loads(line) for line in text.split("\n")]
        wanted = [event["data"] for event in events]
        assert [event["data"] for event in got if event["type"] == "task_output"] == wanted
        assert int(query["opened"][0]) > 1
        assert "/gap" not in page.posted
        # It ends with the right, and the browser does not try for ever.
        await publish(url, admin, {"type": "project_member_removed", **member})
        await until(lambda: "/stopped" in page.posted, timeout=60, what="the end for good")
        assert json.loads(page.posted["/unsubscribed"][1])["reason"] == "rights"
        # One that was refused is closed for good; what the killed node had not answered came once more.
        (attempts,) = page.posted["/progress"][0]["attempts"]
        assert page.posted["/refused"][1] == "2"
        assert int(attempts) <= 5


async def test_a_place_without_an_event_is_what_the_browser_comes_back_with(tmp_path: Path) -> None:
    """A quiet stream's place moves by that: the standard says so, and so does the browser."""
    find_chromium()
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nAccess-Control-Allow-Origin: *\r\n\r\n")
        writer.write(server_sent.retry(10) + server_sent.moved(f"e:0={len(heads)}"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    html = f"<script>new EventSource({url!r})</script>".encode()
    async with serving(html) as page, browsing(page.url, tmp_path / "profile"):
        await until(lambda: len(heads) >= 3, timeout=60, what="the browser coming back")
    server.close()
    assert "last-event-id" not in heads[0]
    assert ["last-event-id: e:0=1\r\n" in heads[1], "last-event-id: e:0=2\r\n" in heads[2]] == [True, True]
