"""What a program in another language does all day, with gRPC and through any node.

Topics, idempotent producers, groups and transactions, end to end: the stubs come
from the descriptor set, the record batches are encoded by the program, and nothing
else of raftlog's client is used.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

import pytest
import pytest_asyncio

from raftlog.base.errors import (
    Fenced,
    GroupInUse,
    OutOfOrder,
    TopicExists,
    TopicNotFound,
    UnknownProducer,
)
from raftlog.base.ids import NodeId
from raftlog.testing.cluster import LocalCluster
from raftlog.wire.batch import Producer, encode_columns, records
from raftlog.wire.schema import client, groups, leases, producers, quotas, topics, transactions
from tests.cluster.cluster_under_load import ended
from tests.gateway.broker_cluster import leader_and_follower, led
from tests.gateway.program import Claimed, Program, append, transaction
from tests.gateway.programs_at_work import COUNT, Halves, ReadAndWrite
from tests.gateway.stubs import PATIENCE_S

pytestmark = pytest.mark.asyncio
THROUGH: Final = ("leader", "follower")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes for all of this module."""
    with LocalCluster(tmp_path_factory.mktemp("nodes"), grpc=True) as nodes:
        yield nodes
        nodes.check_alive()


@pytest_asyncio.fixture(params=THROUGH)
async def program(cluster: LocalCluster, request: pytest.FixtureRequest) -> AsyncIterator[Program]:
    """Give a program that knows the leader, and then one that knows another node."""
    async with leader_and_follower(cluster) as (leader, follower):
        stubs = leader if request.param == "leader" else follower
        yield Program(stubs, f"{request.node.originalname[5:40]}-{request.param}")


async def test_a_topic_is_made_described_altered_listed_and_deleted(program: Program) -> None:
    """And each mistake is told with its class and its facts."""
    queues = await program.create(queues=2)
    assert len(set(queues)) == 2
    again = topics.CreateTopic(name=program.name)
    assert type(await program.refused("Create", again)) is TopicExists
    alter = topics.AlterTopic(
        name=program.name, settings=topics.TopicSettings(queues=3, retention_ms=60_000)
    )
    assert (await program.ask("Alter", alter)).settings.retention_ms == 60_000
    described = await program.ask("Describe", topics.DescribeTopic(name=program.name))
    assert [row.queue for row in described.queues][:2] == queues
    assert (len(described.queues), described.settings.writable) == (3, True)
    listed = await program.ask("List", topics.ListTopics(count_max=1_000))
    assert program.name in [row.name for row in listed.topics]
    missing = topics.DescribeTopic(name=program.name + "x")
    told = await program.refused("Describe", missing)
    assert isinstance(told, TopicNotFound)
    assert told.nearest.startswith(program.name[:20])
    await program.ask("Delete", topics.DeleteTopic(name=program.name))
    gone = await program.refused("Describe", topics.DescribeTopic(name=program.name))
    assert type(gone) is TopicNotFound


async def test_a_producer_s_batch_is_stored_once_however_often_it_is_sent(
    program: Program,
) -> None:
    """The table that removes duplicates is replicated, so any node will do."""
    (queue,) = await program.create(queues=1)
    producer = (await program.ask("Init", producers.InitProducer())).producer
    first = await program.produce(queue, producer, 0, [b"a", b"b"])
    assert (first.base_offset, first.duplicate, first.durability) == (0, False, "fsync")
    described = await program.ask("Describe", topics.DescribeTopic(name=program.name))
    assert described.queues[0].bytes > 0
    assert not described.HasField("hold"), "no range of this log is full yet"
    again = await program.produce(queue, producer, 0, [b"a", b"b"])
    assert (again.base_offset, again.term, again.index) == (0, first.term, first.index)
    assert again.duplicate
    second = await program.produce(queue, producer, 2, [b"c"])
    assert second.base_offset == 2
    gap = await program.refused("Append", append(queue, producer, 9, [b"z"]))
    assert isinstance(gap, OutOfOrder)
    assert gap.expected == 3
    nobody = await program.refused("Append", append(queue, producer + 1, 7, [b"z"]))
    assert type(nobody) is UnknownProducer
    asked = client.ReadBatches(
        queue=queue, bytes_max=1 << 20, wait_ms=5_000, session_applied=second.index
    )
    read = await program.ask("Read", asked)
    values = [record.value for batch in read.batches for record in records(batch)]
    assert (values, list(read.base_offsets)) == ([b"a", b"b", b"c"], [0, 2])
    assert (read.start_offset, read.end_offset) == (0, 3)
    bounded = client.ReadBatches(queue=queue, bytes_max=1 << 20, staleness_ms=0)
    assert (await program.ask("Read", bounded)).end_offset == 3, "whichever node it is"
    end = await program.ask("GetEndOffset", client.EndOffset(queue=queue))
    assert end.end_offset == 3
    found = await program.ask("Find", client.FindOffset(queue=queue, log_time_ms=1))
    assert found.offset == 0


async def test_a_producer_that_confirms_nothing_is_stopped_after_64_batches(
    program: Program,
) -> None:
    """The queue remembers an answer until its producer says in a batch that it knows it."""
    (queue,) = await program.create()
    producer = await program.begin()
    for sequence in range(64):
        await program.produce(queue, producer, sequence, [b"v"])
    silent = append(queue, producer, 64, [b"v"])
    assert await program.codes("Append", silent) == ("RESOURCE_EXHAUSTED", "throttled")
    confirming = append(queue, producer, 64, [b"v"], known_through=64)
    assert (await program.ask("Append", confirming)).base_offset == 64


async def test_a_fence_tells_what_was_stored_and_shuts_the_old_epoch_out(
    program: Program,
) -> None:
    """How a program resolves an unknown outcome (ruling 10)."""
    (queue,) = await program.create(queues=1)
    producer = (await program.ask("Init", producers.InitProducer())).producer
    await program.produce(queue, producer, 0, [b"a", b"b"])
    fence = producers.FenceProducer(queue=queue, producer=producer, epoch=1)
    told = await program.ask("Fence", fence)
    assert (told.next_sequence, told.durability) == (2, "fsync")
    assert [(row.base_sequence, row.count) for row in told.remembered] == [(0, 2)]
    late = await program.refused("Append", append(queue, producer, 2, [b"late"]))
    assert type(late) is Fenced
    assert (await program.produce(queue, producer, 0, [b"c"], epoch=1)).base_offset == 2


async def test_two_members_share_a_topic_and_go_on_from_what_was_committed(
    program: Program,
) -> None:
    """Join, heartbeat, claim, commit, leave: each by any node."""
    topic = await program.create(queues=2)
    names = {"group": program.name}
    join = groups.JoinGroup(
        **names, member="m1", topics=[program.name], session_ms=30_000, client="a program"
    )
    alone = await program.ask("Join", join)
    assert sorted(row.queue for row in alone.queues) == sorted(topic)

    poll = groups.HeartbeatGroup(**names, member="m1", generation=alone.generation, wait_ms=10_000)
    waiting = asyncio.ensure_future(program.ask("Heartbeat", poll))
    join.member = "m2"
    joined = await program.ask("Join", join)
    shared = await waiting  # answered because a second one joined, not because time is up
    assert shared.generation == joined.generation == alone.generation + 1
    (queue,) = [row.queue for row in shared.queues]
    assert {queue, joined.queues[0].queue} == set(topic)

    member = {**names, "member": "m1", "generation": shared.generation}
    claimed = await program.ask("Claim", groups.ClaimQueue(**member, queue=queue))
    assert (claimed.committed, claimed.start_offset, claimed.end_offset) == (-1, 0, 0)
    await program.produce(queue, 0, 0, [b"a", b"b"])
    commit = groups.CommitOffsets(**member, offsets=[groups.QueueOffset(queue=queue, offset=1)])
    await program.ask("Commit", commit)
    old = groups.CommitOffsets(
        **names, member="m2", generation=shared.generation, offsets=commit.offsets
    )
    assert type(await program.refused("Commit", old)) is Fenced

    described = await program.ask("GroupDescribe", groups.DescribeGroup(**names))
    assert {row.member for row in described.members} == {"m1", "m2"}
    assert {row.queue: row.committed for row in described.queues}[queue] == 1
    listed = await program.ask("GroupList", groups.ListGroups(count_max=1_000))
    assert program.name in [row.group for row in listed.groups]
    in_use = await program.refused("GroupDelete", groups.DeleteGroup(**names))
    assert type(in_use) is GroupInUse

    await program.ask("Leave", groups.LeaveGroup(**names, member="m1"))
    await program.ask("Leave", groups.LeaveGroup(**names, member="m2"))
    seek = groups.SeekGroup(**names, offsets=[groups.QueueOffset(queue=queue, offset=0)])
    assert (await program.ask("Seek", seek)).generation > shared.generation
    await program.ask("GroupDelete", groups.DeleteGroup(**names))


async def two_topics(program: Program) -> tuple[int, int]:
    """Create two topics of one queue, which a program writes to; return the queues."""
    (bills,) = await program.create(name=f"{program.name}-bills")
    (ledger,) = await program.create(name=f"{program.name}-ledger")
    return bills, ledger


async def test_what_is_made_of_records_is_stored_with_how_far_they_were_read(
    program: Program,
) -> None:
    """In two topics at one index, once, however often it is asked and whoever reads it twice."""
    (orders,) = await program.create()
    bills, ledger = await two_topics(program)
    await program.produce(orders, 0, 0, [b"a", b"b", b"c"])
    claimed = await program.read_as_member(orders)
    assert claimed.committed == -1
    producer = await program.begin()
    values = await program.values(orders)
    asked = transaction(
        {bills: values[:2], ledger: values[:2]}, producer, 0, offsets=[claimed.through(2, -1)]
    )
    done = await program.ask("TransactionCommit", asked)
    assert [(part.queue, part.base_offset, part.count) for part in done.parts] == [
        *((bills, 0, 2), (ledger, 0, 2))
    ]
    assert (done.duplicate, done.durability) == (False, "fsync")
    again = await program.ask("TransactionCommit", asked)
    assert (again.parts, again.term, again.index) == (done.parts, done.term, done.index)
    assert again.duplicate

    asked = transaction({bills: [b"a"]}, producer, 2, offsets=[claimed.through(1, -1)])
    assert await program.codes("TransactionCommit", asked) == ("FAILED_PRECONDITION", "fenced")
    asked = transaction({bills: [b"c"]}, producer, 2, offsets=[claimed.through(3, 2)])
    assert not (await program.ask("TransactionCommit", asked)).duplicate
    assert await program.values(bills) == [b"a", b"b", b"c"]
    assert await program.values(ledger) == [b"a", b"b"]
    assert (await program.read_as_member(orders)).committed == 3

    harmless = transaction({}, 0, 0, offsets=[claimed.through(3, None)])
    for _ in range(2):
        assert not (await program.ask("TransactionCommit", harmless)).parts


async def test_a_message_is_finished_with_what_is_made_of_it_by_who_holds_it(
    program: Program,
) -> None:
    """A lease that has ended refuses all of it: somebody else has the message."""
    (orders,) = await program.create()
    bills, ledger = await two_topics(program)
    await program.produce(orders, 0, 0, [b"a", b"b"])
    opened = leases.OpenQueueGroup(group=program.name, topics=[program.name])
    await program.ask("OpenQueue", opened)
    assert await program.lease(1, 1, lease_ms=1_000) == [0]
    assert await program.lease(2, 1) == [1]
    assert await program.lease(3, 1, wait_ms=9_000) == [0], "when the first lease has ended"

    producer = await program.begin()
    parts = {bills: [b"made of a"], ledger: [b"made of a"]}
    late = transaction(parts, producer, 0, acks=[program.ack(orders, 1, 0)])
    refused = ("FAILED_PRECONDITION", "stale_lease")
    assert await program.codes("TransactionCommit", late) == refused
    assert (await program.values(bills), await program.values(ledger)) == ([], [])

    asked = transaction(parts, producer, 0, acks=[program.ack(orders, 3, 0)])
    done = await program.ask("TransactionCommit", asked)
    again = await program.ask("TransactionCommit", asked)
    assert (again.index, again.duplicate) == (done.index, True)
    once_more = transaction(parts, producer, 1, acks=[program.ack(orders, 3, 0)])
    assert await program.codes("TransactionCommit", once_more) == refused
    assert await program.values(bills) == await program.values(ledger) == [b"made of a"]

    without = transaction({}, 0, 0, acks=[program.ack(orders, 2, 1)])
    for _ in range(2):
        await program.ask("TransactionCommit", without)
    found = await program.ask("QueueDescribe", leases.DescribeQueueGroup(group=program.name))
    assert (found.in_flight, found.unread) == (0, 0)


REFUSALS: Final = {
    "bad_request": "INVALID_ARGUMENT",
    "bad_batch": "INVALID_ARGUMENT",
    "transaction_too_large": "INVALID_ARGUMENT",
    "wrong_queue": "NOT_FOUND",
    "group_not_found": "NOT_FOUND",
    "not_permitted": "PERMISSION_DENIED",
    "offset_out_of_range": "OUT_OF_RANGE",
    "unknown_producer": "FAILED_PRECONDITION",
    "out_of_order": "FAILED_PRECONDITION",
    "fenced": "FAILED_PRECONDITION",
    "unknown_member": "FAILED_PRECONDITION",
    "offset_goes_back": "FAILED_PRECONDITION",
    "stale_lease": "FAILED_PRECONDITION",
    "quota_exceeded": "RESOURCE_EXHAUSTED",
}
"""What a transaction is refused with, and gRPC's code for it: as docs/reference/grpc.md has it."""
Wrong = tuple[str, str, transactions.CommitTransaction]
"""What is wrong, how that is refused, and the transaction."""


def wrong_batches(queues: tuple[int, int, int], producer: int) -> list[Wrong]:
    """Return transactions that are good but for their batches. The third queue is shut."""
    bills, ledger, shut = queues
    parts = {bills: [b"x"], ledger: [b"x"]}

    def wrong(
        *batches: bytes, into: tuple[int, ...] = (bills, ledger)
    ) -> transactions.CommitTransaction:
        made = transactions.CommitTransaction(batches=batches)
        made.parts.extend(transactions.TransactionPart(queue=queue) for queue in into)
        return made

    by = Producer(producer, 0, 1, 1)
    good = encode_columns([b"x"], timestamp_ms=5, producer=by)
    its_first = encode_columns([b"x"], timestamp_ms=5, producer=Producer(producer))
    named = encode_columns([b"x"], timestamp_ms=5, producer=by, id_="order-1")
    return [
        ("nothing in it", "bad_request", wrong(into=())),
        ("a queue twice", "bad_request", wrong(good, good, into=(bills, bills))),
        ("a batch too few", "bad_batch", wrong(good)),
        ("a batch too many", "bad_request", wrong(good, good, good)),
        ("a business id", "bad_request", wrong(good, named)),
        ("rubbish", "bad_batch", wrong(good, b"rubbish")),
        ("an empty batch", "bad_batch", wrong(good, b"")),
        ("no producer", "bad_batch", transaction(parts, 0, 0)),
        ("1.2 MB", "transaction_too_large", transaction({bills: [bytes(1_200_000)]}, producer, 1)),
        ("no such queue", "wrong_queue", wrong(good, good, into=(bills, 1 << 30))),
        ("a shut topic", "not_permitted", wrong(good, its_first, into=(bills, shut))),
        ("a gap", "out_of_order", transaction(parts, producer, 2)),
    ]


def wrong_reads(
    program: Program, parts: Mapping[int, list[bytes]], producer: int, claimed: Claimed
) -> list[Wrong]:
    """Return transactions that are good but for what they finish. Committed is 1, and of 3."""

    def offset(
        to: int, read_from: int | None, by: Claimed = claimed
    ) -> transactions.CommitTransaction:
        return transaction(parts, producer, 1, offsets=[by.through(to, read_from)])

    def acks(*acks: leases.AckMessages) -> transactions.CommitTransaction:
        return transaction(parts, producer, 1, acks=acks)

    elsewhere = claimed._replace(generation=claimed.generation + 1)
    held = program.ack(claimed.queue, 7, 0)
    foreign = leases.AckMessages(group="nobody-s", messages=held.messages)
    return [
        ("beyond the end", "offset_out_of_range", offset(9, 1)),
        ("back", "offset_goes_back", offset(0, None)),
        ("nothing was read", "bad_request", offset(1, 1)),
        ("read twice", "fenced", offset(2, -1)),
        ("another member", "fenced", offset(2, 1, claimed._replace(member="m2"))),
        ("another generation", "unknown_member", offset(2, 1, elsewhere)),
        ("not held", "stale_lease", acks(program.ack(claimed.queue, 8, 0))),
        ("one of two not held", "stale_lease", acks(program.ack(claimed.queue, 7, 0, 1))),
        ("no such group", "group_not_found", acks(foreign)),
        ("a group twice", "bad_request", acks(held, held)),
    ]


async def test_a_transaction_with_anything_wrong_in_it_is_refused_as_documented(
    program: Program,
) -> None:
    """Each is good but for one thing; nothing of it is visible, and the next one is good."""
    (orders,) = await program.create()
    bills, ledger = await two_topics(program)
    (shut,) = await program.create(name=f"{program.name}-shut")
    settings = topics.TopicSettings(writable=False)
    await program.ask("Alter", topics.AlterTopic(name=f"{program.name}-shut", settings=settings))
    await program.produce(orders, 0, 0, [b"a", b"b", b"c"])
    claimed = await program.read_as_member(orders)
    work = Program(program.stubs, f"{program.name}-work")
    await program.ask("OpenQueue", leases.OpenQueueGroup(group=work.name, topics=[program.name]))
    assert await work.lease(7, 1) == [0]
    producer, behind = await program.begin(), await program.begin()
    parts = {bills: [b"x"], ledger: [b"x"]}
    first = transaction(parts, producer, 0, offsets=[claimed.through(1, -1)])
    await program.ask("TransactionCommit", first)
    fence = producers.FenceProducer(queue=ledger, producer=behind, epoch=1)
    await program.ask("Fence", fence)

    refusals = [
        *wrong_batches((bills, ledger, shut), producer),
        *wrong_reads(work, parts, producer, claimed),
        ("an old epoch in one queue", "fenced", transaction(parts, behind, 0)),
        ("no first batch", "unknown_producer", transaction(parts, behind + 9, 1)),
    ]
    told = {what: await program.codes("TransactionCommit", asked) for what, _, asked in refusals}
    expected = {what: (REFUSALS[code], code) for what, code, _ in refusals}
    assert told == expected
    assert await program.values(bills) == await program.values(ledger) == [b"x"]
    assert (await program.read_as_member(orders)).committed == 1

    bound = quotas.SetQuota(kind="topic", name=f"{program.name}-ledger", records_per_s=1)
    await program.ask("QuotaSet", bound)
    many = {bills: [b"y"] * 5, ledger: [b"y"] * 5}
    good = transaction(many, producer, 1, offsets=[claimed.through(2, 1)])
    good.acks.append(work.ack(orders, 7, 0))
    assert not (await program.ask("TransactionCommit", good)).duplicate
    beyond = await program.codes("TransactionCommit", transaction(parts, producer, 6))
    assert beyond == (REFUSALS["quota_exceeded"], "quota_exceeded")
    assert await program.values(bills) == await program.values(ledger) == [b"x", *[b"y"] * 5]


async def test_leadership_is_handed_over_on_request(cluster: LocalCluster) -> None:
    """The request of a client that knows a follower reaches the leader."""
    async with leader_and_follower(cluster) as (leader, follower):
        target = (await follower.Status(client.GetStatus(), timeout=PATIENCE_S)).node
        await follower.Transfer(client.TransferLeader(target=target), timeout=PATIENCE_S)
        await led(leader, lambda status: status.leader == target)


@pytest.mark.long
async def test_programs_go_on_when_the_leader_is_killed(cluster: LocalCluster) -> None:
    """In the middle of transactions, each asked again until it is known: each is done once."""
    async with leader_and_follower(cluster) as (_, follower):
        program = Program(follower, "killed")
        halves = await Halves.begin(program)
        work = await ReadAndWrite.begin(program)
        early = transaction(
            {work.bills: [b"early"], work.ledger: [b"early"]}, await program.begin(), 0
        )
        done = await program.ask("TransactionCommit", early)
        working = asyncio.gather(work.stream(), work.workers())
        await work.amid.wait()
        leader = (await led(follower)).leader
        node = cluster.nodes[NodeId(leader)]
        node.kill()
        await ended(node)
        assert not working.done(), "all was done before the leader was killed"
        again = await program.ask_until_known("TransactionCommit", early)
        assert (again.parts, again.index, again.duplicate) == (done.parts, done.index, True)
        assert await program.values(halves.queue) == []
        await halves.decide()
        await working
        await halves.check()
        node.start()

        assert program.unknown + work.worker.unknown > 0, (
            "nothing was under way when the leader was killed"
        )
        bills, ledger = await program.values(work.bills), await program.values(work.ledger)
        assert bills == ledger
        assert sorted(bills[1:]) == sorted(b"made of " + value for value in work.told)
        assert len(bills) == 1 + 2 * COUNT == len(set(bills))
        for value, told in work.told.items():
            places = {part.queue: bills[part.base_offset] for part in told.parts}
            assert places == dict.fromkeys((work.bills, work.ledger), b"made of " + value)
        claimed = await program.read_as_member(work.orders, "killed-orders")
        assert claimed.committed == COUNT
        described = leases.DescribeQueueGroup(group=work.worker.name)
        found = await program.ask("QueueDescribe", described)
        assert (found.in_flight, found.unread) == (0, 0)

        assert await program.values(halves.queue) == [b"half 0", b"half 2"]
        listed = await program.ask("TransactionList", transactions.ListTransactions())
        assert not listed.transactions
