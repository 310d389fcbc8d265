"""What may be started here, and with which surroundings."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lastseen.task_start import TaskStart

from service.domain.allowed import AllowList
from service.running.program import Program, Size
from service.settings import Settings

NOT_ALLOWED: Final = "not_allowed"
ENV_NOT_ALLOWED: Final = "env_not_allowed"
CWD_NOT_ALLOWED: Final = "cwd_not_allowed"

_KEPT: Final = frozenset({"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"})


class NotAdmitted(Exception):
    """It may not be started. `reason` is a short stable word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Admission:
    """By the settings; `environ` is this process's environment, of which programs get what is harmless."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._list = AllowList(settings.allow, settings.allow_env)
        self._root = None if settings.work_root is None else settings.work_root.resolve()
        self._env = {name: value for name, value in environ.items() if name in _KEPT or name.startswith("LC_")}

    def admit(self, start: TaskStart) -> Program:
        """The program as it is to be run. Raises NotAdmitted."""
        if not self._list.allows(start.command):
            raise NotAdmitted(NOT_ALLOWED)
        if not self._list.allows_env(start.env):
            raise NotAdmitted(ENV_NOT_ALLOWED)
        return Program(
            argv=start.command,
            cwd=self._cwd(start.cwd),
            env={**self._env, **start.env},
            pty=Size(start.columns, start.rows) if start.pty else None,
            input=start.input,
            timeout_seconds=start.timeout_seconds,
        )

    def refused(self, start: TaskStart) -> Program:
        """What is told of a program that is not run."""
        return Program(start.command, start.cwd or (None if self._root is None else str(self._root)))

    def _cwd(self, wanted: str | None) -> str | None:
        if self._root is None:
            if wanted is not None:
                raise NotAdmitted(CWD_NOT_ALLOWED)
            return None
        # With its links followed: what is named now is what the program gets.
        found = Path(os.path.realpath(self._root / (wanted or "")))
        if not found.is_relative_to(self._root):
            raise NotAdmitted(CWD_NOT_ALLOWED)
        return str(found)
