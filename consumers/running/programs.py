"""How programs are run here, whatever they are."""

from dataclasses import dataclass

from service.domain.errors import LastseenError
from service.running.adapter import RedactorMaker, ScreenMaker
from service.running.ending import Patience
from service.running.redacting import Redactor, compile_patterns
from service.running.screen_snapshots import ScreenSnapshots
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Programs:
    """What all runs of programs have in common."""

    patience: Patience
    redact: RedactorMaker | None = None
    screen: ScreenMaker = ScreenSnapshots


def programs_of(settings: Settings) -> Programs:
    """By the settings. Raises LastseenError for a pattern that can't be used."""
    try:
        patterns = compile_patterns(settings.redact)
    except ValueError as error:
        raise LastseenError(f"LASTSEEN_REDACT: {error}") from error
    patience = Patience(settings.interrupt_seconds, settings.terminate_seconds)
    return Programs(patience, (lambda: Redactor(patterns)) if patterns else None)
