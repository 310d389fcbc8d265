"""The adapter for Claude CLI: its print mode, with messages as JSON lines on stdin and stdout.

The output stays as it is, byte for byte; the chunk that ends a message tells what it says. A question whether a tool
may be used becomes a `task_confirmation_required`, and its answer goes back to the program.

The argument behind `-p`, or what stands behind `--`, is the prompt: the program reads it from stdin here, so the
adapter takes it out of the arguments and writes it there, and the program ends with the result. A command without a
prompt waits for a `task_input`, and is a conversation that goes on until it is cancelled.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from lastseen.chunks import Chunk
from lastseen.commands import MAX_CONFIRMATION_ID
from pydantic import JsonValue

from service.running.adapter import CONFIRMATION_REQUIRED, Published, Said
from service.running.adapters.claude_messages import fields_of, permission_of, question_of, read_message

MAX_LINE_BYTES: Final = 1024 * 1024
"""A longer line is output like any other."""
MAX_OPEN: Final = 32
"""Questions that may be open at once; a further one is output like any other."""
DENIED: Final = "The user does not allow this."

_PRINT: Final = ("-p", "--print")


class ClaudeAdapter:
    """Understands stdout; stderr is plain."""

    def __init__(self) -> None:
        self._line = bytearray()
        """The unfinished line; MAX_LINE_BYTES of it say that it is too long."""
        self._open: dict[str, Mapping[str, Any]] = {}
        """The questions that wait for an answer: what the tool is to get."""
        self._session = "default"
        self._prompt: str | None = None
        self._speaks = True
        """Whether the program reads messages."""
        self._has_result = False

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """With the flags of the format, without the prompt. Who sets an input format other than it keeps the input."""
        end = argv.index("--") if "--" in argv else len(argv)
        flags, prompt = list(argv[:end]), list(argv[end + 1 :])
        self._speaks = _value_of("--input-format", flags) in (None, "stream-json")
        if not self._speaks:
            return [*flags, *_missing(flags, ["--output-format", "stream-json"], ["--verbose"]), *argv[end:]]
        at = next((index for index, flag in enumerate(flags) if index and flag in _PRINT), None)
        if at is None:
            flags.append("-p")
        elif not prompt and at + 1 < len(flags) and not flags[at + 1].startswith("-"):
            prompt = [flags.pop(at + 1)]
        self._prompt = " ".join(prompt) or None
        return flags + _missing(
            flags,
            ["--output-format", "stream-json"],
            ["--input-format", "stream-json"],
            ["--verbose"],
            ["--permission-prompt-tool", "stdio"],
        )

    @property
    def needs_input(self) -> bool:
        """It is spoken to, if only to answer."""
        return self._speaks

    @property
    def opening(self) -> bytes:
        """The prompt of the command."""
        return b"" if self._prompt is None else self.input(self._prompt)

    @property
    def input_ends(self) -> bool:
        """What was asked by the command has been done."""
        return self._speaks and self._has_result and self._prompt is not None and not self._open

    def output(self, chunk: Chunk) -> Sequence[Published]:
        """The chunk, cut behind each message."""
        if chunk.stream != "stdout":
            return ((chunk, {}),)
        return list(self._pieces(chunk))

    def finish(self, stream: str) -> Sequence[Published]:
        """Nothing is held back."""
        return ()

    def input(self, text: str) -> bytes:
        """A message of the user; the end of the line that was typed is not part of it."""
        if not self._speaks:
            return text.encode()
        text = text.removesuffix("\n").removesuffix("\r")
        message = {"role": "user", "content": text}
        return _line_of({"type": "user", "message": message, "parent_tool_use_id": None, "session_id": self._session})

    def confirm(self, confirmation_id: str, approved: bool) -> bytes | None:
        """The answer as the program reads it: what it asked for, as it asked, or not."""
        if confirmation_id not in self._open:
            return None
        given = self._open.pop(confirmation_id)
        answer = {"behavior": "allow", "updatedInput": given} if approved else {"behavior": "deny", "message": DENIED}
        response = {"subtype": "success", "request_id": confirmation_id, "response": answer}
        return _line_of({"type": "control_response", "response": response})

    @property
    def open_confirmations(self) -> Collection[str]:
        """In the order in which they were asked."""
        return tuple(self._open)

    def _pieces(self, chunk: Chunk) -> Iterator[Published]:
        begin = line_begin = 0
        while (end := chunk.raw.find(b"\n", line_begin) + 1) > 0:
            message = self._end_line(chunk.raw[line_begin:end])
            if message is not None:
                if begin < line_begin:
                    yield _part(chunk, begin, line_begin), {}
                yield _part(chunk, line_begin, end), self._fields(message)
                yield from self._said(message)
                begin = end
            line_begin = end
        self._line += chunk.raw[line_begin : line_begin + MAX_LINE_BYTES - len(self._line)]
        if begin < len(chunk.raw):
            yield _part(chunk, begin, len(chunk.raw)), {}

    def _end_line(self, end: bytes) -> dict[str, Any] | None:
        """The message that the line is which ends so."""
        size = len(self._line) + len(end)
        line = bytes(self._line) + end if size <= MAX_LINE_BYTES else b""
        self._line.clear()
        return read_message(line)

    def _fields(self, message: Mapping[str, Any]) -> Mapping[str, JsonValue]:
        fields = fields_of(message)
        if isinstance(session := fields.get("session_id"), str):
            self._session = session
        return fields

    def _said(self, message: Mapping[str, Any]) -> Iterator[Said]:
        self._has_result = self._has_result or message["type"] == "result"
        if message["type"] == "control_cancel_request" and isinstance(message.get("request_id"), str):
            self._open.pop(message["request_id"], None)
        permission = permission_of(message)
        if permission is None:
            return
        id_, request = permission
        if not 0 < len(id_) <= MAX_CONFIRMATION_ID or len(self._open) == MAX_OPEN:
            return
        given = request.get("input")
        self._open[id_] = given if isinstance(given, dict) else {}
        yield Said(CONFIRMATION_REQUIRED, {**question_of(id_, request), "session_id": self._session})


def _part(chunk: Chunk, begin: int, end: int) -> Chunk:
    return Chunk(chunk.stream, chunk.offset + begin, chunk.raw[begin:end])


def _value_of(option: str, argv: Sequence[str]) -> str | None:
    """What an option was given, as the next argument or behind `=`; None: it was not given."""
    for index, argument in enumerate(argv):
        if argument == option:
            return argv[index + 1] if index + 1 < len(argv) else ""
        if argument.startswith(option + "="):
            return argument.removeprefix(option + "=")
    return None


def _missing(argv: Sequence[str], *options: list[str]) -> list[str]:
    return [part for option in options if _value_of(option[0], argv) is None for part in option]


def _line_of(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
