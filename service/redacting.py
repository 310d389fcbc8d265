"""A second net under the rule that no access token or ticket is ever logged: lines lose what looks like one."""

import logging
import re
from typing import Final

_SECRET: Final = re.compile(
    r"eyJ[\w-]{5,}(\.[\w-]*){1,2}"  # a JSON Web Token: its header is an object, which begins so
    r"|(?<=[?&]token=)[^&\s\"']+"
    r"|(?<=[?&]ticket=)[^&\s\"']+",
    re.ASCII,
)


class Redacting(logging.Formatter):
    """As `logging.Formatter`, tracebacks included, with `[redacted]` in their place."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines."""
        return _SECRET.sub("[redacted]", super().format(record))
