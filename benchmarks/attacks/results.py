"""What all parts of a run came to, for the goals that need several of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.attacks.adaptive import Adapted
from benchmarks.attacks.agreement import Stolen
from benchmarks.attacks.breaks import Broken
from benchmarks.attacks.cost import Cost, PeerCost
from benchmarks.attacks.duels import Duel
from benchmarks.attacks.frog import Boiled
from benchmarks.attacks.poisoned import Lies
from benchmarks.attacks.quiet import Quiet
from benchmarks.attacks.thefts import Mixed, Ranked


@dataclass(slots=True)
class Results:
    """Of each part; empty where it was not run."""

    duels: list[Duel] = field(default_factory=list)
    ranked: list[Ranked] = field(default_factory=list)
    mixed: list[Mixed] = field(default_factory=list)
    quiet: list[Quiet] = field(default_factory=list)
    stolen: list[Stolen] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    peer_costs: list[PeerCost] = field(default_factory=list)
    lies: list[Lies] = field(default_factory=list)
    boiled: list[Boiled] = field(default_factory=list)
    adapted: list[Adapted] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
