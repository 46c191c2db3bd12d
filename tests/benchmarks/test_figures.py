"""The documentation's figures stand where a command puts them."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tools.figures import PAGES, FiguresError, filled, places

COMMAND = "python -m benchmarks.scale --polls 9"
PAGE = f"""before
<!-- figures: {COMMAND}, models -->
old
<!-- figures: end -->
between
<!-- figures: python -m benchmarks.kernels, kernels -->
kept
<!-- figures: end -->
after
"""


def document(**changed: Any) -> dict[str, Any]:
    said = {
        "benchmark": "scale",
        "machine": "a machine",
        "on": "2026-11-25",
        "not_run": [],
        "tables": [
            {"name": "models", "title": "by models", "columns": ["n", "x"], "rows": [["1", "2"]]}
        ],
    }
    return said | changed


def test_a_table_replaces_what_stood_in_its_place_and_there_alone() -> None:
    page = filled(PAGE, {COMMAND: document()})
    assert "old" not in page
    below = f"By models. a machine, 2026-11-25. `{COMMAND}`"
    assert f"| n | x |\n|---|---|\n| 1 | 2 |\n\n{below}\n" in page
    assert page.startswith("before\n<!-- figures: ")
    assert page.endswith(PAGE[PAGE.index("between") :])
    assert filled(page, {COMMAND: document()}) == page


def test_what_was_not_run_is_said() -> None:
    assert "Not run: this and that." in filled(PAGE, {COMMAND: document(not_run=["this and that"])})


def test_a_table_that_there_is_not_is_an_error() -> None:
    with pytest.raises(FiguresError, match="no table 'models'"):
        filled(PAGE, {COMMAND: document(tables=[])})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_benchmarks_that_there_are(page: Any) -> None:
    text = page.read_text("utf-8")
    found = list(places(text))
    assert len(found) == text.count("<!-- figures: python") == text.count("<!-- figures: end -->")
    assert found
    for place in found:
        assert importlib.util.find_spec(f"benchmarks.{place.benchmark}") is not None
