"""What is wrong with an event or a start, field by field, in words that say what would be right."""

from typing import NamedTuple

from pydantic import ValidationError

from lastseen.channels import ID_PATTERN
from lastseen.envelope import TYPE_PATTERN
from lastseen.task_start import ADAPTER_PATTERN, ENV_NAME_PATTERN


class FieldError(NamedTuple):
    """`field` is a path such as `data.user_id`, empty for the event itself; `code` is stable, `detail` for people."""

    field: str
    detail: str
    code: str


_MISSING = {
    "category": "is needed with this type: task, project, system or user (only the named types imply theirs)",
    "type": "is needed: the event's type, such as task_output",
}
_PATTERNS = {
    ID_PATTERN: "must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ + = ~ | -",
    TYPE_PATTERN: "must be a lower-case letter and then up to 63 of a-z 0-9 _",
    ENV_NAME_PATTERN: "must be the name of an environment variable: up to 128 of A-Z a-z 0-9 _, no digit first",
    ADAPTER_PATTERN: "must be a lower-case letter and then up to 63 of a-z 0-9 _ -",
}


def field_errors(error: ValidationError) -> list[FieldError]:
    """All that validating a model found, most of all an Event."""
    return [
        _field_error(detail["type"], detail["loc"], detail["msg"], detail.get("ctx", {}))
        for detail in error.errors(include_url=False, include_input=False)
    ]


def _field_error(code: str, location: tuple[int | str, ...], message: str, context: dict[str, object]) -> FieldError:
    field = ".".join(str(part) for part in location)
    match code:
        case "envelope":
            return FieldError(str(context["field"]), message, code)
        case "missing":
            return FieldError(field, _MISSING.get(field, message), code)
        case "extra_forbidden":
            return FieldError(field, "is no field of an event, or one that the service itself sets", code)
        case "string_pattern_mismatch":
            return FieldError(field, _PATTERNS.get(str(context["pattern"]), message), code)
        case "tuple_type":
            return FieldError(field, "must be an array", code)
        case "model_type":
            return FieldError("", "an event is a JSON object", code)
        case _:
            return FieldError(field, message, code)
