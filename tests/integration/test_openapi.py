"""The OpenAPI document, held against a real node: whatever it allows is sent, and much that it does not."""

import asyncio
import json
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.command_runner import Runner, reading_commands
from tests.nodes import ADMIN, NodeProcess, new_ground

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "unsupported_method",
)
EXAMPLES = 12
"""Random requests to each operation, beside those that go through its parameters one by one."""


async def fetch(node: NodeProcess, path: str) -> Any:
    async with httpx.AsyncClient(trust_env=False) as http:
        response = await http.get(f"{node.url}{path}")
    assert response.status_code == 200
    return response.json()


async def run_schemathesis(node: NodeProcess, folder: Path, seed: int) -> tuple[int | None, str]:
    command = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert command is not None
    process = await asyncio.create_subprocess_exec(
        *(command, "run", f"{node.url}/openapi.json", "--seed", str(seed), "--max-examples", str(EXAMPLES)),
        *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--mode", "all"),
        *("--header", f"Authorization: Bearer {ADMIN}", "--request-timeout", "20", "--warnings", "off"),
        *("--no-shrink", "--continue-on-failure", "--suppress-health-check", "all", "--generation-database", "none"),
        *("--no-color", "--report", "json", "--report-json-path", str(folder / "report.json")),
        cwd=folder,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_a_node_answers_as_its_document_says(kafka: str, postgres_url: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("LASTSEEN_SEED", secrets.randbelow(2**32)))
    print(f"LASTSEEN_SEED={seed}")
    # An event stream has no end of its own: there it has one.
    async with (
        new_ground(kafka, postgres_url) as ground,
        ground.node(stream_seconds=0.1, command_deadline_seconds=1) as node,
        ground.log_writer(),
        reading_commands(ground) as consumer,
    ):
        running = asyncio.create_task(Runner(node).run(consumer))
        status, said = await run_schemathesis(node, tmp_path, seed)
        assert not running.done(), running.result()
        running.cancel()
        assert status == 0, said
        report = json.loads((tmp_path / "report.json").read_text())
        operations = sum(len(methods) for methods in (await fetch(node, "/openapi.json"))["paths"].values())
        assert report["operations"]["tested"] == operations, said
        assert report["test_cases"]["generated"] > 20 * operations, said
        assert "Traceback" not in node.said
