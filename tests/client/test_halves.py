"""Half messages of the client: local work between half and commit, retries, checkers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from raftlog.base.errors import (
    BadRequest,
    Closed,
    Fenced,
    OutcomeUnknown,
    TopicNotFound,
    TransactionDecided,
    TransactionForgotten,
    TransactionNotFound,
    Unavailable,
    UnknownTransactor,
    WrongQueue,
)
from raftlog.base.limits import CHECK_AGAIN_MS, CHECK_FIRST_MS
from raftlog.client import checking
from raftlog.client.checking import UndecidedMessage, Verdict
from raftlog.client.client import Client
from raftlog.client.halves import Half, TransactionalProducer
from raftlog.client.transactions import parse_transaction
from raftlog.wire.frame import Method
from tests.client.fake_cluster import (
    FakeCluster,
    answer_lost,
    fake_cluster,
    refused,
    request_late,
    unanswered,
)


def visible(cluster: FakeCluster, topic: str) -> list[bytes]:
    return [value for queue in cluster.values(topic) for value in queue]


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  (nobody tells a client when others read)
            await asyncio.sleep(0.01)


def later(cluster: FakeCluster, by_ms: int = CHECK_FIRST_MS) -> None:
    """Let every open transaction be due: its row says a time that is past."""
    transactions = cluster.machine.state.transactions
    for row in list(transactions.table.rows.values()):
        transactions._waiting.remove(row.next_ms << 64 | row.handle)
        row.next_ms -= by_ms
        transactions._waiting.add(row.next_ms << 64 | row.handle)


@pytest.mark.asyncio
async def test_local_work_decides() -> None:
    """Nothing is visible before the end of it, nothing after an error in it."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b") as producer:
            async with producer.transaction("orders", b"paid", key=b"7") as half:
                assert visible(cluster, "orders") == []
                (row,) = await client.transactions.list()
                assert (row.transaction, row.owner, row.topic) == (
                    half.transaction,
                    "b-1",
                    "orders",
                )
            assert half.receipt is not None
            assert (half.receipt.offset, half.receipt.topic) == (0, "orders")
            with pytest.raises(ZeroDivisionError):
                async with producer.transaction("orders", b"not paid"):
                    _ = 1 // 0
        assert await client.transactions.list() == []
        assert visible(cluster, "orders") == [b"paid"]


@pytest.mark.asyncio
async def test_many_at_once_share_requests_and_commands() -> None:
    """Of one turn of the loop: far fewer requests than transactions."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=2)
        async with client.transactional_producer("b-1", group="b") as producer:

            async def one(number: int) -> None:
                async with producer.transaction("orders", b"%d" % number):
                    pass

            await asyncio.gather(*map(one, range(200)))
        assert sorted(visible(cluster, "orders"), key=int) == [b"%d" % n for n in range(200)]
        assert cluster.count(Method.HALVES_STAGE) < 20
        assert cluster.count(Method.TRANSACTIONS_DECIDE) < 20


@pytest.mark.parametrize("fault", [answer_lost, request_late])
@pytest.mark.asyncio
async def test_what_was_lost_is_asked_again_and_happens_once(fault: Any) -> None:
    """Half or commit: its number is its sequence."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b") as producer:
            await producer.half("orders", b"other", timeout=5)
            cluster.fault(Method.HALVES_STAGE, fault)
            cluster.fault(Method.TRANSACTIONS_DECIDE, fault)
            async with producer.transaction("orders", b"v", timeout=5) as half:
                pass
            assert await half.commit() == half.receipt
        assert visible(cluster, "orders") == [b"v"]


@pytest.mark.asyncio
async def test_a_half_that_nobody_answered_is_rolled_back_for_good() -> None:
    """A late copy of it is refused: its number is decided."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b") as producer:
            cluster.fault(Method.HALVES_STAGE, unanswered)
            with pytest.raises(Unavailable):
                await producer.half("orders", b"late", timeout=0.1)
        for request in cluster.late:
            request()
        await asyncio.sleep(0)
        assert await client.transactions.list() == []


@pytest.mark.asyncio
async def test_what_was_given_up_is_rolled_back_when_the_cluster_is_back() -> None:
    """However long it was away: a copy that comes later is refused, and not decided by its key."""
    paid: set[bytes | None] = set()

    async def check(message: UndecidedMessage) -> Verdict:
        return Verdict.COMMIT if message.key in paid else Verdict.ROLLBACK

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer(
            "b-1", group="b", checker=check, timeout=0.2
        ) as producer:
            cluster.fault(Method.HALVES_STAGE, unanswered)
            cluster.fault(Method.TRANSACTIONS_DECIDE, *[refused(Unavailable("not yet"))] * 1000)
            with pytest.raises(Unavailable, match="or left to the checker"):
                await producer.half("orders", b"paid", key=b"7", timeout=0.1)
            await asyncio.sleep(0.5)
            cluster.heal()
            async with producer.transaction("orders", b"paid", key=b"7", timeout=5):
                paid.add(b"7")
            await until(lambda: len(cluster.machine.state.decisions.table.rows) == 2)
            cluster.late[0]()
            await asyncio.sleep(0.01)
            assert await client.transactions.list() == []
        assert visible(cluster, "orders") == [b"paid"]


@pytest.mark.asyncio
async def test_closing_does_not_wait_for_ever_for_what_was_given_up() -> None:
    """Its timeout bounds it, and the rest is for the checker."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with asyncio.timeout(10):
            async with client.transactional_producer("b-1", group="b", timeout=0.2) as producer:
                half = await producer.half("orders", b"v", timeout=5)
                cluster.fault(
                    Method.TRANSACTIONS_DECIDE, *[refused(Unavailable("not yet"))] * 1000
                )
                half.give_up()
            cluster.heal()
        (row,) = await client.transactions.list()
        assert row.transaction == half.transaction


@pytest.mark.asyncio
async def test_a_commit_without_an_answer_is_unknown_and_can_be_repeated() -> None:
    """The first outcome stands."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b") as producer:
            half = await producer.half("orders", b"v")
            cluster.fault(Method.TRANSACTIONS_DECIDE, answer_lost)
            with pytest.raises(OutcomeUnknown):
                await half.commit(timeout=0.001)
            receipt = await half.commit()
            with pytest.raises(TransactionDecided):
                await half.rollback()
            cluster.machine.state.decisions._forget_first()
            with pytest.raises(TransactionForgotten):
                await half.commit()
        assert (receipt.offset, visible(cluster, "orders")) == (0, [b"v"])


@pytest.mark.asyncio
async def test_who_took_over_fences_and_its_checker_decides() -> None:
    """The process that began the transaction is gone."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        first = client.transactional_producer("b-1", group="b")
        half = await first.half("orders", b"left", key=b"k", headers={"h": b"x"})
        seen: list[UndecidedMessage] = []

        async def check(message: UndecidedMessage) -> Verdict:
            seen.append(message)
            return Verdict.COMMIT

        async with client.transactional_producer("b-1", group="b", checker=check):
            with pytest.raises(Fenced):
                await half.commit()
            later(cluster)
            await until(lambda: visible(cluster, "orders"))
        (message,) = seen
        assert (message.value, message.key) == (b"left", b"k")
        assert list(message.headers) == [("h", b"x")]
        assert (message.owner, message.check) == ("b-1", 1)
        assert message.transaction == half.transaction


async def waits_for_what_is_cancelled(_: UndecidedMessage) -> Verdict:
    helper = asyncio.ensure_future(asyncio.sleep(3600))
    helper.cancel()
    await helper
    return Verdict.COMMIT


@pytest.mark.long
@pytest.mark.parametrize(
    "broken", [lambda _: 1 // 0, lambda _: "commit", waits_for_what_is_cancelled]
)
@pytest.mark.asyncio
async def test_a_checker_that_raises_does_not_know(broken: Any) -> None:
    """It counts, the status says why, and nothing is decided."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b", checker=broken) as producer:
            half = await producer.half("orders", b"v")
            half.leave()
            later(cluster)
            open_ones = cluster.machine.state.transactions.table.rows
            await until(lambda: [row for row in open_ones.values() if row.checks])
            (row,) = await client.transactions.list()
            status = producer.status
            assert (row.checks, status.checks, status.checker_failures) == (1, 1, 1)
            troubles = ZeroDivisionError | TypeError | asyncio.CancelledError
            assert isinstance(status.trouble, troubles)
            assert visible(cluster, "orders") == []
            later(cluster, CHECK_AGAIN_MS)
            await until(lambda: [row for row in open_ones.values() if row.checks == 2])
            await half.rollback()


async def fail_in(producer: TransactionalProducer, error: BaseException, *, commits: bool) -> Half:
    """Leave a block by an error; return its half message."""
    transaction = producer.transaction("orders", b"v")
    with suppress(type(error)):
        async with transaction as half:
            if commits:
                with suppress(OutcomeUnknown):
                    await half.commit(timeout=0.05)
            raise error
    assert transaction._half is not None
    return transaction._half


@pytest.mark.parametrize(
    ("error", "commits", "is_left"),
    [
        (ZeroDivisionError(), False, False),
        (asyncio.CancelledError(), False, True),
        (KeyboardInterrupt(), False, True),
        (ZeroDivisionError(), True, True),
    ],
)
@pytest.mark.asyncio
async def test_only_an_error_before_the_commit_rolls_back(
    error: BaseException,
    commits: bool,  # noqa: FBT001
    is_left: bool,  # noqa: FBT001
) -> None:
    """Who was ended from outside may have done its work: the checker looks it up."""
    asked: list[bytes | None] = []

    async def check(message: UndecidedMessage) -> Verdict:
        asked.append(message.value)
        return Verdict.COMMIT

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b", checker=check) as producer:
            if commits:
                cluster.fault(Method.TRANSACTIONS_DECIDE, unanswered)
            half = await fail_in(producer, error, commits=commits)
            assert (half.is_open, half.is_decided) == (False, True)
            if is_left:
                later(cluster)
            await until(lambda: not cluster.machine.state.transactions.table.rows)
        assert visible(cluster, "orders") == ([b"v"] if is_left else [])
        assert asked == ([b"v"] if is_left else [])


def no_longer_than(limit_s: float) -> Callable[[Half], Awaitable[None]]:
    """Return who waits for a rollback for so long."""
    return lambda half: asyncio.wait_for(half.rollback(), limit_s)


@pytest.mark.parametrize("ends", [None, ZeroDivisionError, asyncio.CancelledError])
@pytest.mark.parametrize(
    "ask",
    [lambda half: half.rollback(timeout=0.05), no_longer_than(0.05), no_longer_than(0)],
    ids=["no answer", "nobody waits", "no time"],
)
@pytest.mark.asyncio
async def test_what_was_to_be_rolled_back_is_not_committed_by_the_end_of_its_block(
    ask: Callable[[Half], Awaitable[None]], ends: type[BaseException] | None
) -> None:
    """There was no answer, or nobody waited for it: it is asked on, and no checker is asked."""

    async def check(_: UndecidedMessage) -> Verdict:
        return Verdict.COMMIT

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b", checker=check) as producer:
            with suppress(asyncio.CancelledError, ZeroDivisionError):
                async with producer.transaction("orders", b"not paid") as half:
                    cluster.fault(Method.TRANSACTIONS_DECIDE, unanswered)
                    with pytest.raises((OutcomeUnknown, TimeoutError)):
                        await ask(half)
                    cluster.heal()
                    if ends is not None:
                        raise ends
            assert (half.is_open, half.is_decided, half.receipt) == (False, True, None)
            later(cluster)
            await until(lambda: not cluster.machine.state.transactions.table.rows)
            assert (producer.status.checks, visible(cluster, "orders")) == (0, [])


@pytest.mark.asyncio
async def test_a_block_that_is_cancelled_in_its_rollback_rolls_back() -> None:
    """Nothing is left to be looked up: it was decided that the work was not done."""

    async def check(_: UndecidedMessage) -> Verdict:
        return Verdict.COMMIT

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b", checker=check) as producer:

            async def work() -> None:
                async with producer.transaction("orders", b"not paid") as half:
                    await half.rollback()

            cluster.fault(Method.TRANSACTIONS_DECIDE, unanswered)
            working = asyncio.ensure_future(work())
            await until(lambda: cluster.late)
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working
            later(cluster)
            await until(lambda: not cluster.machine.state.transactions.table.rows)
            assert (producer.status.checks, visible(cluster, "orders")) == (0, [])


@pytest.mark.asyncio
async def test_a_rollback_that_comes_too_late_says_so_once() -> None:
    """It was committed by hand: the end of the block asks for nothing more."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with (
            client.transactional_producer("b-1", group="b") as producer,
            producer.transaction("orders", b"v") as half,
        ):
            await client.transactions.commit(half.transaction)
            with pytest.raises(TransactionDecided):
                await half.rollback()
        assert (half.is_decided, half.is_rolled_back) == (True, False)
        assert cluster.count(Method.TRANSACTIONS_DECIDE) == 1


@pytest.mark.long
@pytest.mark.asyncio
async def test_a_checker_that_hangs_does_not_know_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others that were asked with it are answered in time, and so are the next ones."""
    monkeypatch.setattr(checking, "CHECK_LIMIT_S", 0.2)

    async def check(message: UndecidedMessage) -> Verdict:
        if message.value == b"hangs":
            await asyncio.sleep(3600)
        return Verdict.COMMIT

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b", checker=check) as producer:
            for value in (b"hangs", b"v"):
                (await producer.half("orders", value)).leave()
            later(cluster)
            await until(lambda: visible(cluster, "orders") == [b"v"])
            assert producer.status.checker_failures == 1
            assert isinstance(producer.status.trouble, TimeoutError)
            assert "0.2 s" in str(producer.status.trouble)
            (await producer.half("orders", b"w")).leave()
            later(cluster)
            await until(lambda: visible(cluster, "orders") == [b"v", b"w"])
            (row,) = await client.transactions.list()
            assert row.checks >= 1


def forget_transactors(cluster: FakeCluster) -> None:
    """Nobody has heard of them for a week, and what they decided is known no more."""
    state = cluster.machine.state
    while state.decisions.table.rows:
        state.decisions._forget_first()
    for row in list(state.transactors.table.rows.values()):
        assert not row.open
        state.transactors._forget(row)


@pytest.mark.asyncio
async def test_who_was_silent_for_a_week_begins_again() -> None:
    """Once for all that are sent at that time; what was decided before stays decided."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b") as producer:
            async with producer.transaction("orders", b"first") as half:
                pass
            for week in range(2):
                forget_transactors(cluster)

                async def one(value: bytes) -> None:
                    async with producer.transaction("orders", value):
                        pass

                await asyncio.gather(*(one(b"%d" % number) for number in range(21)))
                assert cluster.count(Method.TRANSACTOR_INIT) == 2 + week
                (row,) = cluster.machine.state.transactors.table.rows.values()
                assert (row.epoch, row.open) == (1, 0)
            with pytest.raises(UnknownTransactor):
                await half.commit()
        assert len(visible(cluster, "orders")) == 1 + 2 * 21
        with pytest.raises(Closed):
            await half.commit()


@pytest.mark.asyncio
async def test_what_is_left_open_is_decided_by_hand() -> None:
    """Once; a name that is none, and an unknown one, are refused."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with (
            client.transactional_producer("b-1", group="b") as producer,
            producer.transaction("orders", b"v") as half,
        ):
            half.leave()
        resolved = await client.transactions.commit(half.transaction)
        assert (resolved.verdict, resolved.base_offset, resolved.count) == (Verdict.COMMIT, 0, 1)
        assert await client.transactions.commit(half.transaction) == resolved
        with pytest.raises(TransactionDecided):
            await client.transactions.rollback(half.transaction)
        with pytest.raises(TransactionNotFound):
            await client.transactions.rollback(f"{parse_transaction(half.transaction)[0]}.99")
        with pytest.raises(BadRequest):
            await client.transactions.commit("rubbish")


@pytest.mark.asyncio
async def test_bad_input_has_its_own_error() -> None:
    """And takes no number that would stay open."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        producer = client.transactional_producer("b-1", group="b")
        with pytest.raises(TopicNotFound):
            await producer.half("nothing", b"v")
        with pytest.raises(WrongQueue):
            await producer.half("orders", b"v", queue=7)
        with pytest.raises(TypeError):
            await producer.half("orders", "text")  # type: ignore[arg-type]
        await producer.aclose()
        await producer.aclose()
        with pytest.raises(Closed):
            await producer.half("orders", b"v")
        assert await client.transactions.list() == []
