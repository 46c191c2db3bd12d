"""What a worker is for, and what it makes of a partition's events. Pure: no I/O, no clock.

Each duty has a consumer group, lineages and outputs of its own, so that what one of them costs
never slows the other. Both see the same events, decoded by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from detectors.base import BankState, part_of
from detectors.fold import Fold, algorithm_versions
from detectors.security.calibration_document import calibration_of
from detectors.security.fold import SecurityFold, security_versions
from schemas.alerts import AlertData
from schemas.anomalies import AnomalyData
from schemas.batch import Decoded
from schemas.commands import Order, SetCalibration, SetReference
from schemas.config import DetectionConfig
from schemas.source_hash import SourceKey
from streams.anomalies import ANOMALY_POLICY_VERSION, AnomalyPolicy, Passed
from streams.anomaly_records import anomaly_output
from streams.cloudevents import alert_output
from streams.policy import POLICY_VERSION, Policy
from streams.ports import Output

Duty = Literal["drift", "security"]
DRIFT_POLICY: Final = "policy"
"""The part of the drift duty's state that its policy keeps."""
SECURITY_POLICY: Final = "anomalies"
"""The same of the security duty."""
POLICY_PARTS: Final = frozenset({DRIFT_POLICY, SECURITY_POLICY})
DECODER_VERSION: Final = 2
"""Version of the rules by which records are accepted and refused."""


def state_versions(duty: Duty = "drift") -> dict[str, int]:
    """The version of everything that determines the state of a duty, by part name."""
    own = DriftWork.versions() if duty == "drift" else SecurityWork.versions()
    return own | {"decoder": DECODER_VERSION}


@dataclass(frozen=True, slots=True)
class FormerKey:
    """A source key that this process does not have; a state was made with it, none can be."""

    fingerprint: str | None
    """None: sources were dropped."""


class Told(NamedTuple):
    """What is to leave for people, and which record made it so."""

    offset: int
    said: AlertData | AnomalyData

    def output(self, topic: str, time_ms: int) -> Output:
        """The record of it, with this timestamp."""
        if isinstance(self.said, AlertData):
            return alert_output(topic, self.said, time_ms)
        return anomaly_output(topic, self.said, time_ms)


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
            None if parts is None else part_of(parts, DRIFT_POLICY),
        )

    @staticmethod
    def versions() -> dict[str, int]:
        """The version of each part of its state."""
        return algorithm_versions() | {DRIFT_POLICY: POLICY_VERSION}

    @property
    def counters(self) -> Mapping[str, int]:
        """What the fold has counted."""
        return self.fold.counters

    @property
    def watermark_ms(self) -> int:
        """The latest event time."""
        return self.fold.watermark_ms

    def process(self, events: Decoded, next_number: Callable[[], int]) -> list[Told]:
        """Fold these events; the alerts that follow, in the order of the log."""
        said = self.fold.process(events)
        alerts = self.policy.decide(said, next_number)
        return [Told(each.trigger_offset, each) for each in alerts]

    def obey(
        self, order: Order, offset: int, said_ms: int, next_number: Callable[[], int]
    ) -> list[Told]:
        """Set a reference, or hold alerts back, before the record at `offset`; what is told."""
        if isinstance(order, SetCalibration):
            return []
        if isinstance(order, SetReference):
            self.fold.set_reference(order.model_id, order.model_version, order.document)
        alerts = self.policy.obey(order, offset, said_ms, next_number)
        return [Told(each.trigger_offset, each) for each in alerts]

    def concerns(self, order: Order) -> bool:
        """Whether this changes anything here."""
        if isinstance(order, SetCalibration):
            return False
        if isinstance(order, SetReference):
            name = order.model_id, order.model_version
            return not self.fold.catalog.has_reference(name, order.digest)
        return self.policy.concerns(order)

    def refusal(self, _order: Order) -> str:
        """Why this cannot be obeyed; whatever can be read can."""
        return ""

    def run_out(self) -> list[str]:
        """The names of commands whose time is over."""
        return self.policy.orders.run_out(self.fold.watermark_ms)

    def switch(self, config: DetectionConfig, _source_key: SourceKey | None) -> None:
        """Go on under another config."""
        self.fold.reconfigure(config)
        self.policy.config = config.policy

    def parts(self) -> dict[str, BankState]:
        """The whole state, by part."""
        return self.fold.snapshot() | {DRIFT_POLICY: self.policy.snapshot()}


class SecurityWork:
    """The duty `security`: detectors of attacks, anomalies.

    `parts` is the state of an earlier one under the same source key; raises `StateError` where it
    does not fit. With a `FormerKey` it is held as it is, until a `switch` makes it void.
    """

    def __init__(
        self,
        config: DetectionConfig,
        source_key: SourceKey | FormerKey | None,
        lineage_id: str,
        partition: int,
        parts: Mapping[str, BankState] | None = None,
    ) -> None:
        fingerprint = None if source_key is None else source_key.fingerprint
        self._fingerprint = fingerprint
        self._held: Mapping[str, BankState] | None = None
        if isinstance(source_key, FormerKey):
            self._held = parts
            self.fold = SecurityFold(config, None)
            if parts is not None:
                self.fold.count_on(part_of(parts, "security"))
                self.fold.keep_on(part_of(parts, "security"))
        else:
            self.fold = SecurityFold(config, source_key, parts)
        self.policy = AnomalyPolicy(
            config.security,
            lineage_id,
            config.deployment,
            partition,
            fingerprint,
            None if parts is None else part_of(parts, SECURITY_POLICY),
        )

    @staticmethod
    def versions() -> dict[str, int]:
        """The version of each part of its state."""
        return security_versions() | {SECURITY_POLICY: ANOMALY_POLICY_VERSION}

    @property
    def counters(self) -> Mapping[str, int]:
        """What the fold has counted."""
        return self.fold.counters

    @property
    def watermark_ms(self) -> int:
        """The latest event time."""
        return self.fold.watermark_ms

    def process(self, events: Decoded, next_number: Callable[[], int]) -> list[Told]:
        """Fold these events; the anomalies that follow, in the order of the log."""
        passed = Passed(events.offset, events.row, events.event_time_ms)
        suspicions = self.fold.process(events)
        anomalies = self.policy.decide(suspicions, passed, next_number)
        return [Told(each.unmapped.trigger_offset, each) for each in anomalies]

    def obey(
        self, order: Order, _offset: int, _said_ms: int, _next_number: Callable[[], int]
    ) -> list[Told]:
        """Set a calibration before the record at `offset`, of which nothing is told.

        Raises `BadCalibrationError` where it is none.
        """
        if isinstance(order, SetCalibration):
            calibration = calibration_of(order.document)
            self.fold.set_calibration(order.model_id, order.model_version, calibration)
        return []

    def concerns(self, order: Order) -> bool:
        """Whether this changes anything here: all but a calibration is said to the drift duty."""
        if not isinstance(order, SetCalibration):
            return False
        calibration = calibration_of(order.document)
        return not self.fold.has_calibration(order.model_id, order.model_version, calibration)

    def refusal(self, order: Order) -> str:
        """Why this cannot be obeyed: thresholds that hold under another source key alone."""
        if not isinstance(order, SetCalibration) or not order.document.is_salted:
            return ""
        made_with = order.document.source_key
        if made_with == self._fingerprint:
            return ""
        return (
            f"the calibration {order.digest} depends on the source key {made_with or '(none)'} and "
            f"this worker has {self._fingerprint or 'none'}: calibrate with the worker's key"
        )

    def run_out(self) -> list[str]:
        """No command of this duty holds for a time."""
        return []

    def switch(self, config: DetectionConfig, source_key: SourceKey | None) -> None:
        """Go on under another config; under another key what is known of sources is void.

        What people have set stays, as far as it depends on no key.
        """
        fingerprint = None if source_key is None else source_key.fingerprint
        if fingerprint == self._fingerprint and self._held is None:
            self.fold.reconfigure(config)
        else:
            before = self.fold.snapshot()["security"]
            self.fold = SecurityFold(config, source_key)
            self.fold.count_on(before)
            self.fold.keep_on(before)
            self._held, self._fingerprint, self.policy.key_id = None, fingerprint, fingerprint
        self.policy.config = config.security

    def parts(self) -> dict[str, BankState]:
        """The whole state, by part."""
        if self._held is not None:
            return {**self._held}
        return self.fold.snapshot() | {SECURITY_POLICY: self.policy.snapshot()}
