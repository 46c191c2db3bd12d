"""Put a mutant into the running product: one function compiled again with a few words changed.

Also a pytest plugin: with the environment variable set, the mutant of that name is applied before
any test is collected.
"""

from __future__ import annotations

import importlib
import inspect
import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.simulation.mutant import Mutant
from tests.simulation.mutant_table import MUTANTS

ENVIRONMENT: Final = "DRIFTSENTRY_MUTANT"


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The product with the mutant in it, for a while."""
    owner, name, before = _find(mutant.where)
    setattr(owner, name, _changed(mutant, before))
    try:
        yield
    finally:
        setattr(owner, name, before)


def _find(where: str) -> tuple[Any, str, Any]:
    """What holds it, its name there, and the thing itself: `module:function`, `module:Class.f`."""
    module_name, path = where.split(":")
    owner: Any = importlib.import_module(module_name)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    return owner, name, inspect.getattr_static(owner, name)


def _changed(mutant: Mutant, before: Any) -> Any:
    """The function (or the text) with the change in it."""
    if isinstance(before, str):
        return _replaced(mutant, before)
    source = textwrap.dedent(inspect.getsource(before))
    scope: dict[str, Any] = {}
    code = compile(
        f"from __future__ import annotations\n{_replaced(mutant, source)}", "mutant", "exec"
    )
    exec(code, before.__globals__, scope)  # noqa: S102  of our own source, in a test
    return scope[before.__name__]


def _replaced(mutant: Mutant, text: str) -> str:
    # A rule that has been written anew needs its mutant written anew.
    assert text.count(mutant.old) == 1, f"{mutant.name}: {mutant.old!r} is not there just once"
    return text.replace(mutant.old, mutant.new)


def pytest_configure() -> None:
    """As a plugin: apply the mutant that the environment names, for the whole run."""
    name = os.environ[ENVIRONMENT]
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == name)
    owner, attribute, before = _find(mutant.where)
    setattr(owner, attribute, _changed(mutant, before))
