"""What the messages of Claude CLI's format `stream-json` say, as the further fields of a `task_output`.

Every message is one line, a JSON object with a `type`. What is not known here keeps its names: newer versions say more.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue

from service.running.adapters.bounding import Bound

Fields = dict[str, JsonValue]

MAX_CHARACTERS: Final = 12_000
"""Of all that is told of one line beside the line itself."""
MAX_NAME: Final = 128
CAN_USE_TOOL: Final = "can_use_tool"

_RESULT: Final = (
    "subtype",
    "is_error",
    "stop_reason",
    "num_turns",
    "duration_ms",
    "duration_api_ms",
    "total_cost_usd",
    "usage",
    "modelUsage",
    "errors",
)
_SYSTEM: Final = (
    "subtype",
    "model",
    "cwd",
    "permissionMode",
    "claude_code_version",
    "status",
    "description",
    "summary",
)
_LEFT_OUT: Final = frozenset({"type", "session_id", "uuid", "parent_tool_use_id"})


def read_message(line: bytes) -> dict[str, Any] | None:
    """The message that a line is; None where it is none."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        message = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and isinstance(message.get("type"), str) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def fields_of(message: Mapping[str, Any]) -> Fields:
    """`kind`, what belongs to it, and of any message `session_id` and `parent_tool_use_id`, where it has them."""
    bound = Bound(MAX_CHARACTERS)
    fields: Fields = {}
    for name in ("session_id", "parent_tool_use_id"):
        if isinstance(value := message.get(name), str) and 0 < len(value) <= MAX_NAME:
            fields[name] = bound.text(value)
    fields = {**_fields(message, bound), **fields}
    return {**fields, "truncated": True} if bound.is_cut else fields


def permission_of(message: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The id and the content of a question whether a tool may be used; None: it is none that can be answered."""
    id_, request = message.get("request_id"), message.get("request")
    if message["type"] != "control_request" or not isinstance(id_, str) or not isinstance(request, dict):
        return None
    if request.get("subtype") != CAN_USE_TOOL or not isinstance(request.get("tool_name"), str):
        return None
    return id_, request


def question_of(id_: str, request: Mapping[str, Any]) -> Fields:
    """The `data` of the `task_confirmation_required` for a question."""
    bound = Bound(MAX_CHARACTERS)
    tool = bound.text(request["tool_name"][:MAX_NAME])
    title, shown = request.get("title"), request.get("display_name")
    question = title if isinstance(title, str) and title else f"Allow {shown if isinstance(shown, str) else tool}?"
    fields: Fields = {"confirmation_id": id_, "question": bound.text(question), "tool": tool}
    for name in ("tool_use_id", "description", "decision_reason", "blocked_path", "agent_id"):
        if isinstance(value := request.get(name), str):
            fields[name] = bound.text(value)
    fields["input"] = bound.value(request.get("input"))
    return {**fields, "truncated": True} if bound.is_cut else fields


def _fields(message: Mapping[str, Any], bound: Bound) -> Fields:
    match message["type"]:
        case "assistant" | "user" as who:
            return _of_blocks(who, message.get("message"), bound)
        case "result":
            told = _some(message, _RESULT, bound)
            return {"kind": "result", **told, **_content(message.get("result"), bound)}
        case "system":
            return {"kind": "system", **_some(message, _SYSTEM, bound)}
        case "stream_event":
            return {"kind": "partial", **_of_delta(message.get("event"), bound)}
        case "control_request" if (permission := permission_of(message)) is not None:
            id_, request = permission
            return {
                "kind": "permission_request",
                "confirmation_id": bound.text(id_),
                "tool": bound.text(request["tool_name"]),
            }
        case "control_request" | "control_response" | "control_cancel_request" as type_:
            return {"kind": "control", "message_type": type_}
        case type_:
            rest = {name: value for name, value in message.items() if name not in _LEFT_OUT}
            return {"kind": "other", "message_type": bound.text(type_), "message": bound.value(rest)}


def _of_blocks(who: str, message: object, bound: Bound) -> Fields:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    told = [_of_block(who, block, bound) for block in blocks[:MAX_NAME]]
    fields: Fields = told[0] if len(told) == 1 else {"kind": "blocks", "blocks": [*told]}
    if isinstance(message, dict) and who == "assistant":
        fields.update(_some(message, ("model", "stop_reason", "usage"), bound))
    return fields


def _of_block(who: str, block: Mapping[str, Any], bound: Bound) -> Fields:
    match block.get("type"):
        case "text":
            return {
                "kind": "assistant_text" if who == "assistant" else "user_text",
                **_content(block.get("text"), bound),
            }
        case "thinking":
            return {"kind": "thinking", **_content(block.get("thinking"), bound)}
        case "redacted_thinking":
            return {"kind": "thinking"}
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            told = {"tool": block.get("name"), "tool_use_id": block.get("id"), "input": block.get("input")}
            return {"kind": "tool_use", **_some(told, tuple(told), bound)}
        case str(type_) if type_.endswith("tool_result"):
            told = _some(block, ("tool_use_id", "is_error"), bound)
            return {"kind": "tool_result", **told, **_content(block.get("content"), bound)}
        case type_:
            return {"kind": "other", "block_type": bound.value(type_)}


def _of_delta(event: object, bound: Bound) -> Fields:
    if not isinstance(event, dict):
        return {}
    told = _some(event, ("type", "index"), bound)
    fields: Fields = {"event": told.get("type"), **{name: value for name, value in told.items() if name != "type"}}
    delta = event.get("delta")
    if isinstance(delta, dict):
        for name in ("text", "thinking", "partial_json"):
            if isinstance(delta.get(name), str):
                fields |= {"delta": name, **_content(delta[name], bound)}
    return fields


def _content(content: object, bound: Bound) -> Fields:
    """A text, or the texts of blocks one below the other; of what is no text only what it is."""
    if isinstance(content, str):
        return {"content": bound.text(content)}
    if not isinstance(content, Sequence):
        return {}
    parts = []
    for block in content:
        if isinstance(block, dict):
            text = block.get("text")
            parts.append(text if isinstance(text, str) else f"[{block.get('type')}]")
    return {"content": bound.text("\n".join(parts))}


def _some(message: Mapping[str, Any], names: Sequence[str], bound: Bound) -> Fields:
    return {name: bound.value(message[name]) for name in names if message.get(name) is not None}
