"""However a program's output is cut, what is masked is what masking its lines gives; nothing else changes."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.running.redacting import LONGEST_LINE, LONGEST_MATCH, Redactor, compile_patterns, mask

PATTERNS = compile_patterns(
    ["token=[a-z0-9]+", "s3cr[eé]t", r"^key:.*", r"(?<=pin )\d+$", "ab+a", "bab", "x{3,}", r"abc0(?!\s)"]
)

output = st.lists(
    st.one_of(
        st.sampled_from(
            ["token=", "abc0", "s3cr", "s3crét", "key: a b", "pin 12", "abab", "\n", "\r\n", "xx", " ", "é"]
        ).map(str.encode),
        st.binary(max_size=4),
    ),
    max_size=30,
).map(b"".join)
cuts = st.lists(st.integers(0, 200), max_size=10)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def redacted(*fed: bytes) -> bytes:
    redactor = Redactor(PATTERNS)
    return b"".join(map(redactor.feed, fed)) + redactor.flush()


@given(output, cuts)
@example(b"a token=abc0 and s3cr\xc3\xa9t\nkey: x\r\npin 12", [3, 9, 19, 21])
def test_it_is_masked_as_whole_lines_are(data: bytes, cuts: list[int]) -> None:
    by_line = b"\n".join(mask(line, PATTERNS) for line in data.split(b"\n"))
    assert redacted(*pieces(data, cuts)) == by_line
    assert len(by_line) == len(data)
    assert all(now in (was, ord("*")) for was, now in zip(data, by_line, strict=True))


@given(st.lists(st.tuples(output.map(lambda data: data.replace(b"\n", b" ")), st.integers(1, 400)), max_size=6), cuts)
def test_a_long_line_is_masked_the_same_however_it_comes(parts: list[tuple[bytes, int]], cuts: list[int]) -> None:
    data = b"".join(part * times for part, times in parts)
    assert redacted(*pieces(data, [cut * 97 for cut in cuts])) == redacted(data)


@given(st.integers(0, 3 * LONGEST_LINE), st.integers(8, LONGEST_MATCH), st.integers(1, 5000))
@example(LONGEST_LINE - 3, 20, LONGEST_LINE)
@example(LONGEST_LINE - LONGEST_MATCH - 3, LONGEST_MATCH, 4096)
def test_a_secret_in_a_long_line_is_masked_wherever_it_lies(before: int, size: int, cut: int) -> None:
    secret = b"token=" + b"7" * (size - 6)
    data = b"." * before + secret + b"." * 20_000
    masked = redacted(*(data[at : at + cut] for at in range(0, len(data), cut)))
    assert masked == b"." * before + b"*" * size + b"." * 20_000


@given(output, cuts, st.lists(st.booleans(), min_size=1, max_size=5))
def test_a_flush_gives_all_that_was_held_and_what_follows_is_still_masked(
    data: bytes, cuts: list[int], flushes: list[bool]
) -> None:
    redactor, said, held = Redactor(PATTERNS), b"", []
    for nth, piece in enumerate(pieces(data, cuts)):
        said += redactor.feed(piece)
        if flushes[nth % len(flushes)]:
            said += redactor.flush()
            assert redactor.flush() == b""
            held.append(len(said))
            assert len(said) == sum(map(len, pieces(data, cuts)[: nth + 1]))
    said += redactor.flush()
    assert len(said) == len(data)
    by_line = redacted(data)
    if not held:
        assert said == by_line


def test_what_was_flushed_has_been_seen_and_the_rest_is_not() -> None:
    redactor = Redactor(PATTERNS)
    assert redactor.feed(b"a token=abc") == b""
    assert redactor.flush() == b"a *********"
    assert redactor.feed(b"123 b\n") == b"*** b\n"
    assert redactor.feed(b"s3c") + redactor.flush() == b"s3c"
    assert redactor.feed(b"ret\n") == b"***\n"


def test_no_more_is_held_back_than_a_line_may_have() -> None:
    redactor = Redactor(PATTERNS)
    fed = said = 0
    for _ in range(100):
        fed += 1000
        said += len(redactor.feed(b"." * 1000))
        assert fed - said < LONGEST_LINE
    assert fed - said + len(redactor.feed(b"\n")) > 1000


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", r"'\(' is no regular expression: missing \), unterminated subpattern"),
        ("a*", r"'a\*' matches the empty text: it has to say what to mask"),
        ("\ud800", "is no regular expression"),
    ],
)
def test_a_pattern_that_can_not_be_used_is_named(pattern: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        compile_patterns(["fine", pattern])


def test_patterns_may_overlap() -> None:
    assert mask(b"xabaxbabx", [re.compile(b"xaba"), re.compile(b"axbab")]) == b"********x"
