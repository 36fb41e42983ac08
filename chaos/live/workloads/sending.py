"""Sending records, and noting what their owner is told of each."""

import asyncio
from collections.abc import Awaitable, Callable

from chaos.check.client_history import Records
from chaos.live.world import World
from raftlog.base.errors import Closed, OutcomeUnknown, RaftlogError
from raftlog.client.client import Client
from raftlog.client.receipts import Receipt


async def noted(
    world: World, records: Records, number: int, sending: Awaitable[Receipt]
) -> Receipt | None:
    """Wait for a send and note its outcome; return the receipt, None if there is none."""
    try:
        receipt = await sending
    except (OutcomeUnknown, Closed):
        records.unknown(number, world.now())
    except RaftlogError:
        records.failed(number, world.now())
    else:
        records.ok(number, world.now(), receipt.queue, receipt.offset, receipt.term)
        return receipt
    return None


async def send_keys(
    world: World,
    client: Client,
    records: Records,
    keys: int,
    pause_s: tuple[float, float],
    *,
    dressed: Callable[[bytes], bytes] = bytes,
) -> None:
    """Send with so many keys, each a lane of its own, until the run stops.

    ``dressed`` makes what is sent of a record's value.
    """
    async with asyncio.TaskGroup() as lanes:
        for lane in range(keys):
            lanes.create_task(_send_key(world, client, records, lane, pause_s, dressed))


async def _send_key(
    world: World,
    client: Client,
    records: Records,
    lane: int,
    pause_s: tuple[float, float],
    dressed: Callable[[bytes], bytes],
) -> None:
    key = b"%d" % lane
    while not world.stopping.is_set():
        number = records.begin(lane, world.now())
        sending = client.send(records.name, dressed(records.value(number)), key=key)
        await noted(world, records, number, sending)
        await world.rest(world.random.uniform(*pause_s))
