"""What is found of an audit trail when it is checked."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

BreakKind = Literal[
    "changed", "missing", "reordered", "doubled", "foreign", "truncated", "restarted"
]


class TrailBreak(BaseModel):
    """One place at which a trail is broken."""

    model_config = ConfigDict(frozen=True)

    kind: BreakKind = Field(
        description="`changed`: other content than was hashed. `missing`: records were taken out. "
        "`reordered`: they stand later. `doubled`: a record stands there again. `foreign`: of "
        "another chain or writer, or no record at all. `truncated`: a kept head lies behind the "
        "end. `restarted`: a person let a new chain begin here, after a loss."
    )
    seq: int = Field(description="The record it is about, by its place in the chain.")
    place: int = Field(description="Offset on the topic, or line of the file, where it shows.")
    detail: str = Field(description="The same in words.")


class TrailVerification(BaseModel):
    """What was found of a trail."""

    model_config = ConfigDict(frozen=True)

    is_whole: bool = Field(description="No break, and its beginning is known.")
    begins: Literal["first_record", "kept_head", "unknown", "empty"] = Field(
        description="`first_record`: with seq 1. `kept_head`: later, behind a head that was kept. "
        "`unknown`: later, and nothing says what was before. `empty`: there is no record."
    )
    chain: str | None = Field(description="Its name; null where it is empty.")
    first_seq: int | None = Field(description="`seq` of its first record.")
    n_records: int = Field(description="Records that belong to it.")
    head: str | None = Field(description="Its end, as `SEQ:HASH`: keep it somewhere else.")
    heads_found: list[str] = Field(description="Kept heads that it holds.")
    heads_before: list[str] = Field(description="Kept heads from before its beginning.")
    n_breaks: int = Field(description="All of them.")
    breaks: list[TrailBreak] = Field(description="The first ones, in the order of the trail.")
