"""One site for the fault tests, and a deployment that goes on from fault to fault."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.faults.deployment import Deployment, Site, new_site


class Standing:
    """A deployment that has come through every fault so far; a new one after a fault it did not."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._run: Deployment | None = None
        self._is_sound = False

    def take(self) -> Deployment:
        """The deployment, fed and at work; whoever takes it gives it back as sound."""
        if self._run is not None and not self._is_sound:
            self.close()
        self._is_sound = False
        if self._run is None:
            self._run = Deployment(self._site)
            self._run.begin()
        self._run.feed.start()
        return self._run

    def is_sound(self) -> None:
        """The deployment was audited, and nothing was found."""
        self._is_sound = True

    def close(self) -> None:
        """End the deployment, if there is one."""
        if self._run is not None:
            self._run.close()
            self._run = None


@pytest.fixture(scope="package")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Three brokers and a Valkey behind a network that can fail."""
    with new_site() as site:
        yield site
        gc.collect()  # clients of finished tests end before their brokers do
        if request.session.testsfailed:
            logs = site.cluster.close(keep_logs=True)
            print(f"\nthe logs of the three Kafka nodes are kept in {logs}")


@pytest.fixture(scope="package")
def standing(site: Site) -> Iterator[Standing]:
    """The deployment of the fault tests."""
    standing = Standing(site)
    yield standing
    standing.close()
