"""A responder that writes down what it handles: `python -m tests.delivery.responder_child FILE`.

FILE is a JSON document: `settings` of the worker, `topics`, `record` (the file to write to),
`fail_at`, a value whose handler fails, and `hang_at`, one whose handler never ends. A line of the
record is what was handed out, in JSON, written after it was handled and before that is
acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import orjson

from streams.config import Settings
from streams.responder_app import Received, consume, make_app, quiet_faust, run_app
from streams.telemetry import configure_log


async def main(path: Path) -> None:
    """Run until SIGTERM."""
    document = orjson.loads(path.read_bytes())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("on stdout", flush=True)
    app = make_app(Settings.model_validate(document["settings"]))
    record = os.open(document["record"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def handle(received: Received) -> None:
        value = (received.value or b"").decode()
        # Others may run meanwhile: what is handed out is handled some time later.
        await asyncio.sleep(0)
        if value == document.get("fail_at"):
            raise ValueError(f"cannot handle {value}")
        if value == document.get("hang_at"):
            print("hangs", flush=True)
            await asyncio.Event().wait()
        line = {
            "partition": received.partition,
            "offset": received.offset,
            "timestamp_ms": received.timestamp_ms,
            "key": None if received.key is None else received.key.decode(),
            "value": None if received.value is None else value,
            "headers": [[name, said.decode()] for name, said in received.headers],
        }
        os.write(record, orjson.dumps(line) + b"\n")

    for topic in document["topics"]:
        consume(app, topic, handle, name=f"reads-{topic}")
    await run_app(app, stop)


if __name__ == "__main__":
    configure_log("json", "info")
    quiet_faust()
    asyncio.run(main(Path(sys.argv[1])))
    print("still on stdout")
