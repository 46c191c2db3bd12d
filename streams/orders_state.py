"""Mutes and planned changes as state: written, read, checked."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import orjson
from pydantic import Field, TypeAdapter, ValidationError

from detectors.base import BankState, StateError, require_array
from schemas.commands import Mute, PlannedChange
from streams.orders import MAX_ORDERS, Orders

_Spells = Annotated[
    list[Annotated[Mute | PlannedChange, Field(discriminator="kind")]],
    Field(max_length=MAX_ORDERS),
]
_SPELLS: TypeAdapter[list[Mute | PlannedChange]] = TypeAdapter(_Spells)


def snapshot_orders(orders: Orders) -> BankState:
    """Those in force, in the order in which they came."""
    document = [spell.model_dump() for spell in orders.spells.values()]
    return {"orders": np.frombuffer(orjson.dumps(document), np.uint8).copy()}


def restore_orders(state: BankState) -> Orders:
    """The orders of an earlier snapshot. Raises `StateError` where it is none."""
    raw = require_array(state, "orders", np.uint8, (None,)).tobytes()
    try:
        spells = _SPELLS.validate_json(raw)
    except ValidationError as error:
        raise StateError(f"the orders are not readable: {error}") from None
    orders = Orders()
    for spell in spells:
        if spell.command_id in orders.spells:
            raise StateError("two orders have one name")
        orders.begin(spell)
    return orders
