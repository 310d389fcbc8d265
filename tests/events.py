"""Plenty of events for tests that need a log full of them."""

from collections.abc import Sequence
from random import Random

from lastseen.envelope import Event
from lastseen.record import NewRecord, encode


def task_events(count: int, *, tasks: int = 20, random: Random | None = None) -> list[Event]:
    """Output of `tasks` tasks in a quarter as many projects; with `random` every tenth is one of another kind."""
    events = []
    for number in range(count):
        task = number % tasks
        if random is not None and random.random() < 0.1:
            events.append(_other(random, number))
            continue
        events.append(
            Event.model_validate(
                {
                    "type": "task_output",
                    "task_id": f"t{task}",
                    "project_id": f"p{task // 4}",
                    "user_id": f"u{task % 3}",
                    "data": {"stream": "stdout", "number": number, "text": "é" * (number % 50)},
                }
            )
        )
    return events


def _other(random: Random, number: int) -> Event:
    return Event.model_validate(
        random.choice(
            [
                {"type": "system_security_alert", "priority": random.randrange(5, 11)},
                {"type": "user_notification", "user_id": f"u{number % 3}", "ttl": 60},
                {"type": "project_updated", "project_id": f"p{number % 5}"},
                {
                    "type": "project_member_added",
                    "project_id": f"p{number % 5}",
                    "user_id": "owner",
                    "data": {"user_id": f"u{number % 3}", "role": "member"},
                },
                {"type": "build_step", "category": "task", "task_id": f"alone{number % 7}"},
            ]
        )
    )


def records_of(events: Sequence[Event]) -> list[NewRecord]:
    """What a producer appends for `events`."""
    return [encode(event) for event in events]
