"""A program in another language: stubs from the descriptor set, batches that it encodes itself.

It knows one node, and nothing else of raftlog's client is used.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message

from raftlog.base.errors import Outcome, RaftlogError
from raftlog.gateway.grpc.statuses import typed_error
from raftlog.wire.batch import Producer, encode_columns, records
from raftlog.wire.schema import client, groups, leases, producers, topics, transactions
from tests.gateway.stubs import PATIENCE_S, Stubs, error_of


class Program:
    """What it asks its node."""

    def __init__(self, stubs: Stubs, name: str) -> None:
        self.stubs = stubs
        self.name = name
        """Of the topic, group and members that it uses."""
        self.unknown = 0
        """How often it did not learn what became of a request."""

    async def ask(self, rpc: str, message: Message) -> Any:
        """Call an rpc."""
        return await getattr(self.stubs, rpc)(message, timeout=PATIENCE_S)

    async def ask_until_known(self, rpc: str, message: Message) -> Any:
        """Call an rpc with the very same request until it is known what became of it."""
        while True:
            try:
                return await self.ask(rpc, message)
            except grpc.RpcError as error:
                if typed_error(error).outcome is not Outcome.UNKNOWN:
                    raise
                self.unknown += 1

    async def refused(self, rpc: str, message: Message) -> RaftlogError:
        """Call an rpc that fails; return how."""
        return await error_of(self.ask(rpc, message))

    async def codes(self, rpc: str, message: Message) -> tuple[str, str]:
        """Call an rpc that fails; return gRPC's code, and that of the error."""
        try:
            answer = await self.ask(rpc, message)
        except grpc.RpcError as error:
            return error.code().name, typed_error(error).code
        raise AssertionError(f"it was answered: {answer}")

    async def create(self, *, queues: int = 1, name: str = "") -> list[int]:
        """Create a topic; return the numbers of its queues."""
        settings = topics.TopicSettings(queues=queues)
        asked = topics.CreateTopic(name=name or self.name, settings=settings)
        return [row.queue for row in (await self.ask("Create", asked)).queues]

    async def begin(self) -> int:
        """Draw a producer id."""
        producer: int = (await self.ask("Init", producers.InitProducer())).producer
        return producer

    async def produce(
        self, queue: int, producer: int, sequence: int, values: Sequence[bytes], epoch: int = 0
    ) -> client.BatchAppended:
        """Append one batch of an idempotent producer."""
        answer: client.BatchAppended = await self.ask(
            "Append", append(queue, producer, sequence, values, epoch)
        )
        return answer

    async def values(self, queue: int) -> list[bytes]:
        """Return everything that is visible in a queue now, whichever node is asked."""
        asked = client.ReadBatches(queue=queue, bytes_max=1 << 20, staleness_ms=0)
        found: list[bytes] = []
        while True:
            read = await self.ask("Read", asked)
            for batch in read.batches:
                found += [record.value or b"" for record in records(batch)]
            if len(found) == read.end_offset:
                return found
            asked.offset = len(found)

    async def read_as_member(self, queue: int, topic: str = "") -> "Claimed":
        """Join a group, and claim a queue that it gets."""
        join = groups.JoinGroup(
            group=self.name, member="m1", topics=[topic or self.name], session_ms=60_000
        )
        joined = await self.ask("Join", join)
        assert queue in [row.queue for row in joined.queues]
        ask = groups.ClaimQueue(
            group=self.name, member="m1", generation=joined.generation, queue=queue
        )
        committed: int = (await self.ask("Claim", ask)).committed
        return Claimed(self.name, "m1", joined.generation, queue, committed)

    async def lease(self, handle: int, count: int, **how: int) -> list[int]:
        """Lease messages; return their offsets, of one queue."""
        ask = leases.ReceiveMessages(group=self.name, handle=handle, count_max=count, **how)
        received = await self.ask("Receive", ask)
        assert len(received.batches) == len(received.leased)
        return [row.base_offset + number for row in received.leased for number in row.numbers]

    def ack(self, queue: int, handle: int, *offsets: int) -> leases.AckMessages:
        """Return that messages are done with."""
        held = leases.LeasedMessages(handle=handle, queue=queue, offsets=offsets)
        return leases.AckMessages(group=self.name, messages=[held])


class Claimed(NamedTuple):
    """A queue that a member has claimed."""

    group: str
    member: str
    generation: int
    queue: int
    committed: int

    def through(self, offset: int, read_from: int | None) -> groups.CommitOffsets:
        """Return that what is before ``offset`` was read, from ``read_from`` on."""
        row = groups.QueueOffset(queue=self.queue, offset=offset, read_from=read_from)
        return groups.CommitOffsets(
            group=self.group, member=self.member, generation=self.generation, offsets=[row]
        )


def append(
    queue: int,
    producer: int,
    sequence: int,
    values: Sequence[bytes],
    epoch: int = 0,
    *,
    known_through: int = 0,
) -> client.AppendBatch:
    """Return a batch of a producer that is to be appended."""
    who = Producer(producer, epoch, sequence, known_through)
    return client.AppendBatch(
        queue=queue, batch=encode_columns(values, timestamp_ms=5, producer=who)
    )


def transaction(
    parts: Mapping[int, Sequence[bytes]],
    producer: int,
    sequence: int,
    *,
    epoch: int = 0,
    offsets: Sequence[groups.CommitOffsets] = (),
    acks: Sequence[leases.AckMessages] = (),
) -> transactions.CommitTransaction:
    """Return a transaction that stores values in queues, in each from the same sequence on.

    It confirms everything before that, for one is asked only when the one before is known.
    """
    who = Producer(producer, epoch, sequence, sequence)
    return transactions.CommitTransaction(
        parts=[transactions.TransactionPart(queue=queue) for queue in parts],
        batches=[
            encode_columns(values, timestamp_ms=5, producer=who) for values in parts.values()
        ],
        offsets=offsets,
        acks=acks,
    )
