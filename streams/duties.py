"""What a worker is for, and what it makes of a partition's events. Pure: no I/O, no clock.

Each duty has a consumer group, lineages and outputs of its own, so that what one of them costs
never slows the other. Both see the same events, decoded by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from detectors.base import BankState
from detectors.fold import Fold, algorithm_versions
from schemas.alerts import AlertData
from schemas.batch import Decoded
from schemas.commands import Order, SetReference
from schemas.config import DetectionConfig
from streams.cloudevents import alert_output
from streams.policy import POLICY_VERSION, Policy
from streams.ports import Output

Duty = Literal["drift", "security"]
DECODER_VERSION: Final = 2
"""Version of the rules by which records are accepted and refused."""


def state_versions(duty: Duty = "drift") -> dict[str, int]:
    """The version of everything that determines the state of a duty, by part name."""
    own = {"drift": DriftWork.versions}[duty]()
    return own | {"decoder": DECODER_VERSION}


class DriftWork:
    """The duty `drift`: drift detectors, episodes, alerts.

    `parts` is the state of an earlier one; raises `StateError` where it does not fit.
    """

    def __init__(
        self,
        config: DetectionConfig,
        lineage_id: str,
        partition: int,
        parts: Mapping[str, BankState] | None = None,
    ) -> None:
        self.fold = Fold(config, parts)
        self.policy = Policy(
            config.policy,
            lineage_id,
            config.deployment,
            partition,
            None if parts is None else parts["policy"],
        )

    @staticmethod
    def versions() -> dict[str, int]:
        """The version of each part of its state."""
        return algorithm_versions() | {"policy": POLICY_VERSION}

    @property
    def counters(self) -> Mapping[str, int]:
        """What the fold has counted."""
        return self.fold.counters

    @property
    def watermark_ms(self) -> int:
        """The latest event time."""
        return self.fold.watermark_ms

    def process(self, events: Decoded, next_number: Callable[[], int]) -> list[AlertData]:
        """Fold these events; the alerts that follow, in the order of the log."""
        return self.policy.decide(self.fold.process(events), next_number)

    def output(self, topic: str, said: AlertData, time_ms: int) -> Output:
        """The record of an alert."""
        return alert_output(topic, said, time_ms)

    def obey(
        self, order: Order, offset: int, said_ms: int, next_number: Callable[[], int]
    ) -> list[AlertData]:
        """Set a reference, or hold alerts back, before the record at `offset`; what is told."""
        if isinstance(order, SetReference):
            self.fold.set_reference(order.model_id, order.model_version, order.document)
        return self.policy.obey(order, offset, said_ms, next_number)

    def concerns(self, order: Order) -> bool:
        """Whether this changes anything here."""
        if isinstance(order, SetReference):
            name = order.model_id, order.model_version
            return not self.fold.catalog.has_reference(name, order.digest)
        return self.policy.concerns(order)

    def switch(self, config: DetectionConfig) -> None:
        """Go on under another config."""
        self.fold.reconfigure(config)
        self.policy.config = config.policy

    def parts(self) -> dict[str, BankState]:
        """The whole state, by part."""
        return self.fold.snapshot() | {"policy": self.policy.snapshot()}
