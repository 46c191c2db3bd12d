"""What an event may be at most: every bound of the wire form that is not in the config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.config import DetectionConfig

MAX_ID_CHARS: Final = 256
"""Of `event_id`, `model_id`, `model_version` (never empty) and of every other string field."""
MAX_NAME_CHARS: Final = 256
"""Of a feature's, a slice's or a class's name, and of a slice's value."""
MAX_CATEGORY_CHARS: Final = 256
"""Of a feature's value that is a string, to be told apart by: a longer one is an other category,
and costs its event nothing."""
MAX_CATEGORIES_CHARS: Final = 2_048
"""Of the names of one feature's categories together: one for which there is no room is an other."""
MAX_FEATURES: Final = 4_096
"""Features of one event."""
MAX_SHARD: Final = 2**31 - 1
MAX_TS_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999; `ts` starts at 0, the first of 1970."""
MAX_TS_CHARS: Final = 64
"""Of `ts` as a string: far more digits of a second than anybody has."""
MAX_KEY_BYTES: Final = 2_048
"""Of a refused record's key as its dead letter repeats it: the longest right key is 1,035."""
MAX_ARROW_BYTES: Final = 2**20
"""Of a record that is an Arrow stream."""
MAX_ARROW_ROWS: Final = 4_096
"""Events of one such record."""
MAX_ARROW_VALUES: Final = 2**18
"""Rows times columns of one such record; a column of null takes no bytes, and each value time."""
EXCERPT_BYTES: Final = 256
"""Of a refused record's value, where the config allows an excerpt at all."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What the detection config says of a record before it is read."""

    max_event_bytes: int = 65_536
    """Of a record's value; a longer one is refused unread."""
    excerpt: bool = False
    """Put a refused value's first `EXCERPT_BYTES` bytes into its dead letter."""
    event_ids: bool = False
    """Fingerprint the ids of events: it costs as much as reading some fields more."""

    @classmethod
    def of(cls, config: DetectionConfig) -> DecodeLimits:
        """The limits that `config` states."""
        return cls(
            max_event_bytes=config.max_event_bytes,
            excerpt=config.dead_letter_excerpt,
            event_ids=config.reads_event_ids,
        )
