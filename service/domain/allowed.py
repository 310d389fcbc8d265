"""Which programs may be started for others: by patterns of whole argument lists, and what is not listed may not."""

import shlex
from collections.abc import Collection, Sequence


class AllowList:
    """Patterns of commands, and names of environment variables that a start may set.

    A pattern that is one word without `*`, such as `git`, allows that program with any arguments. Any other is
    compared with the whole command as a shell would have to be given it (`git log '--format=%h %s'`), where `*` in
    the pattern stands for any text: `git log *` allows that, `git log` alone and `git -C / log` it does not.
    """

    def __init__(self, patterns: Sequence[str], env: Collection[str]) -> None:
        self._programs = frozenset(pattern for pattern in patterns if _is_program(pattern))
        self._patterns = [pattern.split("*") for pattern in patterns if not _is_program(pattern)]
        self._env = frozenset(env)

    def allows(self, command: Sequence[str]) -> bool:
        """Whether the program with these arguments may be started."""
        if command[0] in self._programs:
            return True
        whole = shlex.join(command)
        return any(_matches(parts, whole) for parts in self._patterns)

    def allows_env(self, names: Collection[str]) -> bool:
        """Whether a start may set all of these."""
        return self._env.issuperset(names)


def _is_program(pattern: str) -> bool:
    return "*" not in pattern and len(pattern.split()) == 1


def _matches(parts: Sequence[str], text: str) -> bool:
    """Whether `text` is the parts in order with anything between them; the time grows with its length alone."""
    first, *middle = parts
    if not middle:
        return text == first
    last = middle.pop()
    end = len(text) - len(last)
    if not (text.startswith(first) and text.endswith(last) and len(first) <= end):
        return False
    at = len(first)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
