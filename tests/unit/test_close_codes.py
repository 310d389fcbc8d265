"""The table of close codes says what docs/protocol.md says, for every reason that is written there."""

import re
from pathlib import Path

import pytest
from lastseen.close_codes import CLOSE_CODES, Return, when_to_return

from service.domain.limits import TOO_MANY_FAILURES, TOO_MANY_FROM_ADDRESS, TOO_MANY_OF_USER
from service.domain.protocol import GOODBYES

DOCS = Path(__file__).parents[2] / "docs" / "protocol.md"
WORDS = {"later": Return.LATER, "never": Return.NEVER, "with": Return.AFTER_RENEWING, "at once": Return.AT_ONCE}
ROWS = re.findall(r"^\| (\d{4}) \| (.+?) \| (later|never|with|at once)\b.*\|$", DOCS.read_text(), re.M)
CASES = [
    (int(code), reason.strip(), WORDS[back])
    for code, reasons, back in ROWS
    for reason in reasons.split(" · ")
    if reason
]


@pytest.mark.parametrize(("code", "reason", "back"), CASES)
def test_a_client_comes_back_when_the_protocol_says(code: int, reason: str, back: Return) -> None:
    assert when_to_return(code, reason) is back


def test_the_docs_name_what_the_server_closes_with() -> None:
    codes = {code for code, _, _ in CASES}
    assert {1001, 1008, 1009, 1011, 1013, 4401, 4408, 4429} <= codes <= CLOSE_CODES.keys()
    for code, reason in GOODBYES.values():
        assert (code, reason.lower()) in {(c, r.lower()) for c, r, _ in CASES} or code not in (4401, 4408, 4429)
    for reason in (TOO_MANY_OF_USER, TOO_MANY_FROM_ADDRESS, TOO_MANY_FAILURES):
        assert when_to_return(4429, reason) is Return.LATER


def test_a_code_that_is_not_known_is_a_fault_that_passes() -> None:
    assert when_to_return(4999, "whatever") is Return.LATER
