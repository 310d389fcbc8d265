"""When records count as lost, and of which life of the topic a record is."""

from dataclasses import replace

import pytest

from service.domain.epochs import Loss, LostRange, described
from service.domain.loss import LOOKS, Entry, Look, Suspicion, first_difference, suspect
from service.domain.records import Record
from service.domain.rights import Rights
from service.domain.stamps import Lives
from tests.raw import APPENDED_AT, Raw, raw_of, task_event
from tests.records import record_of


def look(at: float, known: list[int], ends: list[int], **differs: int) -> Look:
    """Partitions by their place; `p1=50` for a difference at 50."""
    found = {int(name[1:]): offset for name, offset in differs.items()}
    return Look(at, dict(enumerate(known)), dict(enumerate(ends)), found)


def folded(*looks: Look) -> Suspicion | None:
    found: Suspicion | None = None
    for one in looks:
        found = suspect(found, one)
    return found


def test_nothing_is_suspected_where_kafka_has_all_that_was_read() -> None:
    assert folded(look(0, [100, 0], [100, 0])) is None
    assert folded(look(0, [100, 80], [170, 81])) is None


def test_an_end_that_comes_back_was_late_and_nothing_is_lost() -> None:
    assert folded(look(0, [100], [50]), look(1, [100], [50]), look(9, [100], [100])) is None
    # Seen again it begins anew.
    again = folded(look(0, [100], [50]), look(9, [100], [100]), look(20, [100], [50]))
    assert again is not None
    assert (again.since, again.looks) == (20, 1)


@pytest.mark.parametrize(
    ("times", "confirmed"), [([0], False), ([0, 9], False), ([0, 1, 2], False), ([0, 1, 4.9], False), ([0, 1, 5], True)]
)
def test_a_loss_is_believed_after_enough_looks_and_time(times: list[float], confirmed: bool) -> None:
    assert LOOKS == 3
    found = folded(*(look(at, [100], [50]) for at in times))
    assert found is not None
    assert found.is_confirmed(5) is confirmed


def test_another_partition_begins_anew_and_one_more_does_not() -> None:
    other = folded(look(0, [100, 100], [50, 100]), look(1, [100, 100], [100, 60]))
    assert other is not None
    assert other.since == 1
    more = folded(look(0, [100, 100], [50, 100]), look(1, [100, 100], [50, 60]))
    assert more is not None
    assert (more.since, more.looks) == (0, 2)
    assert more.ranges == (LostRange(0, 50, 100), LostRange(1, 60, 100))


def test_what_is_lost_reaches_from_the_lowest_end_to_what_was_known_first() -> None:
    # Refilled meanwhile, past what was read; somebody has even gone on reading. The records tell.
    found = folded(
        look(0, [100, 7], [50, 9]),
        look(1, [100, 8], [70, 9]),
        look(2, [140, 9], [150, 12], p0=50),
        look(9, [140, 9], [160, 12], p0=52),
    )
    assert found is not None
    assert found.is_confirmed(5)
    assert found.ranges == (LostRange(0, 50, 100), LostRange(1, 12, 12))
    assert described(found.ranges) == "partition 0 [50, 100)"
    assert Loss(2, found.ranges).offsets == 50


def test_records_that_differ_are_found_by_id_and_time() -> None:
    raws = [raw_of(0, offset, task_event(id=f"e{offset}"), timestamp=APPENDED_AT + offset) for offset in range(5)]
    entries = [Entry(offset, f"e{offset}", APPENDED_AT + offset) for offset in range(5)]
    assert first_difference(entries, raws) is None
    assert first_difference((), raws) is None
    assert first_difference(entries, raws[:3]) == 3, "none there"
    assert first_difference(entries, [*raws[:2], replace(raws[2], timestamp=APPENDED_AT), *raws[3:]]) == 2
    assert first_difference(entries, [raw_of(0, 0, task_event(id="f"), timestamp=APPENDED_AT), *raws[1:]]) == 0
    assert first_difference(entries, [*raws[:4], Raw(0, 4, None, timestamp=APPENDED_AT + 4)]) == 4


def test_what_outlived_a_loss_keeps_its_life() -> None:
    losses = (Loss(2, (LostRange(0, 50, 100), LostRange(1, 80, 80))), Loss(3, (LostRange(0, 60, 70),)))
    lives = Lives(1, losses)
    assert [lives.of(0, offset) for offset in (49, 50, 59, 60, 99)] == [1, 2, 2, 3, 3]
    # Partition 1 was not there any more when the third began, as far as this tells: all of it is of then.
    assert lives.of(1, 0) == 3
    assert [Lives(1, losses[:1]).of(1, offset) for offset in (79, 80)] == [1, 2]
    assert Lives(4, losses).of(0, 99) == 4, "losses of an earlier topic"
    lower = Lives(1, (losses[0], Loss(3, (LostRange(0, 40, 60),))))
    assert [lower.of(0, offset) for offset in (39, 40, 55)] == [1, 3, 3]


def test_a_removal_that_was_lost_is_not_undone_by_reading_again_and_what_is_new_beats_it() -> None:
    def of_bob(offset: int, type_: str, **data: str) -> Record:
        return record_of(offset, type_, project_id="p", user_id="boss", data={"user_id": "bob", **data})

    made = record_of(0, "project_created", project_id="p", user_id="ann")
    joined, left = of_bob(25, "project_member_added"), of_bob(60, "project_member_removed")
    before = Rights(1)
    for record in (made, joined, left):
        before.apply(record)
    after = Rights(1, losses=(Loss(2, (LostRange(0, 50, 100),)),))
    after.load(*before.everything(), others=())
    for record in (made, joined):
        assert after.apply(record) is None
    assert after.was_removed("p", "bob")
    again = of_bob(51, "project_member_added", role="viewer")
    assert after.apply(again) is not None
    assert after.role_of("p", "bob") == "viewer"
    # Without the loss it would be older than the removal.
    assert before.apply(again) is None
