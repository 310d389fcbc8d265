"""The build of the console's pages by the Node and the lock file that the package is built with; the send loop's."""

import json
import shutil
from pathlib import Path

import pytest

import hatch_build

ROOT = Path(__file__).parents[2]


def copy_of_sources(folder: Path) -> Path:
    """A checkout of what the pages are built from, and nothing built."""
    for file in hatch_build._files(ROOT):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, folder / file)
    (folder / "service/web").mkdir(parents=True)
    return folder


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_what_is_built_is_not_built_again() -> None:
    hatch_build.build(ROOT)
    pages = ROOT / hatch_build.PAGES
    before = [(path, path.stat().st_ino) for path in everything_in(pages)]
    assert any(path.name == "index.html" for path, _ in before)
    assert hatch_build.build(ROOT) is False
    assert [(path, path.stat().st_ino) for path in everything_in(pages)] == before


def test_a_change_is_built_and_a_mistake_leaves_what_there_was(tmp_path: Path) -> None:
    root = copy_of_sources(tmp_path)
    # What is installed by the lock file is the same.
    (root / ".dev").symlink_to(ROOT / ".dev")
    installed = everything_in(hatch_build._install(root))
    style = root / hatch_build.CONSOLE / "src/style.css"
    style.write_text(f"{style.read_text()}\n.changed {{ color: green }}\n")
    assert hatch_build.build(root) is True
    built = everything_in(root / hatch_build.PAGES)
    assert [path for path in built if path.suffix == ".css" and "changed" in path.read_text()]
    main = root / hatch_build.CONSOLE / "src/main.tsx"
    main.write_text(f"{main.read_text()}\n)")
    with pytest.raises(hatch_build.CannotBuild, match=r"could not be built:[\s\S]*main\.tsx"):
        hatch_build.build(root)
    assert everything_in(root / hatch_build.PAGES) == built
    assert everything_in(hatch_build._install(root)) == installed, "nothing is left of it"


def test_without_the_registry_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy_of_sources(tmp_path / "root")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(hatch_build.CannotBuild, match="is there a network") as error:
        hatch_build.build(root)
    assert "127.0.0.1:9" in str(error.value)
    assert "\n" not in str(error.value)
    assert everything_in(root / ".dev") == []
    assert everything_in(root / "service/web") == []


def test_nothing_is_asked_of_another_place_than_the_registry() -> None:
    lock = json.loads((ROOT / hatch_build.CONSOLE / "package-lock.json").read_text())
    for name, package in lock["packages"].items():
        if name:
            assert package.get("resolved", "https://registry.npmjs.org/").startswith("https://registry.npmjs.org/")
            assert package["integrity"].startswith("sha512-"), name


def test_the_send_loop_is_built_once_and_a_fault_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    loop, source = tmp_path / hatch_build.LOOP, tmp_path / hatch_build.NATIVE
    source.parent.mkdir(parents=True)
    shutil.copyfile(ROOT / hatch_build.NATIVE, source)
    shutil.copyfile(ROOT / "hatch_build.py", tmp_path / "hatch_build.py")
    assert hatch_build.build_loop(tmp_path) is None
    first = loop.stat().st_ino
    assert hatch_build.build_loop(tmp_path) is None
    assert loop.stat().st_ino == first, "it was not built again"
    source.write_text(f"{source.read_text()}\n#error of the test\n")
    assert "of the test" in (hatch_build.build_loop(tmp_path) or "")
    assert everything_in(source.parent) == [source], "one of other sources is not kept"
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "no-such-compiler does not run" in (hatch_build.build_loop(tmp_path) or "")
