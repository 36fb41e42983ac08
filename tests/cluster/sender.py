"""A program that is killed: sends numbered records, and prints what it was told of each.

Arguments: ``ids`` or ``metered``, the addresses of the cluster, the first number, the number
behind the last, and at whose receipt it kills itself (-1: at none).

With ids it sends what any process would send that begins here, and each until it is stored.
Metered it sends faster than it may, and gives each record up after a moment.
"""

import asyncio
import os
import signal
import sys
from typing import Final

from raftlog.base.errors import OutcomeUnknown, RaftlogError
from raftlog.client.client import Client
from raftlog.client.receipts import Receipt

IDS, METERED = "ids", "metered"
"""The topics."""
CLIENT: Final = "nightly-job"
"""The name under which it is metered."""
GIVEN_UP_S: Final = 0.1


async def with_id(client: Client, number: int) -> Receipt:
    """Send a record that has an id."""
    await asyncio.sleep(0.02)
    return await client.send(IDS, b"%d" % number, id=f"order-{number}")


async def metered(client: Client, number: int) -> Receipt:
    """Send a record for a moment."""
    return await client.send(METERED, b"%d" % number, timeout=GIVEN_UP_S)


STYLES: Final = {IDS: (with_id, 8), METERED: (metered, 32)}
"""What sends one, and how many are awaited at once."""


async def main(style: str, seeds: str, first: int, end: int, dies_at: int) -> None:
    """Send until all are sent, or it is killed."""
    send, in_flight = STYLES[style]
    numbers = iter(range(first, end))

    async def sender() -> None:
        for number in numbers:
            try:
                receipt = await send(client, number)
            except OutcomeUnknown:
                told = "unknown"
            except RaftlogError as error:
                told = f"refused {error.code}"
            else:
                if number == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                place = (receipt.queue, receipt.offset, receipt.term, int(receipt.duplicate))
                told = f"stored {' '.join(map(str, place))}"
            print(number, told, flush=True)

    async with Client(seeds, timeout=20, client_id=CLIENT) as client:
        await asyncio.gather(*(sender() for _ in range(in_flight)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3], *map(int, sys.argv[3:])))
