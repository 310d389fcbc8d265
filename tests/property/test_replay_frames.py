"""What is joined once for many is what each would have been sent alone."""

from hypothesis import given
from hypothesis import strategies as st

from service.domain.frames import replay_frame
from service.domain.records import Record, unusable
from service.domain.replay_frames import ReplayFrames
from service.domain.subscriptions import CatchUp

NAMES = ("broadcast", "project:p", "user:u", "task:t")
NOW_MS = 10_000
CHANNELS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(tuple)
LOGS = st.lists(st.tuples(CHANNELS, st.sampled_from([None, None, None, 1, 100])), min_size=1, max_size=90)
WANTED = st.lists(
    st.tuples(st.sets(st.sampled_from(NAMES), min_size=1), st.integers(-1, 90), st.integers(-1, 90)),
    min_size=1,
    max_size=12,
)


@given(LOGS, WANTED, st.sets(st.integers(0, 89)), st.sampled_from([0, 2_000, 1_000_000]))
def test_it_is_what_each_would_have_got_alone(
    log: list[tuple[tuple[str, ...], int | None]],
    wanted: list[tuple[set[str], int, int]],
    strays: set[int],
    max_bytes: int,
) -> None:
    records = [Record(2, at, 0, f"i{at}", "x", names, ttl, b'{"n":1}') for at, (names, ttl) in enumerate(log)]
    frames = ReplayFrames(max_bytes)

    def contradicts(record: Record) -> bool:
        return record.offset in strays

    # Each asks three times: what is made anew, what is kept, and what comes out of that.
    for names, after, joined_at in wanted * 3:
        group = CatchUp({2: after}, asked=True, channels={name: {2: after} for name in names})
        group.channels[min(names)] = {2: max(after, joined_at)}
        page = [record for record in records if record.offset > after and names & set(record.channels)]
        alone = [
            replay_frame(record, counting)
            for record in page
            if not record.is_expired(NOW_MS) and (counting := group.counts_for(record, contradicts))
        ]
        if page:
            assert frames.join(group, page, NOW_MS, contradicts) == b"".join(alone)
            parts = [(name, [record for record in page if name in record.channels]) for name in sorted(names)]
            joined = frames.join_parts(group, [part for part in parts if part[1]])
            assert joined in (None, b"".join(alone))
            if joined is None:
                assert (
                    "task:t" in names
                    or any(record.ttl is not None for record in page)
                    or any(page[0].offset <= start[2] for start in group.channels.values())
                )


SHARED = st.lists(st.sampled_from(NAMES[:3]), min_size=1, max_size=3, unique=True).map(tuple)


@given(
    st.lists(st.tuples(st.lists(SHARED, min_size=1, max_size=3), st.integers(1, 90)), min_size=1, max_size=5),
    st.lists(st.tuples(st.sets(st.sampled_from(NAMES[:3]), min_size=1), st.integers(-1, 200)), min_size=1, max_size=6),
    st.sampled_from([0, 100_000, 10_000_000]),
)
def test_what_lies_between_is_put_between(
    stretches: list[tuple[list[tuple[str, ...]], int]], wanted: list[tuple[set[str], int]], max_bytes: int
) -> None:
    """Long stretches of the same channels, alone and in turn: some pieces are sent as they are, some taken apart."""
    log = [names for kinds, times in stretches for _ in range(times) for names in kinds]
    records = [Record(2, 2 * at, 0, f"i{at}", "x", names, None, b'{"n":1}') for at, names in enumerate(log)]
    frames = ReplayFrames(max_bytes)
    for names, after in wanted * 3:
        group = CatchUp({2: after}, asked=True, channels={name: {2: after} for name in names})
        page = [record for record in records if record.offset > after and names & set(record.channels)]
        parts = [(name, [record for record in page if name in record.channels]) for name in sorted(names)]
        if page:
            alone = [replay_frame(record, group.of(record.channels)) for record in page]
            assert frames.join_parts(group, [part for part in parts if part[1]]) == b"".join(alone)


def test_what_only_one_has_missed_is_not_kept() -> None:
    frames = ReplayFrames(10_000)
    record = Record(0, 7, 0, "i", "x", ("broadcast",), None, b'{"n":1}')
    group = CatchUp({0: 6}, asked=True, channels={"broadcast": {0: 6}})
    one, two, three = (frames.join(group, [record], NOW_MS, lambda _: False) for _ in range(3))
    assert one == two == three
    assert one is not two
    assert two is three


def test_what_is_kept_is_bounded() -> None:
    frames = ReplayFrames(1_000)
    group = CatchUp({0: -1}, asked=True, channels={"broadcast": {0: -1}})
    for offset in [*range(100)] * 2 + [99]:
        record = Record(0, offset, 0, "i", "x", ("broadcast",), None, b'{"n":1}')
        got = frames.join(group, [record], NOW_MS, lambda _: False)
        assert frames.kept_bytes <= 1_000
    assert frames.join(group, [record], NOW_MS, lambda _: False) is got


def test_what_is_of_a_channel_is_kept_when_it_is_asked_for_again() -> None:
    frames = ReplayFrames(10_000)
    group = CatchUp({0: 6}, asked=True, channels={"broadcast": {0: 6}, "user:u": {0: 6}})

    def record(ttl: int | None = None) -> Record:
        return Record(0, 7, 0, "i", "x", ("broadcast", "system"), ttl, b'{"n":1}')

    def join(record: Record) -> bytes | None:
        return frames.join_parts(group, [("broadcast", [record])])

    assert join(record(ttl=1)) is None, "it may have expired"
    assert join(unusable(0, 7, 0, ("broadcast",))) is None
    one, two, three = (join(record()) for _ in range(3))
    assert one == two == three == replay_frame(record(), ["broadcast"])
    assert two is three
