"""The benchmarks run, from the command line to the file, on servers of their own. How fast is asserted nowhere."""

import asyncio
import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

FIELDS = {"benchmark", "measured", "unit", "limit", "pairs", "figure", "limit_figure", "ratio", "spread"}


async def test_ratios_come_out(tmp_path: Path) -> None:
    # Peers and nodes check every subscriber's bytes: there is no figure else.
    status, out, err = await _benchmarks("append", "peers", "nodes", "--quick", "--pairs", "2", "--json", str(tmp_path))
    assert status == 0, err
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in ("append", "peers", "nodes"):
        written = json.loads((tmp_path / f"{name}.json").read_text())
        assert written["machine"]["cores"] >= 1
        rows[name] = written["rows"]
        assert {row["benchmark"] for row in rows[name]} == {name}
    assert len(rows["append"]) == 2
    assert [row["limit"].partition(" ")[0] for row in rows["peers"]] == ["Starlette", "python-socketio", "ws"] * 2, err
    assert [row["unit"] for row in rows["nodes"][:2]] == ["deliveries/CPU-s", "deliveries/s"]
    for row in chain.from_iterable(rows.values()):
        assert set(row) == FIELDS
        ratios = sorted(ours / limit for ours, limit in row["pairs"])
        assert len(ratios) == 2
        assert ratios[0] > 0
        assert row["spread"] == ratios
        assert ratios[0] <= row["ratio"] <= ratios[1]
        assert f"{row['ratio']:.2f}" in out


async def test_a_crowd_that_returns_gets_exactly_what_it_missed_and_asks_postgres_nothing(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    status, _, err = await _benchmarks("storm", "--quick", "--json", str(file))
    # Each client checks what it gets, to the last event, and the benchmark what ran in Postgres: no figure else.
    assert status == 0, err
    rows = json.loads(file.read_text())["rows"]
    assert len(rows) == 6
    assert {row["benchmark"] for row in rows} == {"storm"}
    assert all("200 clients" in row["measured"] and "40 events each" in row["measured"] for row in rows[::3])


async def test_a_name_that_is_none_is_told() -> None:
    status, _, err = await _benchmarks("apend")
    assert status == 2
    assert "apend" in err
    assert "log_writer" in err


async def _benchmarks(*arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return process.returncode, out.decode(), err.decode()
