"""Get what the tests need beside Python: Java, Maven, Kafka's jars, Alertmanager, a compose.

    python -m tests.kit.install

Java and Maven come from apt-get where that is there and we are root; elsewhere the packages to
install are named. The jars are downloaded once, into `var/kafka-libs`, and Debian's package of
Alertmanager is unpacked into `var/alertmanager`: installed it would run as a service. Several calls
at the same time wait for each other. What could not be had is said; only under `CI=true` is it a
failure, since without Kafka the tests that need it are skipped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.kit.alertmanager_server import unpack_alertmanager
from tests.kit.class_archive import write_class_archive
from tests.kit.kafka_libs import (
    CLASSES,
    LIBS,
    LOWEST_JAVA,
    MANIFEST_NAME,
    POM,
    KafkaUnavailableError,
    jars_complete,
    java_command,
    java_version,
    write_manifest,
)
from tests.kit.kafka_node import KafkaStartError

PACKAGES = ("default-jre-headless", "maven")


def ci_forbids_skips() -> bool:
    """Whether this run is one where a test that cannot run is a failure."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the file stays."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def install(libs: Path = LIBS) -> str:
    """Make sure of Java and the jars; says in one line what was done.

    Raises `KafkaUnavailableError` that names what to install.
    """
    with only_one(_lock(libs)):
        complete = jars_complete(libs)
        if complete and java_command() is not None:
            return f"Kafka's jars are there: {libs}"
        require_commands(maven=not complete)
        if not complete:
            download(libs)
    return f"Kafka's jars: {libs}"


def archive_classes() -> None:
    """Have an archive of the classes of these very jars: once, for all starts that follow.

    A Java that writes none is said, and does without: starts only take longer.
    """
    with only_one(_lock(LIBS)):
        jars_since_s = (LIBS / MANIFEST_NAME).stat().st_mtime
        if CLASSES.exists() and CLASSES.stat().st_mtime >= jars_since_s:
            return
        try:
            write_class_archive()
        except (KafkaStartError, OSError) as error:
            print(f"no archive of Kafka's classes: {str(error)[:500]}", file=sys.stderr)


def _lock(libs: Path) -> Path:
    return libs.with_name(libs.name + ".lock")


def require_commands(*, maven: bool) -> None:
    """Have Java, and Maven where asked for, by apt-get if it may be used."""
    if java_command() is not None and (not maven or shutil.which("mvn") is not None):
        return
    apt_install(PACKAGES if maven else PACKAGES[:1])
    java_version.cache_clear()
    missing = []
    if java_command() is None:
        missing.append(f"Java {LOWEST_JAVA} or later")
    if maven and shutil.which("mvn") is None:
        missing.append("Maven")
    if missing:
        raise KafkaUnavailableError(
            f"{' and '.join(missing)} not found. Debian, Ubuntu: apt-get install"
            f" {' '.join(PACKAGES)}; Fedora: dnf install java-21-openjdk-headless maven;"
            " macOS: brew install openjdk maven, and set JAVA_HOME"
        )


def apt_install(packages: Sequence[str]) -> None:
    """Install these where apt-get is there and we are root; what fails is said."""
    apt_get = shutil.which("apt-get")
    if apt_get is None or os.geteuid() != 0:
        return
    print(f"installing {', '.join(packages)} by apt-get", flush=True)
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            [apt_get, "-q", *arguments], env=env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            last = (done.stderr or done.stdout).strip().splitlines()[-3:]
            print(f"apt-get {arguments[0]} failed: {' / '.join(last)}", flush=True)


def compose_commands() -> list[list[str]]:
    """The compose programs of this machine."""
    found = [["docker-compose"]] if shutil.which("docker-compose") else []
    if shutil.which("docker"):
        plugin = ["docker", "compose"]
        if subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:
            found.append(plugin)
    return found


def require_compose() -> None:
    """Have a compose program where apt-get may be used: one test checks the compose file by it."""
    if not compose_commands():
        apt_install(["docker-compose"])


def download(libs: Path) -> None:
    """Have Maven copy the jars, and put them in place at once, whole or not at all."""
    mvn = shutil.which("mvn")
    if mvn is None:
        raise KafkaUnavailableError("Maven not found")
    with tempfile.TemporaryDirectory(prefix="kafka-libs-", dir=libs.parent) as scratch:
        target = Path(scratch) / "libs"
        # A copy of the pom: Maven must not write beside the one under version control.
        pom = Path(scratch) / "pom.xml"
        shutil.copyfile(POM, pom)
        done = subprocess.run(
            [
                *(mvn, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"),
                *(f"-DoutputDirectory={target}", "-DincludeScope=runtime"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = " / ".join((done.stdout + done.stderr).strip().splitlines()[-5:])
            raise KafkaUnavailableError(f"Maven could not download Kafka's jars: {last}")
        write_manifest(target)
        if not jars_complete(target):
            raise KafkaUnavailableError("Maven downloaded something, but not Kafka's jars")
        shutil.rmtree(libs, ignore_errors=True)
        target.rename(libs)


def main() -> int:
    """Install, and say how it went; the exit status."""
    try:
        require_compose()
        print(unpack_alertmanager())
        print(install())
        archive_classes()
    except KafkaUnavailableError as error:
        print(f"NO REAL KAFKA FOR THE TESTS: {error}", file=sys.stderr)
        if ci_forbids_skips():
            return 1
        print("The tests that need it will be skipped.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
