"""What every section of a detection config is made of."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


FROM_LIST: Final = BeforeValidator(_as_tuple)
"""Of a tuple where types are strict: a file has lists only."""


class Strict(BaseModel):
    """Frozen, and an unknown field is an error: a typo must not pass for a setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
