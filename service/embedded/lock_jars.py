"""Makes `jars.lock.json` anew: `python -m service.embedded.lock_jars`.

Resolves Kafka's dependencies, fetches every jar into an empty folder and writes down what came. To be run when
Kafka's version is raised; the difference is reviewed like any other change.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import jgo
from jgo.maven import MavenContext

ENDPOINT = "org.apache.kafka:kafka_2.13:4.3.1+org.slf4j:slf4j-simple:1.7.36"

# Only Scala macros and the log4j tools need these; slf4j-simple does the logging.
LEFT_OUT = {"scala-reflect", "log4j-core"}

LOCK = Path(__file__).with_name("jars.lock.json")


def main() -> None:
    """Resolve, fetch and write the lock."""
    jars: list[dict[str, str | int]] = []
    size = 0
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder))
        for found in jgo.resolve(ENDPOINT):
            if found.packaging != "jar" or found.classifier or found.artifactId in LEFT_OUT:
                continue
            artifact = context.project(found.groupId, found.artifactId).at_version(found.version).artifact()
            content = artifact.resolve().read_bytes()
            size += len(content)
            jars.append(
                {
                    "group": found.groupId,
                    "artifact": found.artifactId,
                    "version": found.version,
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "bytes": len(content),
                }
            )
            print(f"{found.groupId}:{found.artifactId}:{found.version}")
    LOCK.write_text(json.dumps({"endpoint": ENDPOINT, "jars": jars}, indent=1) + "\n")
    print(f"{len(jars)} jars, {size / 1e6:.1f} MB, locked in {LOCK}")


if __name__ == "__main__":
    main()
