import threading
import time
from concurrent.futures import Future

import pytest
from lastseen.emitting import Emitted
from lastseen.errors import Closed, LogUnavailable
from lastseen.in_flight import InFlight, Pending

DONE = Emitted("e", 0, 7)


def pending(timeout: float = 30.0) -> Pending:
    return Pending("e", "here:9092", timeout)


def test_an_answer_comes_through_once() -> None:
    flight, one = InFlight(), pending()
    assert flight.add(one, 10)
    flight.settle(one, DONE)
    flight.settle(one, Closed("too late"))
    assert one.result() == DONE
    assert flight.wait(0) == 0


def test_what_is_not_answered_in_time_raises_and_may_still_be_answered() -> None:
    flight, one = InFlight(), pending(0.05)
    flight.add(one, 10)
    with pytest.raises(LogUnavailable, match=r"event e: no answer within 0.05 s.*id='e'") as caught:
        one.result()
    assert caught.value.id == "e"
    assert isinstance(one.exception(), LogUnavailable)
    assert flight.wait(0) == 1
    flight.settle(one, DONE)
    assert one.result() == DONE
    assert one.exception() is None


def test_a_shorter_wait_of_the_callers_own_is_a_timeout() -> None:
    one = pending()
    with pytest.raises(TimeoutError):
        one.result(0.01)
    with pytest.raises(TimeoutError):
        one.exception(0.01)
    assert not one.cancel(), "what is on its way can't be called back"


def test_an_event_waits_for_room_and_no_longer_than_its_deadline() -> None:
    for flight, size in ((InFlight(max_events=1), 1), (InFlight(max_bytes=100), 60)):
        first, second = pending(), pending()
        assert flight.add(first, size)
        assert not flight.add(pending(0.02), size)
        waiting = threading.Thread(target=flight.add, args=(second, size))
        waiting.start()
        flight.settle(first, DONE)
        waiting.join(10)
        assert not waiting.is_alive()
        flight.settle(second, DONE)
        assert second.result() == DONE


def test_an_event_of_any_size_finds_room_alone() -> None:
    flight = InFlight(max_bytes=100)
    assert flight.add(pending(), 1_000)
    assert not flight.add(pending(0.02), 1)


def test_a_callback_may_take_on_another_event() -> None:
    flight, one, other = InFlight(max_events=2), pending(), pending()
    flight.add(one, 1)

    def go_on(_: Future[Emitted]) -> None:
        flight.add(other, 1)

    one.add_done_callback(go_on)
    flight.settle(one, DONE)
    assert flight.wait(0) == 1
    flight.give_up(Closed("closed"))
    with pytest.raises(Closed):
        other.result()


def test_whoever_waits_for_all_is_told_how_many_are_missing() -> None:
    flight = InFlight()
    some = [pending() for _ in range(3)]
    for one in some:
        flight.add(one, 1)
    flight.settle(some[0], DONE)
    started = time.monotonic()
    assert flight.wait(0.05) == 2
    assert time.monotonic() - started >= 0.05
