"""Transactions of more than 1 MiB: a part is staged before, and all is visible at the commit."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, Final

import pytest

from raftlog.base.errors import (
    BadRequest,
    Fenced,
    NotStored,
    OutcomeUnknown,
    TransactionExpired,
    TransactionTooLarge,
    Unavailable,
    UnknownProducer,
)
from raftlog.base.limits import (
    STAGED_MS_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_STAGED_BYTES_MAX,
)
from raftlog.broker import staging
from raftlog.broker.producers import REMEMBERED_MAX
from raftlog.broker.topics import CreateTopic, DeleteTopic, TopicChanges
from raftlog.client import atomic_packing
from raftlog.client.atomic import AtomicTransaction
from raftlog.client.atomic_packing import pack, weight_of
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer
from raftlog.client.receipts import Message
from raftlog.wire.batch import Record
from raftlog.wire.frame import Method
from tests.client.fake_cluster import (
    FakeCluster,
    answer_lost,
    carried_out,
    fake_cluster,
    refused,
    request_late,
    unanswered,
    until,
)
from tests.client.test_atomic import (
    BY_WORD,
    COMMIT,
    NOT_YET,
    SHORT_S,
    receipts_of,
    visible,
)
from tests.client.test_consumer import committed, fill, take

pytestmark = pytest.mark.asyncio

STAGE: Final = Method.TRANSACTION_STAGE
SIZE: Final = 100_000
COUNT: Final = 30
"""Records of the transactions here: 3 MB."""


def value_of(number: int, mark: bytes = b"v") -> bytes:
    return mark + b"%03d" % number + bytes(SIZE)


def short(values: list[bytes]) -> list[bytes]:
    return [value[:4] for value in values]


def fill_up(tx: AtomicTransaction, queues: int = 1, mark: bytes = b"v") -> None:
    """Send 3 MB, to the queues in turn."""
    for number in range(COUNT):
        tx.send("out", value_of(number, mark), queue=number % queues)


async def large(
    client: Client,
    queues: int = 1,
    mark: bytes = b"v",
    timeout: float = 30.0,
    finish: tuple[Consumer, Message] | None = None,
) -> AtomicTransaction:
    async with client.atomic(timeout=timeout) as tx:
        if finish is not None:
            tx.commit_offsets(*finish)
        fill_up(tx, queues, mark)
    return tx


async def send(client: Client, *sends: tuple[int, int]) -> AtomicTransaction:
    """Send records of so many bytes to these queues."""
    async with client.atomic() as tx:
        for queue, size in sends:
            tx.send("out", bytes(size), queue=queue)
    return tx


def numbers(queue: int = 0, queues: int = 1, mark: bytes = b"v") -> list[bytes]:
    """What such a transaction leaves in a queue."""
    return [mark + b"%03d" % number for number in range(queue, COUNT, queues)]


def stored(cluster: FakeCluster) -> list[list[bytes]]:
    return [short(values) for values in cluster.values("out")]


def staged_rows(cluster: FakeCluster) -> int:
    return len(cluster.machine.state.staging)


async def test_all_of_it_is_visible_at_the_commit_and_nothing_before() -> None:
    """Two queues; the offsets are told in the order of the sends, at one index."""
    async with fake_cluster(out=2) as cluster, Client(cluster.seeds) as client:
        await client.send("out", b"before", queue=1)
        cluster.fault(COMMIT, unanswered)
        committing = asyncio.create_task(large(client, 2))
        await until(lambda: bool(cluster.late))
        assert [len(values) for values in cluster.values("out")] == [0, 1]
        assert staged_rows(cluster) == cluster.count(STAGE) > 2
        cluster.heal()
        cluster.late[0]()
        tx = await committing
        assert stored(cluster) == [numbers(0, 2), [b"befo", *numbers(1, 2)]]
        assert [(each.queue, each.offset) for each in tx.receipts] == [
            (number % 2, number // 2 + number % 2) for number in range(COUNT)
        ]
        assert len({(each.term, each.index) for each in tx.receipts}) == 1
        assert staged_rows(cluster) == 0


async def test_what_fits_one_command_goes_as_one() -> None:
    """An older cluster takes it, too."""
    async with fake_cluster(out=2) as cluster, Client(cluster.seeds) as client:
        async with client.atomic() as tx:
            for number in range(10):
                tx.send("out", value_of(number), queue=number % 2)
        assert (cluster.count(STAGE), cluster.count(COMMIT)) == (0, 1)
        assert len(visible(cluster)) == 10


@pytest.mark.parametrize(
    "fault", [answer_lost, request_late, refused(Unavailable("x")), refused(UnknownProducer("x"))]
)
@pytest.mark.parametrize("method", [STAGE, COMMIT])
async def test_what_was_lost_on_the_way_is_there_once(fault: Any, method: Method) -> None:
    """A late copy of it included: in the middle of staging, and at the commit."""
    async with fake_cluster(orders=1, out=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 2, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            for mark, message in zip((b"a", b"b"), await take(consumer, 2), strict=True):
                cluster.fault(method, carried_out, fault, carried_out, fault)
                await large(client, 2, mark, finish=(consumer, message))
                for request in cluster.late:
                    request()
                cluster.heal()
        await asyncio.sleep(0.01)
        assert stored(cluster) == [
            numbers(queue, 2, b"a") + numbers(queue, 2, b"b") for queue in range(2)
        ]
        assert committed(cluster) == [2]


@pytest.mark.parametrize("is_stored", [True, False])
async def test_an_unknown_outcome_is_resolved_by_a_fence(is_stored: bool) -> None:  # noqa: FBT001
    """What is staged alone is not stored; its late commit is refused after the fence."""
    async with fake_cluster(out=2) as cluster, Client(cluster.seeds) as client:
        cluster.fault(COMMIT, unanswered)
        cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
        with pytest.raises(OutcomeUnknown) as raised:
            await large(client, 2, timeout=2 * SHORT_S)
        if is_stored:
            cluster.late[0]()
        cluster.heal()
        if is_stored:
            receipts = receipts_of(await client.resolve(raised.value.ticket))
            assert [each.offset for each in receipts] == [at // 2 for at in range(COUNT)]
        else:
            with pytest.raises(NotStored):
                await client.resolve(raised.value.ticket)
            cluster.late[0]()
        await asyncio.sleep(0.01)
        await large(client, 2, b"w")
        cluster.late[0]()
        await asyncio.sleep(0.01)
        first = [numbers(queue, 2) if is_stored else [] for queue in range(2)]
        assert stored(cluster) == [first[queue] + numbers(queue, 2, b"w") for queue in range(2)]
        assert cluster.count(Method.PRODUCER_INIT) == 1


async def test_cancelled_in_the_middle_of_staging() -> None:
    """Nothing is visible, and a late copy makes nothing so; the identity is not used again."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        cluster.fault(STAGE, carried_out, unanswered)
        committing = asyncio.create_task(large(client))
        await until(lambda: bool(cluster.late))
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing
        cluster.heal()
        await large(client, mark=b"w")
        cluster.late[0]()
        await asyncio.sleep(0.01)
        assert stored(cluster) == [numbers(mark=b"w")]
        assert cluster.count(Method.PRODUCER_INIT) == 2
        assert staged_rows(cluster) == 2, "they go by time"


async def test_time_is_over_in_the_middle_of_staging() -> None:
    """A definite error: nothing of it will ever be visible."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            (message,) = await take(consumer, 1)
            cluster.fault(STAGE, carried_out, *[refused(Unavailable("no"))] * 1000)
            with pytest.raises(Unavailable):
                await large(client, timeout=SHORT_S, finish=(consumer, message))
            cluster.heal()
            assert [each.offset for each in await take(consumer, 1)] == [0]
        assert (stored(cluster), committed(cluster), cluster.count(COMMIT)) == ([[]], [None], 0)
        assert cluster.count(Method.PRODUCER_FENCE) == 0


async def test_a_commit_that_is_refused_leaves_its_identity_good() -> None:
    """Every request was answered: the next one goes on behind what was staged for nothing."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        for mark in (b"a", b"b"):
            cluster.fault(COMMIT, refused(Fenced("somebody else's")))
            with pytest.raises(Fenced):
                await large(client, mark=mark)
        await large(client, mark=b"c")
        assert stored(cluster) == [numbers(mark=b"c")]
        assert cluster.count(Method.PRODUCER_INIT) == 1


async def test_a_commit_that_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was staged has gone: nothing is there, and the next one is good."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        with monkeypatch.context() as patch:
            patch.setattr(staging, "STAGED_MS_MAX", 1)

            def late(_node: Any, request: Any, handler: Callable[[Any], None]) -> None:
                asyncio.get_running_loop().call_later(0.05, handler, request)

            cluster.fault(COMMIT, late)
            with pytest.raises(TransactionExpired):
                await large(client)
        assert STAGED_MS_MAX == 900_000
        await large(client, mark=b"w")
        assert stored(cluster) == [numbers(mark=b"w")]


async def test_a_topic_that_was_made_anew_in_the_middle() -> None:
    """The queues are looked up again, and all of it is staged for the new ones."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        await large(client, mark=b"a")

        def made_anew(_node: Any, request: Any, handler: Callable[[Any], None]) -> None:
            async def make() -> None:
                await cluster.propose(DeleteTopic("out"))
                await cluster.propose(CreateTopic("out", TopicChanges(queues=1)))
                handler(request)

            tasks.append(asyncio.ensure_future(make()))

        tasks: list[asyncio.Future[None]] = []
        for fault in ([made_anew], [carried_out, made_anew]):
            cluster.fault(STAGE, *fault)
            await large(client, mark=b"b")
            assert stored(cluster) == [numbers(mark=b"b")]
        cluster.fault(COMMIT, made_anew)
        await large(client, mark=b"c")
        assert stored(cluster) == [numbers(mark=b"c")]


async def test_a_cluster_below_level_4_takes_what_fits() -> None:
    """The rest is refused in words, before anything reaches its log."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        cluster.machine.state.feature_level = cluster.replica.level_min = 3
        entries = len(cluster.replica.entries)
        with pytest.raises(TransactionTooLarge, match="feature level 4"):
            await large(client)
        assert cluster.count(COMMIT) == 0
        assert len(cluster.replica.entries) == entries + 1, "an identity, and nothing else"


async def test_a_node_that_does_not_know_the_method() -> None:
    """Of an older version."""
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        cluster.fault(STAGE, refused(BadRequest("method 138 is not served here")))
        with pytest.raises(TransactionTooLarge, match="method 138"):
            await large(client)


async def test_a_transaction_has_a_bound() -> None:
    """At the send that is too much; or before anything is asked, where the queues count."""
    async with fake_cluster(out=2) as cluster, Client(cluster.seeds) as client:
        with pytest.raises(TransactionTooLarge, match=str(TRANSACTION_STAGED_BYTES_MAX)):
            await send(client, *[(0, 1_000_000)] * 34)
        with pytest.raises(TransactionTooLarge, match="a record of"):
            await send(client, (0, TRANSACTION_BYTES_MAX))
        with pytest.raises(TransactionTooLarge, match="the last records of its 2 queues"):
            await send(client, (0, 1_000_000), (1, 1_000_000))
        assert cluster.count(STAGE) == cluster.count(COMMIT) == 0


async def test_32_mib_in_one_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as may be; the producer remembers so many batches."""
    monkeypatch.setattr(atomic_packing, "STAGED_PARTS_MAX", REMEMBERED_MAX - 2)
    async with fake_cluster(out=1) as cluster, Client(cluster.seeds) as client:
        tx = await send(client, *[(0, 530_000)] * 63)
        assert [each.offset for each in tx.receipts] == list(range(63))
        assert len(visible(cluster)) == 63


@pytest.mark.parametrize("seed", range(20))
async def test_every_packing_keeps_order_and_bounds(seed: int) -> None:
    """Random records in random queues: each batch may be sent, and the last ones fit together."""
    random = Random(seed)
    queues = random.choice((1, 2, 5, 200))
    sizes = random.choice(((0, 50), (0, 3_000), (0, 400_000), (100_000, 1_000_000)))
    sent: list[tuple[int, Record]] = []
    total = 0
    while total < random.choice((1, 3, 20)) << 20 and len(sent) < 40_000:
        record = Record(bytes(random.randint(*sizes)), b"%d" % len(sent))
        sent.append((random.randrange(queues), record))
        total += weight_of(record)
    try:
        packed = pack(sent)
    except TransactionTooLarge:
        assert sizes[1] >= 400_000, "only large records are too large together"
        return
    by_queue: dict[int, list[bytes | None]] = {}
    for queue, record in sent:
        by_queue.setdefault(queue, []).append(record.key)
    for each in packed:
        columns = [*each.staged, each.columns]
        keys = [key for one in columns for key in one.keys or ()]
        assert keys == by_queue[each.queue]
        assert all(0 < len(one.values) <= 10_000 for one in columns)
        assert all(len(one.encode()) <= TRANSACTION_BYTES_MAX for one in each.staged)
        assert len(each.staged) <= 60
    assert sum(len(each.columns.encode()) for each in packed) <= TRANSACTION_BYTES_MAX
