"""The responder's Faust agents, and nothing else: each hands the records of a topic to a function.

What is in a record, and what follows from it, is decided in modules that know nothing of Faust;
`streams/responder_rebuild.py` hosts the same ones on a plain consumer.
"""

from __future__ import annotations

from collections.abc import Mapping

import faust

from streams.responder_app import Handler, consume


def add_agents(app: faust.App, handlers: Mapping[str, Handler]) -> None:
    """One agent for each topic, before the app is started. The topics must exist."""
    for topic, handle in handlers.items():
        consume(app, topic, handle, name=f"reads-{topic}")
