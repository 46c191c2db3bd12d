"""What the Kafka tests need is found, fetched and missed as it should be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import install as module
from tests.kit.install import archive_classes, install, only_one
from tests.kit.kafka_libs import (
    CLASSES,
    LIBS,
    MANIFEST_NAME,
    jars_complete,
    java_command,
    write_manifest,
)
from tests.kit.kafka_node import KafkaStartError


def test_a_cut_or_missing_jar_is_noticed(tmp_path: Path) -> None:
    assert not jars_complete(tmp_path)
    (tmp_path / "kafka_2.13-4.3.1.jar").write_bytes(b"whole")
    (tmp_path / "other.jar").write_bytes(b"whole")
    write_manifest(tmp_path)
    assert jars_complete(tmp_path)
    (tmp_path / "other.jar").write_bytes(b"cut")
    assert not jars_complete(tmp_path)
    (tmp_path / "other.jar").unlink()
    assert not jars_complete(tmp_path)


@pytest.mark.kafka
def test_installing_again_finds_everything_there() -> None:
    assert "there" in install()


@pytest.mark.kafka
def test_nodes_share_an_archive_of_classes_that_is_written_once() -> None:
    archive_classes()
    first = CLASSES.stat()
    archive_classes()
    assert CLASSES.stat() == first
    java = java_command()
    assert java is not None
    # With `-Xshare:on` Java ends where the archive is not for it and these jars.
    subprocess.run(
        [
            *(java, "-Xshare:on", f"-XX:SharedArchiveFile={CLASSES}", "-cp", f"{LIBS}/*"),
            *("kafka.tools.StorageTool", "random-uuid"),
        ],
        check=True,
        capture_output=True,
    )


def test_a_java_that_writes_no_archive_is_said_and_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise KafkaStartError("node 1 ended: Unrecognized VM option")

    (tmp_path / MANIFEST_NAME).write_text("{}")
    monkeypatch.setattr(module, "LIBS", tmp_path)
    monkeypatch.setattr(module, "CLASSES", tmp_path / "classes.jsa")
    monkeypatch.setattr(module, "write_class_archive", fails)
    archive_classes()
    assert "Unrecognized VM option" in capsys.readouterr().err


def test_the_lock_is_held_against_other_processes(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = (
        "import pathlib, sys; from tests.kit.install import only_one\n"
        "with only_one(pathlib.Path(sys.argv[1])): print('in')"
    )
    with only_one(lock), pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-c", code, str(lock)], cwd=LIBS.parents[1], timeout=2, check=True
        )
    subprocess.run(
        [sys.executable, "-c", code, str(lock)], cwd=LIBS.parents[1], timeout=30, check=True
    )


@pytest.mark.parametrize("n_processes", [0, 2])
def test_ci_turns_missing_kafka_into_a_failure_and_otherwise_one_loud_line(
    tmp_path: Path, n_processes: int
) -> None:
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kit/test_kit.py"),
        *("-k", "not_made_by_asking or committed_readers", f"-n{n_processes}"),
    ]
    # A path without Java: the interpreter is started by its full path.
    env = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    plain = subprocess.run(
        command, env=env, cwd=LIBS.parents[1], capture_output=True, text=True, check=False
    )
    assert plain.returncode == 0, plain.stdout
    assert plain.stdout.count("NO REAL KAFKA: 2 TESTS DID NOT RUN (no Java 17") == 1
    assert "2 skipped" in plain.stdout
    in_ci = subprocess.run(
        command,
        env=env | {"CI": "true"},
        cwd=LIBS.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert in_ci.returncode == pytest.ExitCode.TESTS_FAILED
    assert in_ci.stdout.count("CI: 2 TESTS NEED A REAL KAFKA AND FAIL: no Java 17") == 1
    assert "2 errors" in in_ci.stdout
