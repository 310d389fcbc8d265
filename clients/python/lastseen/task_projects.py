"""Which project a task belongs to: the first one that is said of it, for life."""

import threading
from collections import OrderedDict
from typing import Final

from lastseen.errors import OtherProject

REMEMBERED: Final = 10_000


class TaskProjects:
    """The projects of the last `limit` tasks that were asked for; safe to use from several threads.

    A task whose start names no project has none. One that was not seen to start, and of which no project was
    said, is not known: it may have one.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._projects: OrderedDict[str, str | None] = OrderedDict()

    def settle(self, task: str, project: str | None, *, starts: bool) -> str | None:
        """The project of an event of `task` that says `project`. Raises OtherProject where it has another."""
        with self._lock:
            if task in self._projects:
                known = self._projects[task]
                if project is not None and project != known:
                    raise OtherProject(task, known, project)
                self._projects.move_to_end(task)
                return known
            if project is not None or starts:
                self._projects[task] = project
                if len(self._projects) > self._limit:
                    self._projects.popitem(last=False)
            return project

    def forked(self) -> None:
        """Go on in a forked child, where nobody will ever let go of a lock that another thread held."""
        self._lock = threading.Lock()
