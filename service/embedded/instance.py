"""`instance.json`: what a running instance tells the tools on its machine."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from service.embedded.errors import DataDirError

FILE_NAME = "instance.json"


@dataclass(slots=True)
class Instance:
    """Addresses and processes of an instance.

    `url` is the first node's, `nodes` are all of theirs, `kafka` is a bootstrap list, `processes` maps names
    (`supervisor`, `node-1`, `kafka-1`, `postgres`, `log-writer`, `runner` …) to process ids.
    """

    url: str
    nodes: list[str]
    kafka: str
    topic: str
    database_url: str
    epoch: str
    processes: dict[str, int] = field(default_factory=dict)

    def write(self, data_dir: Path) -> None:
        """Replaces `instance.json` in one step; readable by its owner alone, for it holds a password."""
        handle, temporary = tempfile.mkstemp(prefix=f".{FILE_NAME}-", dir=data_dir)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(asdict(self), file, indent=2)
                file.write("\n")
            os.replace(temporary, data_dir / FILE_NAME)
        except BaseException:
            os.unlink(temporary)
            raise


def read(data_dir: Path) -> Instance:
    """The instance of `data_dir`. Raises DataDirError when there is none or it can't be read."""
    path = data_dir / FILE_NAME
    try:
        return Instance(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise DataDirError(f"There is no instance in {data_dir}: start one with `lastseen up`.") from None
    except (OSError, ValueError, TypeError) as error:
        raise DataDirError(f"{path} can't be read ({error}): start the instance again.") from error
