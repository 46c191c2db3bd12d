"""Runs of targets in processes of their own, and what they say of themselves."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.fuzz.child import HUNG, MAX_INPUT_S
from tests.fuzz.registry import CHECKED, CORPUS, MAX_FILES, ROOT, corpus
from tests.fuzz.target import MAX_LEN
from tests.kit import checked_kernels

VAR: Final = ROOT / "var" / "fuzz"
"""Crashes and grown corpora; not in the repository."""
HAS_ATHERIS: Final = find_spec("atheris") is not None
STARTING_S: Final = 420
"""Imports, compiling of kernels and the corpus itself, on a slow and busy machine."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one target."""

    name: str
    is_guided: bool
    """Whether it was fuzzed, by coverage; False: its corpus ran once."""
    n_executions: int
    per_second: int
    n_corpus: int
    """Files of the kept corpus."""
    n_covered: int
    """Branches of Python that were seen; 0 without coverage."""
    failure: str = ""
    """What went wrong, the input's path and the command that runs it again; "" if nothing did."""


def environment(name: str) -> dict[str, str]:
    """That of a target's process."""
    return checked_kernels.environment() if name in CHECKED else dict(os.environ)


def child(
    mode: str, name: str, arguments: Sequence[str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """One process; what it says is kept. One that hangs is killed, and its exit code is 124."""
    command = [sys.executable, "-m", "tests.fuzz.child", mode, name, *arguments]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(name),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout_s)
            code = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            code = HUNG
    return subprocess.CompletedProcess(command, code, said)


class Nursery:
    """A process in which what these targets need is imported, and from which they are forked.

    All kernels check their indices in it: a second process for those that have to would need as
    long to start as all targets fuzz.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names: Final = names
        self._process: subprocess.Popen[str] | None = None
        self._log: Final = VAR / "nursery.log"

    def child(
        self, name: str, arguments: Sequence[str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """As `child` with "fuzz" does."""
        command = [sys.executable, "-m", "tests.fuzz.child", "fuzz", name, *arguments]
        output = VAR / name / "said"
        output.parent.mkdir(parents=True, exist_ok=True)
        if self._process is None:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.fuzz.child", "nursery", *self._names],
                    cwd=ROOT,
                    env=checked_kernels.environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        wanted = {"name": name, "arguments": arguments, "output": str(output)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**wanted, "timeout_s": timeout_s}) + "\n")
        self._process.stdin.flush()
        code = self._process.stdout.readline()
        if not code:
            said = self._log.read_text(errors="replace")[-2_000:]
            raise RuntimeError(f"the targets' process ended with {self._process.wait()}: {said}")
        return subprocess.CompletedProcess(command, int(code), output.read_text(errors="replace"))

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


def fuzz(
    name: str, seconds: float, n_runs: int | None, seed: int, nursery: Nursery | None = None
) -> Run:
    """Fuzz one target, beginning with its corpus; what is new stays in `var`."""
    grown, crashes = VAR / name / "grown", VAR / name / "crashes"
    for directory in (grown, crashes):
        directory.mkdir(parents=True, exist_ok=True)
    seeds = VAR / name / "seeds"
    shutil.rmtree(seeds, ignore_errors=True)
    arguments = [
        str(seeds),
        str(grown),
        str(seeds),
        *([str(CORPUS / name)] if (CORPUS / name).is_dir() else []),
        f"-artifact_prefix={crashes}/",
        f"-max_total_time={max(1, round(seconds))}",
        f"-timeout={MAX_INPUT_S}",
        f"-max_len={MAX_LEN}",
        f"-seed={seed}",
        "-rss_limit_mb=0",
        "-print_final_stats=1",
        "-len_control=0",
    ]
    if n_runs is not None:
        arguments.append(f"-runs={n_runs}")
    timeout_s = seconds + STARTING_S
    done = (
        child("fuzz", name, arguments, timeout_s)
        if nursery is None
        else nursery.child(name, arguments, timeout_s)
    )
    return _run(name, done, is_guided=True)


def replay(name: str, files: Sequence[Path]) -> Run:
    """Run these inputs once each, without coverage."""
    done = child("replay", name, [str(path) for path in files], STARTING_S)
    return _run(name, done, is_guided=False)


def keep(name: str) -> int:
    """Put the smallest inputs that cover what the grown corpus covers into the kept one.

    Returns how many files the kept corpus has then.
    """
    merged = VAR / name / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir(parents=True)
    sources = [str(CORPUS / name), str(VAR / name / "grown"), str(VAR / name / "seeds")]
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    limits = [f"-timeout={MAX_INPUT_S}", "-rss_limit_mb=0", f"-max_len={MAX_LEN}"]
    arguments = [str(VAR / name / "seeds"), "-merge=1", *limits, str(merged), *sources]
    done = child("fuzz", name, arguments, 3_600)
    if done.returncode:
        raise RuntimeError(f"{name}: the corpora could not be merged: {done.stdout[-2_000:]}")
    if not any(merged.iterdir()):
        raise RuntimeError(f"{name}: nothing came of merging the corpora: {done.stdout[-2_000:]}")
    # Those with names of their own were put there by hand, each for a bug.
    for path in corpus(name):
        if re.fullmatch(r"[0-9a-f]{40}", path.name):
            path.unlink()
    room = MAX_FILES - len(corpus(name))
    smallest = sorted(merged.iterdir(), key=lambda path: (path.stat().st_size, path.name))
    for path in smallest[:room]:
        shutil.copyfile(path, CORPUS / name / path.name)
    return len(corpus(name))


def _run(name: str, done: subprocess.CompletedProcess[str], *, is_guided: bool) -> Run:
    said = done.stdout
    n_executions = _last(r"stat::number_of_executed_units:\s*(\d+)", said)
    return Run(
        name=name,
        is_guided=is_guided,
        n_executions=n_executions,
        per_second=_last(r"stat::average_exec_per_sec:\s*(\d+)", said),
        n_corpus=len(corpus(name)),
        n_covered=_last(r" cov: (\d+)", said),
        failure=_failure(name, done) if done.returncode else "",
    )


def _last(pattern: str, said: str) -> int:
    found = re.findall(pattern, said)
    return int(found[-1]) if found else 0


def _failure(name: str, done: subprocess.CompletedProcess[str]) -> str:
    """The end of the trace, the input and the command that shows it again."""
    found = re.findall(r"(?:Test unit written to|FAILED) (\S+)", done.stdout)
    lines = [
        line
        for line in done.stdout.splitlines()
        if not re.match(r"INFO:|#\d+\s|stat::|MS: |DictionaryEntry|\s*NOTE:", line)
    ]
    trace = "\n".join(lines[-40:])
    what = f"{name}: exit code {done.returncode}\n{trace}"
    if not found:
        return f"{what}\nno single input did it: {shlex.join(done.args)}"
    command = f"python -m tests.fuzz {name} --replay {shlex.quote(found[-1])}"
    return f"{what}\ninput:  {found[-1]}\nreplay: {command}"
