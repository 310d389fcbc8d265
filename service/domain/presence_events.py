"""The events that tell of presence, and what is written down when they have been told."""

from dataclasses import replace

from lastseen.envelope import Event

from service.domain.presence import Announce
from service.domain.presence_records import Stage, entry_of, session_key


def presence_event(announce: Announce) -> Event:
    """`user_online` or `user_offline`; its id is the session's, so that told twice it is a duplicate."""
    session = announce.session
    what = "online" if session.stage is Stage.OPENING else "offline"
    return Event.model_validate(
        {
            "id": f"{session.id}.{what}",
            "type": f"user_{what}",
            "user_id": session.user,
            "project_id": session.project,
            "data": {"node": session.node},
        }
    )


def told_entries(announce: Announce) -> list[tuple[str, bytes | None]]:
    """What goes into the presence topic once the event is in the log."""
    session = announce.session
    if session.stage is Stage.OPENING:
        return [entry_of(replace(session, stage=Stage.OPEN))]
    return [entry_of(replace(session, stage=Stage.CLOSED)), (session_key(session.id, session.user), None)]
