"""Functions that a deployment names in its settings: imported, or the reason why not in a sentence."""

from collections.abc import Callable
from traceback import extract_tb
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ImportString, TypeAdapter, ValidationError

_IMPORT: Final = TypeAdapter[Any](ImportString[Callable[..., Any]])


def _import(value: object) -> object:
    try:
        return _IMPORT.validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Invalid python path: ")
        raise ValueError(f"{value!r} can't be used as module:function: {problem}") from error
    except Exception as error:
        raise ValueError(f"{value!r} can't be imported: {what_failed(error)}") from error


Imported = Annotated[Callable[..., Any], BeforeValidator(_import)]
"""A function of the deployment's, named `module:function`."""


def what_failed(error: Exception) -> str:
    """What went wrong, and where."""
    where = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"
