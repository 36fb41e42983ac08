"""A program that is killed: reads messages, writes one for each, in atomic transactions.

Arguments: ``stream`` or ``queue``, then the addresses of the cluster.
"""

import asyncio
import sys

from raftlog.base.errors import Fenced, OutcomeUnknown, Retriable, UnknownMember
from raftlog.client.client import Client
from raftlog.client.queue_message import QueueMessage

OUT = "counted"


async def stream(client: Client) -> None:
    """A member of a group."""
    async with client.consumer("count", "orders", auto_commit=False, session=1) as consumer:
        while True:
            messages = await consumer.poll(7, timeout=1)
            if not messages:
                continue
            try:
                async with client.atomic(timeout=1) as tx:
                    tx.commit_offsets(consumer, messages)
                    for message in messages:
                        tx.send(OUT, message.value, key=message.value)
            except (Retriable, OutcomeUnknown, Fenced, UnknownMember):
                continue


async def queue(client: Client) -> None:
    """A consumer of leased messages."""

    async def handle(message: QueueMessage) -> None:
        async with client.atomic(timeout=1) as tx:
            tx.ack(message)
            tx.send(OUT, message.value, key=message.value)

    async with client.queue_consumer(
        "count", "orders", lease=2, retry=[0], attempts=1000, on_event=lambda _: None
    ) as consumer:
        await consumer.run(handle, concurrency=8)


async def main() -> None:
    """Work until killed."""
    async with Client(sys.argv[2], timeout=20) as client:
        await {"stream": stream, "queue": queue}[sys.argv[1]](client)


if __name__ == "__main__":
    asyncio.run(main())
