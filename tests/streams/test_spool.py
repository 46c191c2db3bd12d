"""The spool: whole files, this user's alone, and nothing on the disk can break it."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.records import TopicPartition
from streams import spool as spool_module
from streams.ports import StoredManifest, StoreError
from streams.segments import segment_digest
from streams.spool import Spool
from tests.streams.checkpoint_kit import usable, whole

TP = TopicPartition("driftsentry.events", 3)
SEGMENTS = {segment_digest(content): content for content in (b"one", bytes(5_000))}


def kept(directory: Path) -> Spool:
    spool = Spool(directory, group="group")
    spool.keep(TP, "one", 7, b"manifest", SEGMENTS)
    return spool


def test_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    spool = kept(tmp_path / "a" / "spool")
    assert stat.S_IMODE(spool.path(TP).stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.path(TP).parent.stat().st_mode) == 0o700
    assert [path.name for path in spool.path(TP).parent.iterdir()] == [spool.path(TP).name]


def test_groups_topics_and_partitions_have_files_of_their_own(tmp_path: Path) -> None:
    tps = [TP, TopicPartition("driftsentry-events", 3), TopicPartition("x" * 249, 3)]
    paths = {Spool(tmp_path, group=g).path(tp) for g in ("a", "b", "a/../b") for tp in tps}
    assert len(paths) == 9
    assert all(path.parent == tmp_path and len(path.name) < 200 for path in paths)


@given(
    cut=st.integers(0, 2_500),
    flips=st.lists(st.tuples(st.integers(0, 2_500), st.integers(1, 255)), max_size=2),
    added=st.binary(max_size=20),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_the_checkpoint_or_none(
    tmp_path: Path, cut: int, flips: list[tuple[int, int]], added: bytes
) -> None:
    spool = Spool(tmp_path, group="group")
    spool.keep(*whole(TP, 7))
    before = spool.path(TP).read_bytes()
    damaged = bytearray(before[:cut] + added)
    for at, mask in flips:
        if damaged:
            damaged[at % len(damaged)] ^= mask
    spool.path(TP).write_bytes(damaged)
    assert usable(spool, TP) == ([7] if damaged == before else [])
    # The next one replaces it, whatever it was.
    spool.keep(*whole(TP, 8))
    assert usable(spool, TP) == [8]


@pytest.mark.parametrize("kind", ["link", "directory", "fifo"])
def test_what_is_no_file_is_an_error_and_is_not_followed(tmp_path: Path, kind: str) -> None:
    spool = kept(tmp_path)
    path = spool.path(TP)
    if kind == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        path.mkdir() if kind == "directory" else os.mkfifo(path)
    with pytest.raises(StoreError, match="the spool"):
        spool.manifests(TP)
    with pytest.raises(StoreError, match="the spool"):
        spool.segments(TP, list(SEGMENTS))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = kept(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        spool.keep(TP, "one", 8, b"next", SEGMENTS)
    assert spool.manifests(TP) == [StoredManifest("one", 7, b"manifest")]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_directory_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="while opening it"):
        Spool(tmp_path / "file" / "spool", group="group")


def test_leftovers_of_dead_processes_go_after_a_while(tmp_path: Path) -> None:
    old, young = tmp_path / "a.1.writing", tmp_path / "a.2.writing"
    for path in (old, young):
        path.write_text("half")
    long_ago_s = time.time() - 7_200
    os.utime(old, (long_ago_s, long_ago_s))
    Spool(tmp_path, group="group")
    assert list(tmp_path.iterdir()) == [young]


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MAX_FILES", 3)
    spool = Spool(tmp_path, group="group")
    for number in range(6):
        tp = TopicPartition("events", number)
        spool.keep(tp, "one", number, b"m", {})
        written_s = 1_000_000.0 + number
        os.utime(spool.path(tp), (written_s, written_s))
    # The one that was written last is the youngest, although its time was set afterwards.
    left = {number for number in range(6) if spool.manifests(TopicPartition("events", number))}
    assert left == {3, 4, 5}
