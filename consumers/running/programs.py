"""How programs are run here, whatever they are."""

from dataclasses import dataclass

from service.domain.errors import BadRequest
from service.running.adapter import Adapter, RedactorMaker, ScreenMaker
from service.running.adapters.plain import PlainAdapter
from service.running.ending import Patience
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Programs:
    """What all runs of programs have in common."""

    patience: Patience
    redact: RedactorMaker | None = None
    screen: ScreenMaker | None = None

    def adapter(self, name: str) -> Adapter:
        """A new adapter of that name. Raises BadRequest, which names those that there are."""
        if name != "plain":
            raise BadRequest(f"there is no adapter {name}: there is plain", code="unknown_adapter", field="adapter")
        return PlainAdapter()


def programs_of(settings: Settings) -> Programs:
    """By the settings. Raises LastseenError for what can't be used of them."""
    return Programs(Patience(settings.interrupt_seconds, settings.terminate_seconds))
