"""Speaks the print mode of Claude CLI over stdin and stdout, as far as an adapter has to do with it.

A prompt is answered with a thought, a sentence and the wish to run a command; whether it may is asked of whoever reads
stdout, and what comes of it is told. A prompt that begins with "say " is answered at once. It goes on until stdin ends.
"""

import json
import sys
import uuid
from typing import Any

SESSION = "0b6f4cf5-3f2b-4a53-8a59-6a1e3a3f8f10"
USAGE = {"input_tokens": 12, "output_tokens": 34, "cache_read_input_tokens": 0}
WANTED = [
    ("-p",),
    ("--output-format", "stream-json"),
    ("--input-format", "stream-json"),
    ("--verbose",),
    ("--permission-prompt-tool", "stdio"),
]


def say(type_: str, **fields: Any) -> None:
    line = {"type": type_, **fields, "session_id": SESSION, "uuid": str(uuid.uuid4())}
    print(json.dumps(line, ensure_ascii=False), flush=True)


def assistant(**block: Any) -> None:
    message = {"id": "msg_1", "role": "assistant", "model": "claude-x", "content": [block], "usage": USAGE}
    say("assistant", message=message, parent_tool_use_id=None)


def ask(tool: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Wait for the answer to whether `tool` may be used; what else comes meanwhile is left for later."""
    request_id = str(uuid.uuid4())
    request = {"subtype": "can_use_tool", "tool_name": tool, "input": wanted, "tool_use_id": "toolu_1"}
    print(json.dumps({"type": "control_request", "request_id": request_id, "request": request}), flush=True)
    while line := sys.stdin.readline():
        heard = json.loads(line)
        if heard["type"] == "control_response" and heard["response"]["request_id"] == request_id:
            answer: dict[str, Any] = heard["response"]["response"]
            return answer
        waiting.append(heard)
    sys.exit("stdin ended before the answer")


waiting: list[dict[str, Any]] = []


def answer(prompt: str) -> None:
    if prompt.startswith("say "):
        told = prompt.removeprefix("say ")
    else:
        assistant(type="thinking", thinking="I had better look.", signature="abc")
        assistant(type="text", text=f"On it: {prompt} …")
        wanted = {"command": "ls -a", "description": "List files"}
        assistant(type="tool_use", id="toolu_1", name="Bash", input=wanted)
        decision = ask("Bash", wanted)
        allowed = decision["behavior"] == "allow"
        content = f"ran {decision['updatedInput']['command']}" if allowed else decision["message"]
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, "is_error": not allowed}
        say("user", message={"role": "user", "content": [result]}, parent_tool_use_id=None)
        told = "Done." if allowed else "Then not."
    assistant(type="text", text=told)
    times = {"duration_ms": 1500, "duration_api_ms": 1200, "num_turns": 2}
    say("result", subtype="success", is_error=False, result=told, total_cost_usd=0.0123, usage=USAGE, **times)


def main() -> None:
    left = sys.argv[1:]
    for flag in WANTED:
        at = next((index for index in range(len(left)) if tuple(left[index : index + len(flag)]) == flag), None)
        if at is None:
            sys.exit(f"wants {' '.join(flag)}")
        del left[at : at + len(flag)]
    if left:
        sys.exit(f"does not understand {left}")
    say("system", subtype="init", cwd="/src", tools=["Bash"], model="claude-x", permissionMode="default")
    print("a warning of nobody's", file=sys.stderr, flush=True)
    while waiting or (line := sys.stdin.readline()):
        heard = waiting.pop(0) if waiting else json.loads(line)
        if heard["type"] == "user":
            answer(heard["message"]["content"])


if __name__ == "__main__":
    main()
