"""What one user and one address may have and do; and when tokens end."""

import pytest

from service.addresses import address_block
from service.domain.limits import (
    BURST,
    BYTES_EACH,
    TOO_MANY_FROM_ADDRESS,
    TOO_MANY_OF_USER,
    Allowed,
    Guest,
    Limits,
)
from service.domain.renewal import Due, next_due

ALLOWED = Allowed(
    connections_per_user=3,
    connections_per_address=5,
    messages_per_user=2,
    messages_per_address=5,
    failures_per_address=1,
    tickets_per_user=1,
)


def enter(limits: Limits, user: str, address: str | None) -> Guest:
    guest = limits.enter(user, address)
    assert isinstance(guest, Guest), guest
    return guest


def test_a_user_has_so_many_connections() -> None:
    limits = Limits(ALLOWED)
    guests = [enter(limits, "ann", None) for _ in range(3)]
    assert limits.enter("ann", None) == TOO_MANY_OF_USER
    enter(limits, "bob", None)
    guests[0].leave()
    guests[0].leave()
    enter(limits, "ann", None)
    assert limits.enter("ann", None) == TOO_MANY_OF_USER, "leaving twice makes no room for two"


def test_an_address_has_so_many_connections() -> None:
    limits = Limits(ALLOWED)
    guests = [enter(limits, f"u{number}", "10.0.0.1") for number in range(5)]
    assert limits.enter("u9", "10.0.0.1") == TOO_MANY_FROM_ADDRESS
    enter(limits, "u9", "10.0.0.2")
    enter(limits, "u9", None)
    assert limits.enter("u0", "10.0.0.1") == TOO_MANY_FROM_ADDRESS
    guests[1].leave()
    enter(limits, "u8", "10.0.0.1")
    assert limits.enter("u7", "10.0.0.1") == TOO_MANY_FROM_ADDRESS


def test_who_is_refused_is_not_counted() -> None:
    limits = Limits(ALLOWED)
    for _ in range(3):
        enter(limits, "ann", "10.0.0.1")
    for _ in range(9):
        assert limits.enter("ann", "10.0.0.1") == TOO_MANY_OF_USER
    enter(limits, "bob", "10.0.0.1")
    enter(limits, "cat", "10.0.0.1")
    assert limits.enter("dan", "10.0.0.1") == TOO_MANY_FROM_ADDRESS


def test_a_user_sends_so_many_messages_over_all_connections() -> None:
    limits = Limits(ALLOWED)
    first, second = enter(limits, "ann", None), enter(limits, "ann", None)
    assert sum(guest.message(0.0) for guest in [first, second] * 50) == 2 * BURST
    assert sum(first.message(second_) for second_ in [1.0] * 9) == 2
    assert enter(limits, "bob", None).message(1.0)
    first.leave()
    second.leave()
    assert not enter(limits, "ann", None).message(1.0), "coming back does not give a new burst"


def test_a_long_message_counts_as_several() -> None:
    limits = Limits(ALLOWED)
    ann, bob = enter(limits, "ann", None), enter(limits, "bob", None)
    assert sum(ann.message(0.0, BYTES_EACH - 1) for _ in range(50)) == 2 * BURST
    assert sum(bob.message(0.0, 3 * BYTES_EACH) for _ in range(50)) == 2 * BURST // 4
    cat = enter(limits, "cat", None)
    assert cat.message(0.0, 1_000_000), "more than may ever come at once is all of that"
    assert not cat.message(0.0)


def test_an_address_sends_so_many_messages_over_all_users() -> None:
    limits = Limits(ALLOWED)
    guests = [enter(limits, f"u{number}", "10.0.0.1") for number in range(5)]
    assert sum(guest.message(0.0) for guest in guests * 50) == 5 * BURST
    assert enter(limits, "u0", None).message(0.0), "what the address was refused has cost the user nothing"


def test_failures_of_an_address() -> None:
    limits = Limits(ALLOWED)
    for _ in range(BURST):
        assert limits.after_failures("10.0.0.1", 0.0) == 0
        limits.failed("10.0.0.1", 0.0)
    assert limits.after_failures("10.0.0.1", 0.25) == pytest.approx(0.75)
    assert limits.after_failures("10.0.0.1", 1.0) == 0
    assert limits.after_failures("10.0.0.2", 0.0) == 0
    limits.failed(None, 0.0)
    assert limits.after_failures(None, 0.0) == 0


def test_tickets_of_a_user() -> None:
    limits = Limits(ALLOWED)
    assert [limits.ticket("ann", 5.0) for _ in range(BURST)] == [0] * BURST
    assert limits.ticket("ann", 5.0) == pytest.approx(1)
    assert limits.ticket("bob", 5.0) == 0
    assert limits.ticket("ann", 6.0) == 0


@pytest.mark.parametrize(
    ("host", "block"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("", None),
        (None, None),
        ("unknown", "unknown"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_what_counts_as_one_address(host: str | None, block: str | None) -> None:
    assert address_block(host) == block


def test_the_end_of_a_token_is_told_a_minute_before() -> None:
    assert next_due(1000, 5, told=False) == (Due.TELL, 940_000)
    assert next_due(1000, 5, told=True) == (Due.CLOSE, 1_005_000)
