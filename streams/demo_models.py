"""All models of the demo: three that drift or do not, and two that are attacked.

One of these by its queries, the other by its labels.
"""

from __future__ import annotations

from streams.attack_traffic import credit_traffic
from streams.census import read_sample
from streams.delivery_traffic import delivery_traffic
from streams.traffic import ModelTraffic, census_traffic


def demo_models() -> tuple[ModelTraffic, ...]:
    """The same arrays on every call."""
    return (*census_traffic(read_sample()), credit_traffic(), delivery_traffic())
