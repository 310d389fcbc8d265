"""The events that tell of presence."""

from lastseen.envelope import Event

from service.domain.presence import Announce


def presence_event(announce: Announce) -> Event:
    """`user_online` or `user_offline`; its id is the session's, so that told twice it is a duplicate."""
    session = announce.session
    what = "online" if announce.online else "offline"
    return Event.model_validate(
        {
            "id": f"{session.id}.{what}",
            "type": f"user_{what}",
            "user_id": session.user,
            "project_id": session.project,
            "data": {"node": session.node},
        }
    )
