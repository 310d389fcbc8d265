"""The rules of the protocol's "What a client must do", one by one."""

from typing import Any

import pytest
from lastseen.errors import ProtocolError
from lastseen.notices import (
    Answer,
    Ask,
    Begun,
    CaughtUp,
    Delivery,
    Established,
    FellBehind,
    Gap,
    Notice,
    Ping,
    Refused,
    Unsubscribed,
)
from lastseen.positions import Position
from lastseen.session import Session
from lastseen.transitions import TABLE, Effect, Input, State


def established(*subscriptions: tuple[str, str, bool]) -> dict[str, Any]:
    return {
        "type": "connection_established",
        "connection_id": "c1",
        "timestamp": "2026-01-01T00:00:00Z",
        "user_id": "u",
        "node": "n1",
        "protocol": 1,
        "heartbeat_seconds": 30,
        "subscriptions": [{"channel": c, "position": p, "live": live} for c, p, live in subscriptions],
    }


def event(partition: int, offset: int, *channels: str, replay: list[str] | None = None) -> dict[str, Any]:
    more = {} if replay is None else {"replay": replay}
    return {"id": f"{partition}-{offset}", "channels": list(channels), **more, "partition": partition, "offset": offset}


def result(channel: str, position: str, **more: Any) -> dict[str, Any]:
    return {"type": "subscription_result", "channel": channel, "subscribed": True, "position": position, **more}


def delivered(items: list[Delivery | Notice]) -> list[tuple[int, int, tuple[str, ...]]]:
    return [(i.event["partition"], i.event["offset"], i.channels) for i in items if isinstance(i, Delivery)]


def gap(reason: str, requested: str, earliest: str, *channels: str) -> dict[str, Any]:
    return {"type": "gap", "channels": list(channels), "requested": requested, "earliest": earliest, "reason": reason}


def token(session: Session, channel: str) -> str:
    position = session.position(channel)
    assert position is not None
    return position.token


@pytest.fixture
def session() -> Session:
    """Connected, live on user:u and project:p, both at k:0=10,1=5."""
    session = Session()
    assert session.resume().after is None
    session.receive(established(("user:u", "k:0=10,1=5", True), ("project:p", "k:0=10,1=5", True)))
    return session


def test_every_cell_of_the_table_is_written() -> None:
    for state in State:
        assert set(TABLE[state]) == set(Input), state


def test_only_a_subscribed_channel_counts_or_moves() -> None:
    for input_, step in TABLE[State.IDLE].items():
        if step.effect is not Effect.KEEP:
            assert step.state is not State.IDLE, input_
    for state in (State.CATCHING_UP, State.LIVE):
        assert TABLE[state][Input.ENDED].state is State.IDLE
        assert TABLE[state][Input.DISCONNECTED].state is State.IDLE


def test_the_connection_names_the_automatic_subscriptions() -> None:
    session = Session()
    session.resume()
    items = session.receive(established(("user:u", "k:0=1", False), ("broadcast", "k:0=2", True)))
    assert items == [
        Established("c1", "u", "n1", 30.0, ("user:u", "broadcast")),
        Begun("user:u", Position("k", {0: 1}), None),
        Begun("broadcast", Position("k", {0: 2}), None),
    ]
    assert session.state("user:u") is State.CATCHING_UP
    assert session.state("broadcast") is State.LIVE
    assert session.epoch == "k"


def test_a_live_event_counts_once_for_every_live_channel_it_names(session: Session) -> None:
    items = session.receive(event(0, 11, "task:t", "project:p", "user:u"))
    assert delivered(items) == [(0, 11, ("project:p", "user:u"))]
    assert session.receive(event(0, 11, "project:p")) == []
    assert session.receive(event(0, 9, "project:p")) == []
    assert delivered(session.receive(event(1, 6, "user:u"))) == [(1, 6, ("user:u",))]
    assert token(session, "user:u") == "k:0=11,1=6"
    assert token(session, "project:p") == "k:0=11,1=5"


def test_a_live_event_does_not_count_while_catching_up(session: Session) -> None:
    session.receive({"type": "fell_behind", "channels": ["project:p"], "position": "k:0=10,1=5"})
    assert delivered(session.receive(event(0, 11, "project:p", "user:u"))) == [(0, 11, ("user:u",))]
    replay = session.receive(event(0, 11, "project:p", "user:u", replay=["project:p"]))
    assert delivered(replay) == [(0, 11, ("project:p",))]
    assert isinstance(replay[0], Delivery)
    assert replay[0].replayed
    assert "replay" not in replay[0].event


def test_a_replay_of_a_channel_that_is_not_subscribed_counts_for_nobody(session: Session) -> None:
    assert session.receive(event(0, 11, "task:t", replay=["task:t"])) == []


def test_a_partition_that_the_position_leaves_out_means_earliest(session: Session) -> None:
    session.subscribe("task:t", ("after", "k:"))
    session.receive(result("task:t", "k:"))
    assert delivered(session.receive(event(3, 0, "task:t", replay=["task:t"]))) == [(3, 0, ("task:t",))]


def test_minus_one_is_an_offset_like_any_other(session: Session) -> None:
    session.subscribe("task:t", ("after", "k:0=-1"))
    session.receive(result("task:t", "k:0=-1"))
    assert delivered(session.receive(event(0, 0, "task:t", replay=["task:t"]))) == [(0, 0, ("task:t",))]
    assert token(session, "task:t") == "k:0=0"


@pytest.mark.parametrize(
    "message",
    [
        established(("project:p", "k:0=3,1=9", True)),
        result("project:p", "k:0=3,1=9"),
        {"type": "caught_up", "channels": ["project:p"], "position": "k:0=3,1=9"},
        {"type": "fell_behind", "channels": ["project:p"], "position": "k:0=3,1=9"},
        {"type": "ping", "timestamp": "", "position": "k:0=3,1=9"},
        gap("retention", "k:0=1", "k:0=3,1=9", "project:p"),
        gap("lost", "k:0=1", "k:0=3,1=9", "project:p"),
        gap("quarantine", "k:0=1", "k:0=3,1=9", "project:p"),
    ],
    ids=lambda message: str(message["type"]),
)
def test_nothing_lowers_a_position(session: Session, message: dict[str, Any]) -> None:
    session.receive(message)
    assert token(session, "project:p") == "k:0=10,1=9"


def test_an_epoch_gap_sets_the_position(session: Session) -> None:
    items = session.receive(gap("epoch", "k:0=10,1=5", "n:0=2", "project:p"))
    assert items == [Gap(("project:p",), Position("k", {0: 10, 1: 5}), Position("n", {0: 2}), "epoch")]
    assert token(session, "project:p") == "n:0=2"
    assert session.epoch == "n"
    assert delivered(session.receive(event(0, 3, "project:p"))) == [(0, 3, ("project:p",))]


def test_a_ping_raises_live_subscriptions_only(session: Session) -> None:
    session.receive({"type": "fell_behind", "channels": ["project:p"], "position": "k:0=10"})
    assert session.receive({"type": "ping", "timestamp": "", "position": "k:0=20,1=20"}) == [Ping()]
    assert token(session, "user:u") == "k:0=20,1=20"
    assert token(session, "project:p") == "k:0=10,1=5"


def test_caught_up_and_fell_behind_raise_and_switch_those_they_name(session: Session) -> None:
    assert session.receive({"type": "fell_behind", "channels": ["project:p"], "position": "k:0=12"}) == [
        FellBehind(("project:p",))
    ]
    assert session.state("project:p") is State.CATCHING_UP
    assert session.state("user:u") is State.LIVE
    items = session.receive({"type": "caught_up", "channels": ["project:p"], "position": "k:1=8", "closed": True})
    assert items == [CaughtUp(("project:p",), closed=True)]
    assert session.state("project:p") is State.LIVE
    assert token(session, "project:p") == "k:0=12,1=8"
    assert token(session, "user:u") == "k:0=10,1=5"


def test_a_subscribe_without_start_keeps_the_stream(session: Session) -> None:
    session.receive({"type": "fell_behind", "channels": ["project:p"], "position": "k:0=10"})
    message = session.subscribe("project:p")
    assert message == {"type": "subscribe", "channel": "project:p", "ref": message["ref"]}
    session.receive(result("project:p", "k:0=11", ref=message["ref"]))
    assert session.state("project:p") is State.CATCHING_UP


def test_a_subscribe_with_start_begins_anew(session: Session) -> None:
    message = session.subscribe("project:p", ("after", "k:0=3"))
    assert message["after"] == "k:0=3"
    assert delivered(session.receive(event(0, 11, "project:p"))) == [(0, 11, ("project:p",))]
    assert session.receive(result("project:p", "k:0=3", ref=message["ref"], recovered=True)) == [
        Begun("project:p", Position("k", {0: 3}), recovered=True, answers=True)
    ]
    assert session.state("project:p") is State.CATCHING_UP
    assert session.receive(event(0, 12, "project:p")) == []
    assert delivered(session.receive(event(0, 4, "project:p", replay=["project:p"]))) == [(0, 4, ("project:p",))]


def test_the_answer_is_found_without_a_ref_too(session: Session) -> None:
    session.subscribe("task:t", ("last", 5))
    session.receive(result("task:t", "k:0=3"))
    assert session.state("task:t") is State.CATCHING_UP


def test_unsubscribed_ends_the_stream_and_not_the_position(session: Session) -> None:
    assert session.receive({"type": "unsubscribed", "channel": "project:p", "reason": "removed"}) == [
        Unsubscribed("project:p", "removed")
    ]
    assert session.state("project:p") is State.IDLE
    assert token(session, "project:p") == "k:0=10,1=5"
    assert session.receive(event(0, 11, "project:p")) == []


def test_what_still_comes_of_a_channel_that_was_given_up_is_nobodys(session: Session) -> None:
    message = session.unsubscribe("project:p")
    assert session.receive(event(0, 11, "project:p")) == []
    answer = {"type": "unsubscription_result", "channel": "project:p", "unsubscribed": True, "ref": message["ref"]}
    assert session.receive(answer) == [Unsubscribed("project:p", None)]
    assert session.receive(event(0, 12, "project:p")) == []


@pytest.mark.parametrize("is_refused", [False, True])
def test_an_answer_to_one_who_has_left_is_not_for_the_next(session: Session, is_refused: bool) -> None:
    first = session.subscribe("task:t", ("after", "earliest"))["ref"]
    left = session.unsubscribe("task:t")["ref"]
    second = session.subscribe("task:t")["ref"]
    refusal = {"type": "error", "message": "no", "code": "access_denied", "ref": first}
    assert session.receive(refusal if is_refused else result("task:t", "earliest", ref=first)) == []
    assert session.receive(event(0, 1, "task:t", replay=["task:t"])) == []
    session.receive({"type": "unsubscription_result", "channel": "task:t", "unsubscribed": True, "ref": left})
    items = session.receive(result("task:t", "k:0=11", ref=second))
    assert items == [Begun("task:t", Position("k", {0: 11}), None, answers=True)]
    assert delivered(session.receive(event(0, 12, "task:t"))) == [(0, 12, ("task:t",))]


def test_a_start_whose_caller_has_left_brings_nothing_twice(session: Session) -> None:
    asked = session.subscribe("project:p", ("after", "earliest"))["ref"]
    session.leave("project:p")
    joined = session.subscribe("project:p")["ref"]
    assert delivered(session.receive(event(0, 11, "project:p"))) == [(0, 11, ("project:p",))]
    session.receive(result("project:p", "earliest", ref=asked))
    session.receive(result("project:p", "earliest", ref=joined))
    for offset in (9, 10, 11):
        assert session.receive(event(0, offset, "project:p", replay=["project:p"])) == []
    assert delivered(session.receive(event(0, 12, "project:p", replay=["project:p"]))) == [(0, 12, ("project:p",))]
    session.receive({"type": "caught_up", "channels": ["project:p"], "position": "k:0=12,1=5"})
    assert delivered(session.receive(event(0, 13, "project:p"))) == [(0, 13, ("project:p",))]


def test_a_denial_is_final_and_an_absence_is_not(session: Session) -> None:
    denied = session.subscribe("task:t")["ref"]
    items = session.receive({"type": "error", "message": "Channel access denied", "code": "denied", "ref": denied})
    assert items == [Refused("task:t", "Channel access denied", "denied", None)]
    assert "task:t" not in session.wanted
    away = session.subscribe("task:s", ("after", "earliest"))["ref"]
    items = session.receive(
        {"type": "error", "message": "away", "code": "history_unavailable", "retry_after": 2, "ref": away}
    )
    assert items == [Refused("task:s", "away", "history_unavailable", 2.0)]
    assert session.subscribe("task:s")["after"] == "earliest"


def test_coming_back_asks_with_each_position(session: Session) -> None:
    session.subscribe("task:t", ("after", "k:0=1,1=1"))
    session.receive(result("task:t", "k:0=1,1=1"))
    session.receive(event(0, 2, "task:t", replay=["task:t"]))
    session.receive(event(0, 11, "project:p"))
    session.receive({"type": "ping", "timestamp": "", "position": "k:0=11,1=7"})
    session.receive(event(1, 8, "user:u"))
    session.on_disconnected()
    assert session.state("user:u") is State.IDLE
    resume = session.resume()
    assert resume.after == "k:0=11,1=7"
    assert [(m["channel"], m["after"]) for m in resume.messages] == [("task:t", "k:0=2,1=1")]
    session.receive(established(("user:u", "k:0=11,1=7", False), ("project:p", "k:0=11,1=7", False)))
    assert token(session, "user:u") == "k:0=11,1=8"
    assert session.receive(event(1, 8, "user:u", replay=["user:u", "project:p"])) != []
    assert token(session, "project:p") == "k:0=11,1=8"


def test_a_start_that_was_not_confirmed_is_asked_for_again(session: Session) -> None:
    session.subscribe("task:t", ("last", 7))
    session.subscribe("project:p", ("after", "k:0=3"))
    messages = session.resume().messages
    assert {(m["channel"], m.get("last"), m.get("after")) for m in messages} == {
        ("task:t", 7, None),
        ("project:p", None, "k:0=3"),
    }


def test_a_start_from_earliest_has_a_token_once_an_event_came(session: Session) -> None:
    session.subscribe("task:t", ("after", "earliest"))
    session.receive(result("task:t", "earliest"))
    assert token(session, "task:t") == "earliest"
    session.receive(event(0, 2, "task:t", replay=["task:t"]))
    assert token(session, "task:t") == "k:0=2"
    session.receive({"type": "caught_up", "channels": ["task:t"], "position": "k:0=1,1=7"})
    assert token(session, "task:t") == "k:0=2,1=7"


def test_channels_on_two_sides_of_an_epoch_come_back_by_the_old_one(session: Session) -> None:
    session.receive(gap("epoch", "k:0=10,1=5", "n:0=2", "user:u"))
    session.receive(event(0, 7, "user:u"))
    assert session.resume().after == "k:0=10,1=5"
    # The echo of the old token says nothing to the channel that has left it, nor does the other one's gap.
    session.receive(established(("user:u", "k:0=10,1=5", False), ("project:p", "k:0=10,1=5", False)))
    session.receive(gap("epoch", "k:0=10,1=5", "n:0=2", "user:u", "project:p"))
    assert token(session, "user:u") == "n:0=7"
    assert token(session, "project:p") == "n:0=2"


@pytest.mark.parametrize("start", ["earliest", "k:0=3"])
def test_an_automatic_channel_that_wants_all_that_is_held_hides_no_gap_of_the_others(
    session: Session, start: str
) -> None:
    session.subscribe("user:u", ("after", start))
    session.receive(result("user:u", start))
    resume = session.resume()
    assert resume.after == "k:0=10,1=5"
    assert [(m["channel"], m["after"]) for m in resume.messages] == [("user:u", start)]
    # Its stream is the one that was asked for, not the one that the connection begins further on.
    session.receive(established(("user:u", "k:0=10,1=5", False), ("project:p", "k:0=10,1=5", False)))
    assert token(session, "user:u") == start
    session.receive(result("user:u", start, ref=resume.messages[0]["ref"]))
    assert delivered(session.receive(event(1, 2, "user:u", replay=["user:u"]))) == [(1, 2, ("user:u",))]


def test_automatic_channels_that_each_lack_a_partition_come_back_by_themselves(session: Session) -> None:
    for channel, start in (("user:u", "k:0=3"), ("project:p", "k:1=4")):
        session.subscribe(channel, ("after", start))
        session.receive(result(channel, start))
    resume = session.resume()
    assert resume.after is None
    assert [(m["channel"], m["after"]) for m in resume.messages] == [("user:u", "k:0=3"), ("project:p", "k:1=4")]


def test_an_epoch_that_nobody_announced_is_told_as_a_gap(session: Session) -> None:
    items = session.receive({"type": "ping", "timestamp": "", "position": "n:0=1"})
    assert [i.channels for i in items if isinstance(i, Gap)] == [("user:u",), ("project:p",)]
    assert token(session, "project:p") == "n:0=1"


def test_an_event_may_be_named_like_a_message_of_the_protocol(session: Session) -> None:
    named = {"type": "ping", **event(0, 11, "project:p")}
    assert delivered(session.receive(named)) == [(0, 11, ("project:p",))]


def test_what_it_does_not_know_is_handed_on(session: Session) -> None:
    message = {"type": "input_result", "ref": "x", "success": True}
    assert session.receive(message) == [Answer(message)]
    error = {"type": "error", "message": "Unknown message type: x", "code": "unknown_type"}
    assert session.receive(error) == [Answer(error)]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": "caught_up"},
        {"type": "caught_up", "channels": 3, "position": "k:0=1"},
        {"type": "ping", "position": "nonsense"},
        {"type": "connection_established", "subscriptions": [3]},
        {"partition": 0, "offset": 1},
        {"partition": 0, "offset": "x", "channels": ["project:p"]},
    ],
)
def test_a_message_that_means_nothing_says_so(session: Session, message: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="protocol version 1"):
        session.receive(message)


def test_asked_for_before_the_greeting_what_came_while_away_comes_all_the_same() -> None:
    session = Session()
    session.resume()
    session.receive(established(("user:u", "k:0=5", True)))
    session.receive({"type": "error", "code": "history_unavailable", "channel": "user:u", "message": "away"})
    assert delivered(session.receive(event(0, 6, "user:u"))) == [(0, 6, ("user:u",))]
    assert session.resume().after is None
    message = session.subscribe("user:u")
    assert "after" not in message, "from its position, which passes over what is owed"
    session.receive(established(("user:u", "k:0=-1", False)))
    session.receive(result("user:u", "k:0=-1", ref=message["ref"]))
    assert delivered(session.receive(event(0, 3, "user:u", replay=["user:u"]))) == [(0, 3, ("user:u",))]
    assert delivered(session.receive(event(0, 6, "user:u", replay=["user:u"]))) == []
    session.receive({"type": "caught_up", "channels": ["user:u"], "position": "k:0=6"})
    assert not session.owes_offline


def test_an_answer_does_not_pass_over_what_was_asked_for_before_where_it_began() -> None:
    session = Session()
    session.resume()
    session.receive(established(("user:u", "k:0=2", False)))
    assert session.resume().after is None
    joined = session.subscribe("user:u")
    # Another client with the same cursor has confirmed more than came here.
    (asked,) = [i for i in session.receive(established(("user:u", "k:0=5", False))) if isinstance(i, Ask)]
    assert asked.message["after"] == "k:0=2"
    session.receive(result("user:u", "k:0=5", ref=joined["ref"]))
    session.receive(result("user:u", "k:0=2", ref=asked.message["ref"]))
    assert delivered(session.receive(event(0, 3, "user:u", replay=["user:u"]))) == [(0, 3, ("user:u",))]
