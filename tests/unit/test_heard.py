"""What was heard of is never denied, and what was not is seldom claimed."""

from service.domain.heard import Heard


def test_every_id_that_was_heard_is_known_and_few_others() -> None:
    heard = Heard()
    for number in range(100_000):
        heard.add(f"task-{number}")
    assert all(f"task-{number}" in heard for number in range(100_000))
    assert sum(f"other-{number}" in heard for number in range(20_000)) < 200
    assert sum(map(len, heard._filters)) < 600_000


def test_nothing_was_heard_at_first() -> None:
    assert "t" not in Heard()
