"""A session says in few words what a request would say in full: a broker that keeps to KIP-227 comes to the same."""

from dataclasses import dataclass, field
from itertools import count

from aiokafka.protocol.fetch import FetchRequest_v4, FetchRequest_v11
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.kafka.fetch_session import FetchSession, SessionRequest

TOPIC = "t"
NOT_FOUND, WRONG_EPOCH = 70, 71
Asked = dict[int, int]


@dataclass
class Broker:
    """The broker's side: what it looks for, and the error and the session of its answer."""

    sessions: dict[int, tuple[int, Asked]] = field(default_factory=dict)
    ids: "count[int]" = field(default_factory=lambda: count(1))

    def take(self, request: SessionRequest, *, has_room: bool) -> tuple[int, int, Asked]:
        struct = request.build(FetchRequest_v11)
        named = {p: offset for _, partitions in struct.topics for p, _, offset, _, _ in partitions}
        forgotten = [p for _, partitions in struct.forgotten_topics_data for p in partitions]
        if struct.session_epoch == 0:
            self.sessions.pop(struct.session_id, None)
            assert not forgotten
            if not has_room:
                return 0, 0, named
            id_ = next(self.ids)
            self.sessions[id_] = (1, named)
            return 0, id_, named
        if struct.session_id not in self.sessions:
            return NOT_FOUND, 0, {}
        epoch, remembered = self.sessions[struct.session_id]
        if struct.session_epoch != epoch:
            return WRONG_EPOCH, 0, {}
        assert not set(named.items()) & set(remembered.items()), "it names what the broker has"
        assert not set(forgotten) - set(remembered)
        asked = {p: at for p, at in {**remembered, **named}.items() if p not in forgotten}
        self.sessions[struct.session_id] = (epoch + 1, asked)
        return 0, struct.session_id, asked


asked = st.dictionaries(st.integers(0, 5), st.integers(0, 3))
steps = st.lists(st.tuples(asked, st.sampled_from(["answered", "lost", "lost on its way", "forgotten"]), st.booleans()))


@given(steps)
def test_the_broker_looks_for_what_is_asked(steps: list[tuple[Asked, str, bool]]) -> None:
    session, broker, lost = FetchSession(), Broker(), 0
    for wanted, fate, has_room in steps:
        if fate == "forgotten":
            broker.sessions.clear()
        for turn in count():
            request = session.request(TOPIC, wanted, 500)
            assert session.offsets == wanted
            if fate == "lost on its way" and turn == 0:
                session.restart()
                continue
            error, id_, looked_for = broker.take(request, has_room=has_room)
            if fate == "lost" and turn == 0:
                session.restart()
                continue
            if not error:
                break
            assert turn == 0, "a new session is not unknown"
            session.restart()
        assert looked_for == wanted
        session.answered(id_)
        lost += fate == "lost"
        assert len(broker.sessions) <= 1 + lost, "the one before is ended, unless the answer that named it was lost"


def test_the_last_epoch_is_followed_by_the_first() -> None:
    session = FetchSession()
    session.request(TOPIC, {0: 0}, 500)
    session.answered(7)
    session._epoch = 2**31 - 1
    session.request(TOPIC, {0: 1}, 500)
    session.answered(7)
    assert session.request(TOPIC, {0: 2}, 500).session_epoch == 1


def test_a_broker_that_knows_no_sessions_is_asked_as_ever() -> None:
    request = FetchSession().request(TOPIC, {3: 9}, 500)
    assert request.build(FetchRequest_v4).topics == [(TOPIC, [(3, 9, 1024 * 1024)])]
