"""The welcome task: a short program whose streamed output shows how Lastseen works."""

import sys
import time

BOLD, DIM, GREEN, CYAN, YELLOW, OFF = "\033[1m", "\033[2m", "\033[32m", "\033[36m", "\033[33m", "\033[0m"

PICTURE = f"""
  {BOLD}Welcome to Lastseen.{OFF} You watch the output of a real program, event by event.

    {GREEN}a program{OFF} ──▶ {CYAN}Kafka{OFF} ─────▶ {YELLOW}node{OFF} ──▶ terminals, browsers, phones
                    │            ▲
                    └─▶ {CYAN}Postgres{OFF} ┘   whatever you missed

  Every line of this was appended to one log, and has a place in it. A viewer that goes
  away and comes back names the last place it saw, and gets the rest, in order, once.
"""
STEPS = ("appended to the log", "copied to Postgres", "pushed to every viewer", "there for whoever comes late")
FRAMES = 20
SECONDS_A_STEP = 0.5


def main() -> None:
    """Streams the picture and a few bars over about three seconds."""
    for line in PICTURE.splitlines():
        _show(line + "\n", 0.06)
    for step in STEPS:
        for done in range(1, FRAMES + 1):
            bar = "█" * done + "░" * (FRAMES - done)
            _show(f"\r  {GREEN}{bar}{OFF} {step}", SECONDS_A_STEP / FRAMES)
        _show("\n", 0)
    _show(
        f"\n  {DIM}Stop the viewer at any time and start it again: nothing is missing, nothing comes twice.{OFF}\n\n", 0
    )


def _show(text: str, pause: float) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
    time.sleep(pause)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    main()
