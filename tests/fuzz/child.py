"""One target in a process of its own: `python -m tests.fuzz.child MODE TARGET [ARGUMENT...]`.

MODE is `fuzz` (the arguments are a directory for the target's seeds, then libFuzzer's; needs
atheris) or `replay` (the arguments are files, each of which is run once). The memory of the process
is capped, whatever the input asks for.

`python -m tests.fuzz.child nursery TARGET...` instruments once what these targets go through, which
is what a start mostly does, and forks for each line on stdin, a JSON object with `name`,
`arguments`, `output` (the file that takes what the target says) and `timeout_s`. It answers with a
line, the exit code.
"""

from __future__ import annotations

import hashlib
import json
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # loaded late: the fuzzer instruments what a target imports
    from tests.fuzz.target import Target

MAX_MEMORY_BYTES: Final = 6 << 30
"""Address space of a target's process: numba's compiler and Arrow reserve some 2 GiB of it."""
MAX_INPUT_S: Final = 30
"""One input takes a thousandth of it; a machine may be slow, and an endless loop has no end."""

FAILED: Final = 77
"""The exit code of libFuzzer, and of this, where an input failed."""
HUNG: Final = 124
"""That of a process that was killed because it took too long."""


def limit_memory() -> None:
    """Cap the address space, so that an allocation beyond it is a MemoryError."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, hard))


def fuzz(name: str, arguments: list[str]) -> None:
    """Run libFuzzer; does not return."""
    (target,) = instrumented([name])
    _fuzz(target, arguments)


def instrumented(names: Sequence[str]) -> list[Target]:
    """These targets, with all that they go through imported in a way that tells of branches."""
    atheris: Any = import_module("atheris")  # there is none on every platform

    import detectors.kernels  # noqa: PLC0415  what atheris must not load is loaded around it
    from tests.fuzz import registry  # noqa: PLC0415

    # What numba compiles must stay as it is written.
    kernels = [each.name for each in pkgutil.iter_modules(detectors.kernels.__path__)]
    also = [package for name in names for package in registry.ALSO.get(name, ())]
    with atheris.instrument_imports(
        include=[*registry.PACKAGES, *also],
        exclude=[f"detectors.kernels.{kernel}" for kernel in kernels],
    ):
        return [registry.load(name) for name in names]


def nursery(names: Sequence[str]) -> None:
    """Fork for each line of stdin, one after the other, until it ends."""
    targets = dict(zip(names, instrumented(names), strict=True))
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            with Path(wanted["output"]).open("wb") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            _fuzz(targets[wanted["name"]], wanted["arguments"])
        print(code_of(pid, wanted["timeout_s"]), flush=True)


def code_of(pid: int, timeout_s: float) -> int:
    """The exit code of a child; one that hangs is killed, and its code is 124."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return HUNG


def _fuzz(target: Target, arguments: Sequence[str]) -> None:
    atheris: Any = import_module("atheris")
    seeds, *given = arguments
    given += write_seeds(target, Path(seeds))
    target.run(target.seeds()[0])  # compiles what it needs: that is not an input's time
    limit_memory()
    prefix = next((a.partition("=")[2] for a in given if a.startswith("-artifact_")), None)

    def run(content: bytes) -> None:
        try:
            target.run(content)
        except Exception:
            if prefix is None:
                raise
            # Not left to libFuzzer: it does so late in the process's end, and not always.
            path = Path(f"{prefix}crash-{hashlib.sha1(content, usedforsecurity=False).hexdigest()}")
            path.write_bytes(content)
            traceback.print_exc()
            sys.stderr.write(f"Test unit written to {path}\n")
            sys.stderr.flush()
            os._exit(FAILED)

    # The first word is what libFuzzer starts again, to merge corpora.
    again = f"{sys.executable} -m tests.fuzz.child fuzz {target.name} {seeds}"
    atheris.Setup([again, *given], run)
    atheris.Fuzz()


def replay(name: str, files: list[str]) -> None:
    """Run each file once; exits with 1 at the first that fails."""
    from tests.fuzz import registry  # noqa: PLC0415  as above

    target = registry.load(name)
    target.run(target.seeds()[0])
    limit_memory()
    began_s = time.monotonic()
    for file in files:
        signal.alarm(MAX_INPUT_S)
        try:
            target.run(Path(file).read_bytes())
        except Exception:  # noqa: BLE001  whatever it is, it is what is looked for
            traceback.print_exc()
            sys.stderr.write(f"FAILED {file}\n")
            raise SystemExit(1) from None
        signal.alarm(0)
    took_s = time.monotonic() - began_s
    sys.stderr.write(f"stat::number_of_executed_units: {len(files)}\nstat::seconds: {took_s:.3f}\n")


def write_seeds(target: Target, directory: Path) -> list[str]:
    """Write the target's seeds, and its tokens beside them; the arguments that name the tokens."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (directory / f"seed-{number:02}").write_bytes(seed)
    if not target.tokens:
        return []  # libFuzzer takes an empty dictionary for a missing one
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in token) + '"' for token in target.tokens]
    dictionary = directory.with_suffix(".dict")
    dictionary.write_text("\n".join([*lines, ""]))
    return [f"-dict={dictionary}"]


def main() -> None:
    """Do what the command line says."""
    if sys.argv[1:2] == ["nursery"]:
        nursery(sys.argv[2:])
        return
    mode, name, *arguments = sys.argv[1:]
    {"fuzz": fuzz, "replay": replay}[mode](name, arguments)


if __name__ == "__main__":
    main()
