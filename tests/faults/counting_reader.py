"""A program that says of each line that it reads which one it was: `COUNT LINE`."""

import signal
import sys


def main() -> None:
    """Until its input ends, or somebody asks it to go."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    for count, line in enumerate(sys.stdin, 1):
        print(count, line.rstrip("\n"), flush=True)


if __name__ == "__main__":
    main()
