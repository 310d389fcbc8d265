"""The client over real sockets, against a server that cuts, repeats, stalls and refuses."""

import asyncio
from typing import Any

import pytest
from lastseen.backoff import Backoff
from lastseen.client import Client
from lastseen.errors import AccessDenied, AuthenticationFailed, Closed, Ended, Rejected, TokenExpired
from lastseen.notices import Gap
from lastseen.stream import MAX_ITEMS, Received, Stream

from tests.faults.wire import Line, WireServer, read_log, serving
from tests.waiting import until

CHANNEL = "task:t"
TOKEN = "a.b.c"


def client_of(server: WireServer, **options: Any) -> Client:
    return Client(server.url, options.pop("token", TOKEN), backoff=Backoff(base=0.01, cap=0.05), **options)


async def offsets_of(client: Client, count: int, after: str | None = "earliest") -> list[int]:
    """The offsets of the next `count` events of the channel."""
    offsets: list[int] = []
    async for event in client.subscribe(CHANNEL, after=after):
        offsets.append(event["offset"])
        if len(offsets) == count:
            break
    return offsets


async def test_a_line_cut_anywhere_costs_and_doubles_nothing() -> None:
    async def script(line: Line) -> None:
        await line.establish()
        asked = await line.answer_subscribe()
        after = -1 if asked["after"] == "earliest" else int(asked["after"].partition("=")[2])
        # What was asked for from an earlier point comes twice, as after a cut in the middle of a write.
        for offset in range(max(0, after - 3), min(after + 8, 100)):
            await line.event(offset, CHANNEL)
        line.break_()

    async with serving(script) as server, client_of(server) as client:
        assert await offsets_of(client, 100) == list(range(100))
        assert len(server.lines) > 10


async def test_it_comes_back_to_a_server_that_was_away() -> None:
    runs = 0

    async def script(line: Line) -> None:
        await line.establish("k:0=0")
        await read_log(line, CHANNEL, 10 * (runs + 1))

    interruptions: list[str] = []
    async with serving(script) as server:
        port = int(server.url.rpartition(":")[2])
        client = client_of(server, on_interruption=lambda reason, delay: interruptions.append(reason))
        await client.__aenter__()
        events = aiter(client.subscribe(CHANNEL, after="earliest"))
        had = [(await anext(events))["offset"] for _ in range(5)]
    await until(lambda: any("refused" in r or "failed" in r for r in interruptions), what="a refused connection")
    runs = 1
    async with serving(script, port):
        had += [(await anext(events))["offset"] for _ in range(15)]
        assert had == list(range(20))
        await client.__aexit__(None, None, None)


async def test_the_automatic_ones_come_back_by_after() -> None:
    async def script(line: Line) -> None:
        if line.number == 0:
            await line.establish("k:0=4")
            await line.event(5, "user:u", replay=False)
            await line.send(type="ping", timestamp="", position="k:0=8")
            assert (await line.hear("ack"))["position"] == "k:0=8"
            line.break_()
        else:
            await line.establish(line.after or "")

    async with serving(script) as server, client_of(server) as client:
        assert (await anext(aiter(client.subscribe("user:u"))))["offset"] == 5
        # What is read is confirmed when the consumer has come as far as the ping, so it has to read on.
        reading = asyncio.create_task(_first(client._streams["user:u"]))
        await until(lambda: len(server.lines) == 2, what="a second connection")
        assert server.lines[1].after == "k:0=8"
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_ping_is_answered_without_moving_a_cursor_that_nobody_reads() -> None:
    async def script(line: Line) -> None:
        await line.establish()
        await line.send(type="ping", timestamp="", position="k:0=8")

    async with serving(script) as server, client_of(server) as client:
        client.subscribe(CHANNEL)
        await until(lambda: server.lines and any(m["type"] == "ping" for m in server.lines[0].heard), what="an answer")
        assert not any(m["type"] == "pong" for m in server.lines[0].heard)


async def test_a_server_that_fell_silent_is_left() -> None:
    async def script(line: Line) -> None:
        await line.establish(heartbeat=0.1)
        if line.number > 0:
            await read_log(line, CHANNEL, 3)

    reasons: list[str] = []
    async with (
        serving(script) as server,
        client_of(server, on_interruption=lambda reason, delay: reasons.append(reason)) as client,
    ):
        assert await offsets_of(client, 3) == [0, 1, 2]
    assert "silent" in reasons[0]


async def test_a_slow_consumer_stops_the_reading_and_not_the_heartbeat() -> None:
    sent = 0

    async def script(line: Line) -> None:
        nonlocal sent
        await line.establish(heartbeat=0.1)
        await line.answer_subscribe()
        hearing = asyncio.create_task(line.hear("nothing"))
        for sent in range(20_000):
            await line.event(sent, CHANNEL)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)

    async with serving(script) as server, client_of(server) as client:
        events = aiter(client.subscribe(CHANNEL, after="earliest"))
        assert (await anext(events))["offset"] == 0
        stream = client._streams[CHANNEL]
        await until(lambda: len(stream._items) >= MAX_ITEMS, what="a full buffer")
        stalled_at = sent

        def pings() -> int:
            return sum(message["type"] == "ping" for message in server.lines[0].heard)

        before = pings()
        await until(lambda: pings() >= before + 10, what="the client speaking while it reads nothing")
        assert stalled_at < 20_000
        assert len(stream._items) <= MAX_ITEMS
        rest = [(await anext(events))["offset"] for _ in range(19_999)]
        assert rest == list(range(1, 20_000))
        assert len(server.lines) == 1


async def test_a_gap_is_told_before_what_follows_it() -> None:
    async def script(line: Line) -> None:
        await line.establish()
        asked = await line.answer_subscribe()
        await line.send(type="gap", channels=[CHANNEL], requested=asked["after"], earliest="k:0=6", reason="retention")
        await line.event(7, CHANNEL)

    gaps: list[Gap] = []
    async with serving(script) as server, client_of(server) as client:
        stream = client.subscribe(CHANNEL, after="k:0=2", on_gap=gaps.append)
        items = []
        async for item in stream.items():
            items.append(item)
            if isinstance(item, Received):
                break
        assert [type(item).__name__ for item in items] == ["Moved", "Gap", "Moved", "Received"]
        assert [gap.reason for gap in gaps] == ["retention"]
        assert stream.position == "k:0=7"


async def test_a_task_s_stream_ends_with_its_terminal_event() -> None:
    async def script(line: Line) -> None:
        await line.establish()
        await line.answer_subscribe()
        await line.event(0, CHANNEL)
        await line.event(1, CHANNEL, type_="task_completed")

    async with serving(script) as server, client_of(server) as client:
        events = [event["type"] async for event in client.subscribe(CHANNEL, after="earliest")]
        assert events == ["task_output", "task_completed"]


async def test_a_stream_ends_when_nothing_more_will_come() -> None:
    async def script(line: Line) -> None:
        await line.establish()
        await line.answer_subscribe()
        await line.send(type="caught_up", channels=[CHANNEL], position="k:0=9", closed=True)

    async with serving(script) as server, client_of(server) as client:
        stream = client.subscribe(CHANNEL, after="k:0=9")
        assert [event async for event in stream] == []
        assert stream.position == "k:0=9"


async def test_a_denied_channel_ends_its_stream_alone() -> None:
    async def script(line: Line) -> None:
        await line.establish("k:0=4")
        asked = await line.hear("subscribe")
        await line.send(type="error", message="Channel access denied", code="access_denied", ref=asked["ref"])
        await read_log(line, "task:other", 1)

    async with serving(script) as server, client_of(server) as client:
        denied, other = client.subscribe(CHANNEL, after="earliest"), client.subscribe("task:other", after="earliest")
        with pytest.raises(AccessDenied, match="Channel access denied") as error:
            await anext(aiter(denied))
        assert error.value.channel == CHANNEL
        assert (await anext(aiter(other)))["offset"] == 0


async def test_a_channel_that_can_t_be_had_now_is_asked_for_again() -> None:
    async def script(line: Line) -> None:
        await line.establish()
        asked = await line.hear("subscribe")
        await line.send(type="error", message="away", code="history_unavailable", retry_after=0.01, ref=asked["ref"])
        await read_log(line, CHANNEL, 2)

    async with serving(script) as server, client_of(server) as client:
        assert await offsets_of(client, 2) == [0, 1]
        assert len(server.lines) == 1


async def test_an_ended_subscription_says_why() -> None:
    async def script(line: Line) -> None:
        await line.establish()
        await line.answer_subscribe()
        await line.send(type="unsubscribed", channel=CHANNEL, reason="removed")

    async with serving(script) as server, client_of(server) as client:
        with pytest.raises(Ended, match="removed"):
            await anext(aiter(client.subscribe(CHANNEL, after="earliest")))


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1008, "Invalid token", AuthenticationFailed),
        (1008, "Authentication required", AuthenticationFailed),
        (1008, "Project access denied", AccessDenied),
        (4401, "token expired", TokenExpired),
        (1009, "message too big", Rejected),
    ],
)
async def test_a_close_for_good_is_raised(code: int, reason: str, error: type[Exception]) -> None:
    async def script(line: Line) -> None:
        await line.socket.close(code, reason)

    async with serving(script) as server, client_of(server) as client:
        stream = client.subscribe(CHANNEL, after="earliest")
        with pytest.raises(error):
            await anext(aiter(stream))
        with pytest.raises(error):
            client.subscribe("task:other")
        assert len(server.lines) == 1


async def test_a_token_that_ran_out_is_renewed() -> None:
    made = 0

    async def token() -> str:
        nonlocal made
        made += 1
        return f"a.b.t{made}"

    async def script(line: Line) -> None:
        if line.token == "a.b.t1":
            await line.establish()
            await line.socket.close(4401, "token expired")
        elif line.token == "a.b.t2":
            await line.establish()
            await read_log(line, CHANNEL, 1)

    async with serving(script) as server, client_of(server, token=token) as client:
        assert await offsets_of(client, 1) == [0]


async def test_a_token_is_renewed_on_the_open_connection() -> None:
    tokens = iter(["a.b.t1", "a.b.t1", "a.b.t2", "a.b.t3"])
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise RuntimeError("the issuer is away")
        return next(tokens)

    async def script(line: Line) -> None:
        await line.establish()
        await line.answer_subscribe()
        await line.send(type="token_expiring", expires_at="2026-01-01T00:01:00Z")
        await line.send(type="token_expiring", expires_at="2026-01-01T00:01:00Z")
        first = await line.hear("authenticate")
        await line.send(type="error", message="away", code="unavailable", retry_after=0.1, ref=first["ref"])
        again = await line.hear("authenticate")
        await line.send(type="authentication_result", authenticated=True, expires_at="2026-01-01T01:00:00Z", ref="x")
        await line.send(type="authentication_result", authenticated=True, expires_at="", ref=again["ref"])
        assert (first["token"], again["token"]) == ("a.b.t2", "a.b.t3")
        await line.event(0, CHANNEL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lastseen.renewal.RETRY_SECONDS", 0.02)
        async with serving(script) as server, client_of(server, token=token) as client:
            assert await offsets_of(client, 1) == [0]
            assert len(server.lines) == 1
    assert asked == 5, "a failure, the same one as before, and two that were sent"


async def test_a_token_that_is_refused_on_the_open_connection_is_replaced_on_the_next() -> None:
    made = 0

    async def token() -> str:
        nonlocal made
        made += 1
        return f"a.b.t{made}"

    async def script(line: Line) -> None:
        await line.establish()
        if line.number == 0:
            await line.send(type="token_expiring", expires_at="2026-01-01T00:01:00Z")
            asked = await line.hear("authenticate")
            await line.send(type="error", message="Invalid token", code="invalid_token", ref=asked["ref"])
            await line.socket.close(4401, "Token expired")
        else:
            await read_log(line, CHANNEL, 1)

    async with serving(script) as server, client_of(server, token=token) as client:
        assert await offsets_of(client, 1) == [0]
        assert [line.token for line in server.lines] == ["a.b.t1", "a.b.t3"]


async def test_a_project_that_was_taken_away_costs_the_other_streams_nothing() -> None:
    async def script(line: Line) -> None:
        await line.establish()
        if line.number == 0:
            await line.send(type="unsubscribed", channel="project:p", reason="rights")
            line.break_()
        else:
            await read_log(line, CHANNEL, 1)

    async with serving(script) as server, client_of(server, project="p") as client:
        project, task = client.subscribe("project:p"), client.subscribe(CHANNEL, after="earliest")
        with pytest.raises(Ended) as ended:
            await anext(aiter(project))
        assert (ended.value.channel, ended.value.reason) == ("project:p", "rights")
        assert (await anext(aiter(task)))["offset"] == 0
        assert [line.project for line in server.lines] == ["p", None]


async def test_a_project_that_was_taken_away_meanwhile_ends_its_own_stream() -> None:
    async def script(line: Line) -> None:
        if line.number == 0:
            await line.establish()
            line.break_()
        elif line.project is not None:
            await line.socket.close(1008, "Project access denied")
        else:
            await line.establish()
            await read_log(line, CHANNEL, 1)

    async with serving(script) as server, client_of(server, project="p") as client:
        project, task = client.subscribe("project:p"), client.subscribe(CHANNEL, after="earliest")
        with pytest.raises(AccessDenied):
            await anext(aiter(project))
        assert (await anext(aiter(task)))["offset"] == 0
        assert [line.project for line in server.lines] == ["p", "p", None]


async def test_what_is_taken_together_is_confirmed_when_the_consumer_comes_back() -> None:
    async def script(line: Line) -> None:
        await line.establish("k:0=4", live=False)
        await line.event(5, "user:u")
        await line.event(6, "user:u")
        await line.send(type="caught_up", channels=["user:u"], position="k:0=6")
        await line.send(type="ping", timestamp="", position="k:0=6")
        await line.event(7, "user:u", replay=False)

    def acked(server: WireServer) -> list[str]:
        return [message["position"] for message in server.lines[0].heard if message["type"] == "ack"]

    async with serving(script) as server, client_of(server) as client:
        stream = client.subscribe("user:u")
        await until(lambda: len(stream._items) >= 6, what="all of it in the buffer")
        taken = stream.take()
        assert [item.event["offset"] for item in taken if isinstance(item, Received)] == [5, 6]
        assert [item.event["offset"] for item in stream.take() if isinstance(item, Received)] == [7]
        await until(lambda: acked(server) == ["k:0=6"], what="the confirmation")
        asking = asyncio.create_task(client.ack())
        await until(lambda: acked(server) == ["k:0=6", "k:0=7"], what="what is asked for")
        asking.cancel()


async def test_without_auto_ack_nothing_is_confirmed_by_itself() -> None:
    async def script(line: Line) -> None:
        await line.establish("k:0=4", live=False)
        await line.event(5, "user:u")
        await line.send(type="caught_up", channels=["user:u"], position="k:0=5")
        await line.send(type="ping", timestamp="", position="k:0=5")
        await line.event(6, "user:u", replay=False)

    async with serving(script) as server, client_of(server, auto_ack=False) as client:
        with pytest.raises(ValueError, match="nothing of the own user channel"):
            await client.ack()
        events = aiter(client.subscribe("user:u"))
        assert [(await anext(events))["offset"] for _ in range(2)] == [5, 6]
        assert {message["type"] for message in server.lines[0].heard} <= {"ping", "subscribe"}


async def test_a_token_renewed_in_vain_is_given_up() -> None:
    async def token() -> str:
        return TOKEN

    async def script(line: Line) -> None:
        await line.socket.close(1008, "Invalid token")

    async with serving(script) as server, client_of(server, token=token) as client:
        with pytest.raises(AuthenticationFailed):
            await offsets_of(client, 1)
        assert len(server.lines) == 2


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"type": "caught_up"}'])
async def test_a_server_that_talks_nonsense_is_left_for_another_try(text: str) -> None:
    async def script(line: Line) -> None:
        await line.establish()
        if line.number == 0:
            await line.socket.send(text)
        else:
            await read_log(line, CHANNEL, 1)

    async with serving(script) as server, client_of(server) as client:
        assert await offsets_of(client, 1) == [0]


async def test_closing_the_client_ends_its_streams() -> None:
    async def script(line: Line) -> None:
        await line.establish()

    async with serving(script) as server:
        async with client_of(server) as client:
            stream = client.subscribe(CHANNEL)
            reading = asyncio.create_task(_first(stream))
            await until(lambda: server.lines, what="a connection")
        with pytest.raises(Closed):
            await reading
        with pytest.raises(Closed):
            client.subscribe("task:other")


async def _first(stream: Stream) -> object:
    return await anext(aiter(stream))


async def test_a_channel_left_and_taken_again_begins_anew() -> None:
    async def script(line: Line) -> None:
        await line.establish()
        await read_log(line, CHANNEL, 5)
        await line.hear("unsubscribe")
        await line.send(type="unsubscription_result", channel=CHANNEL, unsubscribed=True)
        await read_log(line, CHANNEL, 5)

    async with serving(script) as server, client_of(server) as client:
        for _ in range(2):
            async with client.subscribe(CHANNEL, after="earliest") as stream:
                events = aiter(stream)
                assert [(await anext(events))["offset"] for _ in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("url", ["", "ftp://host", "host:80", "http://"])
def test_an_address_that_can_t_work_says_so(url: str) -> None:
    with pytest.raises(ValueError, match="no address of a service"):
        Client(url, TOKEN)


@pytest.mark.parametrize("client_id", ["", "a b", "x" * 129])
def test_a_name_that_can_t_be_says_so(client_id: str) -> None:
    with pytest.raises(ValueError, match=r"client_id .*use 1 to 128"):
        Client("http://127.0.0.1:9", TOKEN, client_id=client_id)


async def test_a_token_that_no_header_carries_is_refused_here() -> None:
    async with Client("http://127.0.0.1:9", "a b\r\nc") as client:
        with pytest.raises(AuthenticationFailed, match="no JWT"):
            await offsets_of(client, 1)
