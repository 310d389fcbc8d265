"""What looks like a token does not get into the log."""

import logging

import pytest

from service.redacting import Redacting
from tests.issuer import ED25519, RSA

TOKEN = RSA.token("ann")
FORMATTER = Redacting("%(message)s")


def line(message: str, *arguments: object, exc_info: object = None) -> str:
    record = logging.LogRecord("any", logging.INFO, "", 0, message, arguments, exc_info)  # type: ignore[arg-type]
    return FORMATTER.format(record)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (f"GET /ws?token={TOKEN}&project_id=p", "GET /ws?token=[redacted]&project_id=p"),
        ("GET /ws?after=earliest&token=opaque-one HTTP/1.1", "GET /ws?after=earliest&token=[redacted] HTTP/1.1"),
        ("'/ws?ticket=abc-_123'", "'/ws?ticket=[redacted]'"),
        (f"Authorization: Bearer {ED25519.token('ann')}", "Authorization: Bearer [redacted]"),
        (f"bearer.{TOKEN}, lastseen.v1", "bearer.[redacted], lastseen.v1"),
        ("position k3f9:0=15,7=88 of user ann", "position k3f9:0=15,7=88 of user ann"),
    ],
)
def test_lines(given: str, written: str) -> None:
    assert line("%s", given) == written


def test_tracebacks() -> None:
    try:
        raise ValueError(TOKEN)
    except ValueError as error:
        written = line("failed", exc_info=(type(error), error, error.__traceback__))
    assert "ValueError: [redacted]" in written
    assert TOKEN.rpartition(".")[2] not in written
