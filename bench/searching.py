"""``python -m bench.searching``: what a search costs, on three fresh nodes of this machine.

Fills a topic of one queue with batches, and looks through all of it: by a key, by a header, by
an id. Each search must find just what was stored for it.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

from raftlog.client.client import Client
from raftlog.testing.cluster import LocalCluster
from raftlog.wire.batch import Record

RECORDS: Final = 500_000
BATCH: Final = 100
KEYS: Final = 50_000
VALUE: Final = b"v" * 100


async def main() -> None:
    """Print one line for each kind of search."""
    with (
        tempfile.TemporaryDirectory(prefix="raftlog-search-") as directory,
        LocalCluster(Path(directory)) as cluster,
    ):
        async with Client(cluster.seeds) as client:
            await client.topics.create("searched", queues=1)
            for first in range(0, RECORDS, BATCH):
                numbers = (number % KEYS for number in range(first, first + BATCH))
                records = [
                    Record(VALUE, b"k-%d" % number, [("n", b"%d" % number)]) for number in numbers
                ]
                await client.send_batch("searched", records, queue=0)
            await client.send("searched", VALUE, id="payment-17", queue=0)
            each = RECORDS // KEYS
            for what, expected in (
                ({"key": b"k-17"}, each),
                ({"filter": "n = 17"}, each),
                ({"id": "payment-17"}, 1),
            ):
                began = time.perf_counter()
                search = client.messages.search("searched", **what)
                found = [message async for message in search]
                seconds = time.perf_counter() - began
                assert len(found) == expected, f"{len(found)} found by {what}"
                rate = search.progress.looked_at / seconds
                print(f"{what}: {seconds:.2f} s, {rate:,.0f} records/s")


if __name__ == "__main__":
    asyncio.run(main())
