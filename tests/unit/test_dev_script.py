"""`./dev`, with a PATH of our own: what it finds, what it says, and that it becomes the program."""

import os
import subprocess
from pathlib import Path

import pytest

DEV = Path(__file__).parents[2] / "dev"
TOOLS = ("sh", "dirname", "cat", "mkdir", "rm", "mv")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder with the few tools that the script may count on, and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        where = next(Path(place) / tool for place in ("/bin", "/usr/bin") if (Path(place) / tool).exists())
        (folder / tool).symlink_to(where)
    return folder


def program(file: Path, script: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def copy_of_dev(folder: Path) -> Path:
    """The script in a folder where no uv was got yet."""
    dev = folder / "clone" / "dev"
    dev.parent.mkdir()
    dev.write_bytes(DEV.read_bytes())
    dev.chmod(0o755)
    return dev


def run(dev: Path, *arguments: str, path: Path, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(dev), *arguments],
        env={"PATH": str(path), **environment},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_is_a_posix_script_that_can_be_executed() -> None:
    assert os.access(DEV, os.X_OK)
    subprocess.run(["sh", "-n", str(DEV)], check=True)


def test_alone_it_says_what_it_can_do(path: Path) -> None:
    process = run(DEV, path=path)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    assert "./dev up" in output
    assert "./dev test" in output


def test_without_a_python_it_says_which_one_it_needs(path: Path, tmp_path: Path) -> None:
    process = run(copy_of_dev(tmp_path), "up", path=path)
    assert process.communicate(timeout=10)[1] == "dev: there is no Python 3.11 or newer: install one, or uv.\n"
    assert process.returncode == 1


def test_an_old_python_does_not_do(path: Path, tmp_path: Path) -> None:
    program(path / "python3", "exit 1")
    process = run(copy_of_dev(tmp_path), "up", path=path)
    assert "there is no Python 3.11 or newer" in process.communicate(timeout=10)[1]
    assert process.returncode == 1


def test_a_python_without_venv_is_named(path: Path, tmp_path: Path) -> None:
    program(path / "python3", "case $2 in *ensurepip*) exit 1 ;; esac")
    process = run(copy_of_dev(tmp_path), "up", path=path)
    assert "python3 has no venv: install it" in process.communicate(timeout=10)[1]
    assert process.returncode == 1


def test_a_failed_fetch_of_uv_is_one_sentence_and_leaves_nothing(path: Path, tmp_path: Path) -> None:
    # Makes the environment, whose pip then finds no network.
    program(
        path / "python3", '[ "$2" != venv ] || { mkdir -p "$3/bin"; printf "#!/bin/sh\\nexit 1\\n" > "$3/bin/python"; }'
    )
    program(path / "chmod", "")
    dev = copy_of_dev(tmp_path)
    process = run(dev, "up", path=path)
    assert "uv could not be fetched: is there a network?" in process.communicate(timeout=10)[1]
    assert process.returncode == 1
    assert list((dev.parent / ".dev").iterdir()) == []


@pytest.fixture
def environment(path: Path, tmp_path: Path) -> Path:
    """A uv that finds everything up to date, and the environment's programs, which say what they were given."""
    program(path / "uv", 'echo "$*" >> "$UV_LOG"')
    for name in ("lastseen", "python"):
        program(
            tmp_path / "env" / "bin" / name, f'echo "{name} $$ $PWD $LASTSEEN_DATA_DIR|$LASTSEEN_DEFAULT_DATA_DIR $*"'
        )
    return tmp_path / "env"


@pytest.mark.parametrize(
    ("typed", "started", "arguments"),
    [
        (["up", "--port", "9"], "lastseen", "up --port 9"),
        (["run", "--", "ls", "a b"], "lastseen", "run -- ls a b"),
        (["--help"], "lastseen", "--help"),
        (["test", "-k", "x"], "python", "-m pytest -k x"),
    ],
)
def test_it_becomes_the_program(
    path: Path, tmp_path: Path, environment: Path, typed: list[str], started: str, arguments: str
) -> None:
    (elsewhere := tmp_path / "else where").mkdir()
    process = run(
        DEV, *typed, path=path, cwd=elsewhere, UV_PROJECT_ENVIRONMENT=str(environment), UV_LOG=str(tmp_path / "log")
    )
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    # Tests run in the project, and on no instance of the developer's; all else where it was typed.
    where, default = (DEV.parent, "") if started == "python" else (elsewhere, DEV.parent / ".lastseen")
    # A default, not a choice: `LASTSEEN_KAFKA=… ./dev topics list` asks that Kafka.
    assert output == f"{started} {process.pid} {where} |{default} {arguments}\n"
    assert "sync" in (tmp_path / "log").read_text()


def test_an_environment_that_cannot_be_made_is_one_sentence(path: Path, environment: Path) -> None:
    program(path / "uv", 'case " $* " in *" --check "*) ;; *) echo "error: no route" >&2 ;; esac; exit 2')
    process = run(DEV, "up", path=path, UV_PROJECT_ENVIRONMENT=str(environment))
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (1, "")
    assert (
        errors
        == "error: no route\ndev: the environment could not be brought up to date (see above): is there a network?\n"
    )
