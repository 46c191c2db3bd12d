"""Apache Kafka's jars and the Java to run them: where they are, and whether they are whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
POM: Final = Path(__file__).with_name("pom.xml")
LIBS: Final = REPOSITORY / "var" / "kafka-libs"
CLASSES: Final = LIBS.with_name("kafka-classes.jsa")
"""An archive of Kafka's classes for one Java and these jars: a start costs half as much with it."""
MANIFEST_NAME: Final = "manifest.json"
LOWEST_JAVA: Final = 17


class KafkaUnavailableError(RuntimeError):
    """There is no Java or there are no jars; the message says what to install."""


def pom_digest() -> str:
    """What the jars were resolved from: another pom means other jars."""
    return hashlib.sha256(POM.read_bytes()).hexdigest()


def write_manifest(libs: Path) -> None:
    """Note the name and size of every jar, after a complete download."""
    jars = {jar.name: jar.stat().st_size for jar in sorted(libs.glob("*.jar"))}
    manifest = {"pom_sha256": pom_digest(), "jars": jars}
    (libs / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def jars_complete(libs: Path = LIBS) -> bool:
    """Whether every jar of this pom is there at its full size."""
    try:
        manifest = json.loads((libs / MANIFEST_NAME).read_text(encoding="utf-8"))
        sizes = manifest["jars"]
        return (
            manifest["pom_sha256"] == pom_digest()
            and any(name.startswith("kafka_") for name in sizes)
            and all((libs / name).stat().st_size == size for name, size in sizes.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def java_command() -> str | None:
    """The Java to use, of `JAVA_HOME` or the path, if it is new enough."""
    candidates = [shutil.which("java")]
    if home := os.environ.get("JAVA_HOME"):
        candidates.insert(0, shutil.which("java", path=str(Path(home) / "bin")))
    for candidate in candidates:
        if candidate is not None and java_version(candidate) >= LOWEST_JAVA:
            return candidate
    return None


@lru_cache(maxsize=8)  # each node asks, several times, and the answer costs a start of Java
def java_version(java: str) -> int:
    """The feature version of a Java (17 of `17.0.15`), 0 where it does not run."""
    try:
        said = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', said.stderr + said.stdout)
    return int(found.group(1)) if found and said.returncode == 0 else 0


def why_unavailable() -> str | None:
    """Why a real Kafka cannot be started here, in one line; None where it can."""
    if java_command() is None:
        return f"no Java {LOWEST_JAVA} or later; run `python -m tests.kit.install`"
    if not jars_complete():
        return "Kafka's jars are not in var/kafka-libs; run `python -m tests.kit.install`"
    return None
