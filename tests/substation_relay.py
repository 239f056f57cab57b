"""Publish another substation's values anew, with the current transformer of one connection turned round."""

import asyncio
import threading
import time

from hil.twins.substation import SubstationTwin
from instruments.catalog import load_model
from instruments.opcua_substation import SubstationClient


class ReversedTransformer:
    """Follow the substation at `address`, serve it at `self.address`; amps and watts of poc `k` change their sign."""

    def __init__(self, address: str, connections: int, k: int) -> None:
        self._far, self._n, self._k = address, connections, k
        self._listens, self._ended = threading.Event(), threading.Event()
        self.address = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> "ReversedTransformer":
        self._thread.start()
        assert self._listens.wait(30.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30.0)

    async def _serve(self) -> None:
        points = {"transformer": [0], "head": [1], "poc": list(range(2, 2 + self._n))}
        twin = SubstationTwin({name: len(rows) for name, rows in points.items()})
        model = load_model("substation-iec61850")
        clocks = {"clock_ns": time.monotonic_ns, "utc_ns": time.time_ns}
        client = SubstationClient("far", model, self._far, points, 2 + self._n, **clocks)
        port = await twin.start()
        self.address = f"opc.tcp://127.0.0.1:{port}"
        await client.open()
        follow = asyncio.create_task(client.run(lambda: True))
        self._listens.set()
        while not self._ended.is_set():
            reading = client.reading
            amps, watts = reading.node_a.copy(), reading.node_w.copy()
            amps[2 + self._k] *= -1.0
            watts[2 + self._k] *= -1.0
            if reading.link:
                for name, rows in points.items():
                    await twin.publish(name, reading.node_v[rows], amps[rows], watts[rows], time.time_ns())
            await asyncio.sleep(0.2)
        follow.cancel()
        await asyncio.gather(follow, return_exceptions=True)
        await client.close()
        await twin.stop()
