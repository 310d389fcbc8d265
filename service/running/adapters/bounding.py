"""Values out of a program's output, made fit for an event."""

from typing import Final

from pydantic import JsonValue

MAX_DEPTH: Final = 16
_SCALAR: Final = 8


class Bound:
    """So many characters for all values that are put through it together; `is_cut` once something was left out."""

    def __init__(self, characters: int) -> None:
        self._left = characters
        self.is_cut = False

    def text(self, value: str) -> str:
        """As much of it as there is room for, without what no UTF-8 or no Postgres can hold."""
        if len(value) > self._left:
            self.is_cut = True
            value = value[: self._left]
        self._left -= len(value)
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()

    def value(self, value: object, depth: int = 0) -> JsonValue:
        """Any JSON: objects and arrays lose what there is no room for, from the end."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict | list) and depth == MAX_DEPTH:
            self.is_cut = True
            return None
        if isinstance(value, dict):
            kept: dict[str, JsonValue] = {}
            for name, item in value.items():
                if self._is_full():
                    break
                kept[self.text(str(name))] = self.value(item, depth + 1)
            return kept
        if isinstance(value, list):
            items: list[JsonValue] = []
            for item in value:
                if self._is_full():
                    break
                items.append(self.value(item, depth + 1))
            return items
        self._left = max(0, self._left - _SCALAR)
        return value if value is None or isinstance(value, bool | int | float) else self.text(str(value))

    def _is_full(self) -> bool:
        self._left = max(0, self._left - _SCALAR)
        if self._left == 0:
            self.is_cut = True
        return self._left == 0
