"""The plots of the benchmarks: the same figures give the same bytes, and those in the documentation show its files."""

import re
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest

from benchmarks.measured import Pair, Row
from benchmarks.plots import FOLDER, Plot, draw, plots, shown
from benchmarks.report import write

MACHINE: Final[dict[str, object]] = {"at": "2026-01-31T12:00:00+00:00", "cores": 2, "load_before": 0.5}
ROWS: Final = [
    Row(
        "sends", "many < few & more", "events/s", "a bare loop", [Pair(30.0, 40.0), Pair(20.0, 40.0), Pair(10.0, 40.0)]
    ),
    Row("sends", "the same, memory", "MiB", "a bare loop", [Pair(300.0, 200.0)]),
    Row("waits", "a start", "s", "Kafka alone", [Pair(3.0, 2.0)]),
]


def texts(path: Path) -> list[str]:
    return ["".join(each.itertext()).strip() for each in ElementTree.parse(path).iter() if each.tag.endswith("}text")]


def test_a_plot_says_what_the_row_says(tmp_path: Path) -> None:
    write(tmp_path / "figures.json", ROWS, MACHINE)
    sends, waits = plots([tmp_path / "figures.json"])
    assert (sends.name, waits.name) == ("sends", "waits")
    draw(sends, tmp_path / "sends.svg")
    said = texts(tmp_path / "sends.svg")
    assert "many < few & more" in said
    assert said[said.index("0.50 (0.25–0.75)") + 1] == "20.00 events/s"
    assert said[said.index("1.50 (1.50–1.50)") + 1] == "300 MiB"
    assert "ratio to a bare loop (the line); blue: more is better, green: less is better" in said
    assert "2026-01-31, 2 cores, load 0.5 before it, n = 3" in said


def test_a_plot_says_each_limit_where_there_are_several(tmp_path: Path) -> None:
    rows = [ROWS[0], Row("sends", "few", "events/s", "a peer", [Pair(1.0, 2.0)])]
    draw(Plot("sends", rows, MACHINE), tmp_path / "sends.svg")
    said = texts(tmp_path / "sends.svg")
    assert said[said.index("few") + 1] == "to a peer"


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "another"):
        draw(Plot("sends", ROWS[:2], MACHINE), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "another").read_bytes()


def test_the_latest_run_of_a_benchmark_is_drawn(tmp_path: Path) -> None:
    write(tmp_path / "new.json", ROWS[:1], {**MACHINE, "at": "2026-02-01T12:00:00+00:00"})
    write(tmp_path / "old.json", ROWS, MACHINE)
    sends, waits = plots([tmp_path / "new.json", tmp_path / "old.json"])
    assert (len(sends.rows), sends.machine["at"]) == (1, "2026-02-01T12:00:00+00:00")
    assert waits.machine["at"] == MACHINE["at"]


def test_a_plot_is_shown_beneath_its_section_once() -> None:
    page = "# Figures\n\n**sends.** A.\nB.\n\n**idle, hand-shakes.** C.\n\nEnd.\n"
    once = shown(page, ["hand-shakes", "sends", "other"])
    images = [f"![{name}: its ratios as bars](performance/{name}.svg)" for name in ("sends", "hand-shakes")]
    assert (
        once == f"# Figures\n\n**sends.** A.\nB.\n\n{images[0]}\n\n**idle, hand-shakes.** C.\n\n{images[1]}\n\nEnd.\n"
    )
    assert shown(once, ["sends", "hand-shakes"]) == once


@pytest.mark.parametrize("plot", plots(sorted(FOLDER.glob("*.json"))), ids=lambda plot: plot.name)
def test_a_documented_plot_is_of_the_file_beside_it(plot: Plot) -> None:
    figures = {f"{row.ratio:.2f} ({row.spread[0]:.2f}–{row.spread[1]:.2f})" for row in plot.rows}
    assert figures <= set(texts(FOLDER / f"{plot.name}.svg")), (
        "make them again: python -m benchmarks.plots docs/performance/*.json"
    )


def test_every_plot_is_shown() -> None:
    names = set(re.findall(r"\(performance/([a-z_-]+)\.svg\)", FOLDER.with_suffix(".md").read_text()))
    drawn = {path.stem for path in FOLDER.glob("*.svg")}
    assert drawn == {plot.name for plot in plots(FOLDER.glob("*.json"))}
    assert drawn == names, "make them again: python -m benchmarks.plots docs/performance/*.json"
