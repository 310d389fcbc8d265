"""A plain page in a real browser follows a task, over a killed node, with nothing but `WebSocket`."""

import sys
from pathlib import Path
from urllib.parse import urlencode

from tests.browser.chromium import browsing, find_chromium, serving
from tests.driven import Driven, ended
from tests.waiting import until

PROGRAM = """
import os, sys, time
for number in range(3_000):
    while number == 2_000 and not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    line = f"{number} Grüße 日本語 🎉 \\x1b[1m<b>&amp;</b>\\x1b[0m\\n".encode()
    cut = number % len(line)
    os.write(1, line[:cut])
    if number % 10 == 0:
        time.sleep(0.01)
    os.write(1, line[cut:])
"""
HTML = Path(__file__).with_name("follow.html").read_bytes()
WANTED = "".join(f"{number} Grüße 日本語 🎉 \x1b[1m<b>&amp;</b>\x1b[0m\n" for number in range(3_000))


async def test_a_page_shows_the_output_of_a_task_over_a_killed_node(driven: Driven, tmp_path: Path) -> None:
    find_chromium()
    await driven.until_well()
    token = await driven.token("--user", "ann", "--project", "shop")
    url = driven.up.instance["url"].replace("http", "ws") + "/ws"
    fragment = urlencode({"url": url, "token": token, "task": "seen-in-a-browser"})
    async with serving(HTML) as page:
        killed = tmp_path / "killed"
        command = (sys.executable, "-c", PROGRAM, str(killed))
        program = await driven.start_run("seen-in-a-browser", *command, project="shop")
        async with browsing(f"{page.url}#{fragment}", tmp_path / "profile"):

            def shown() -> int:
                query, _ = page.posted.get("/progress", ({}, ""))
                return int(query.get("characters", ["0"])[0])

            await until(lambda: shown() > 10_000 or "/error" in page.posted, timeout=30, what="output in the page")
            await driven.kill_and_see_it_back("node-1")
            killed.touch()
            assert await ended(program) == 0
            await until(lambda: page.posted.keys() & {"/result", "/error"}, timeout=30, what="the end in the page")
    assert "/error" not in page.posted, page.posted["/error"]
    query, text = page.posted["/result"]
    assert (text == WANTED) is True
    assert int(query["connections"][0]) > 1
