"""What a program has asked of a terminal and shows nowhere on its screen: modes of mouse, keys and paste, the title."""

import re
from typing import Final

_MOUSE: Final = frozenset({"9", "1000", "1001", "1002", "1003"})
_MOUSE_REPORTS: Final = frozenset({"1005", "1006", "1015", "1016"})
_KEPT: Final = frozenset({"5", "66", "1004", "1007", "2004"}) | _MOUSE | _MOUSE_REPORTS
"""Reverse video, the keypad's mode, reports of focus, the wheel in the alternate screen, marked pastes."""

_ASKED: Final = re.compile(
    r"\x1b(?:(?P<plain>[c=>])"
    r"|\[\?(?P<modes>[\d;]{1,64})(?P<set>[hl])"
    r"|\[(?P<shape>\d{0,2}) q"
    r"|\](?:0|2);(?P<title>[^\x00-\x1f\x7f]{0,256})(?:\x07|\x1b\\))"
)


class TerminalModes:
    """Fed with text in which no escape sequence is cut; longer titles than 256 characters are passed over."""

    def __init__(self) -> None:
        self._modes: dict[str, None] = {}
        """In the order in which they were set."""
        self._shape = ""
        self._title = ""

    @property
    def text(self) -> str:
        """The sequences that bring a terminal that was reset here."""
        title = f"\x1b]2;{self._title}\x07" if self._title else ""
        shape = f"\x1b[{self._shape} q" if self._shape else ""
        return title + shape + "".join(f"\x1b[?{mode}h" for mode in self._modes)

    def feed(self, text: str) -> None:
        """Take what goes to the terminal."""
        for asked in _ASKED.finditer(text):
            match asked.lastgroup:
                case "plain" if asked["plain"] == "c":
                    self.__init__()  # type: ignore[misc]
                case "plain":
                    self._set("66", asked["plain"] == "=")
                case "set":
                    for mode in asked["modes"].split(";"):
                        self._set(mode, asked["set"] == "h")
                case "shape":
                    self._shape = asked["shape"]
                case "title":
                    self._title = asked["title"]

    def _set(self, mode: str, on: bool) -> None:
        if mode not in _KEPT:
            return
        others = next((group for group in (_MOUSE, _MOUSE_REPORTS) if mode in group), frozenset({mode}))
        for other in others:
            self._modes.pop(other, None)
        if on:
            self._modes[mode] = None
