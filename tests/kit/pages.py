"""The pages of the documentation, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
ALL_PAGES = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text("utf-8")) if kind == language]


def commands(page: Path) -> Iterator[str]:
    """Every line of a code block, and every piece of inline code."""
    text = page.read_text("utf-8")
    for kind, block in FENCE.findall(text):
        if kind in {"", "sh"}:
            yield from block.splitlines()
    yield from INLINE.findall(FENCE.sub("", text))


def table(page: str, name: str) -> list[list[str]]:
    """The rows of a generated table, as cells."""
    text = (DOCS / page).read_text("utf-8")
    inner = text.split(f"<!-- table {name}: begin -->")[1].split(f"<!-- table {name}: end -->")[0]
    lines = [line for line in inner.splitlines() if line.startswith("|")][2:]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in cells]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found = set()
    for line in FENCE.sub("", page.read_text("utf-8")).splitlines():
        if match := re.match(r"#+ (.*)", line):
            kept = re.sub(r"[^\w\- ]", "", match[1].strip().lower())
            found.add(kept.replace(" ", "-"))
    return found
