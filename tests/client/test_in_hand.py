"""Half messages whose local work goes on: what their own client says when it is asked to check."""

import pytest

from raftlog.base.errors import Fenced, Unavailable
from raftlog.base.limits import CHECKS_MAX
from raftlog.client.checking import UndecidedMessage, Verdict
from raftlog.client.client import Client
from raftlog.service import checks
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, fake_cluster, refused, unanswered
from tests.client.test_halves import later, until, visible

pytestmark = pytest.mark.asyncio


async def check_round(cluster: FakeCluster) -> None:
    """Let what is open be due, and whoever is asked be through with it."""
    await until(lambda: len(cluster.checks.waiting))
    asked, polls = cluster.checks.asked, cluster.count(Method.CHECKS_POLL)
    later(cluster)
    await until(lambda: cluster.checks.asked > asked)
    await until(lambda: cluster.count(Method.CHECKS_POLL) > polls)


@pytest.fixture
def asked_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing is waited for no longer than the next look, which is within a second."""
    monkeypatch.setattr(checks, "ASK_AGAIN_NS", 10_000_000)


@pytest.mark.long
@pytest.mark.usefixtures("asked_again_soon")
@pytest.mark.parametrize("ends", ["commits", "leaves", "lets go", "closes"])
async def test_who_still_works_is_not_checked(ends: str) -> None:
    """By its own client, whichever producer is asked; it is, once its work has an end."""
    asked: list[bytes | None] = []

    async def check(message: UndecidedMessage) -> Verdict:
        asked.append(message.value)
        return Verdict.ROLLBACK

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        working = client.transactional_producer("b-1", group="b")
        async with client.transactional_producer("b-2", group="b", checker=check) as other:
            half = await working.half("orders", b"v")
            await check_round(cluster)
            assert (asked, other.status.checks, half.is_open) == ([], 0, True)
            if ends == "commits":
                await half.commit()
            elif ends == "leaves":
                half.leave()
            elif ends == "closes":
                await working.aclose()
            if ends != "lets go":
                assert not half.is_open
            del half
            if ends == "commits":
                assert visible(cluster, "orders") == [b"v"]
            else:
                await until(lambda: not cluster.machine.state.transactions.table.rows)
                assert asked == [b"v"]


@pytest.mark.long
@pytest.mark.usefixtures("asked_again_soon")
async def test_long_work_is_not_parked_and_is_checked_when_its_owner_is_gone() -> None:
    """What its own client does not say is not counted, so that there are checks left."""
    asked: list[int] = []

    async def check(message: UndecidedMessage) -> Verdict:
        asked.append(message.check)
        return Verdict.COMMIT

    async with fake_cluster() as cluster:
        open_ones = cluster.machine.state.transactions.table.rows
        async with Client(cluster.seeds) as client:
            await client.topics.create("orders", queues=1)
            async with client.transactional_producer("b-1", group="b", checker=check) as working:
                half = await working.half("orders", b"paid")
                later(cluster)
                await until(lambda: cluster.checks.asked >= 3)
                (row,) = open_ones.values()
                assert (asked, row.checks, half.is_open) == ([], 0, True)
        async with (
            Client(cluster.seeds) as client,
            client.transactional_producer("b-1", group="b", checker=check),
        ):
            await until(lambda: not open_ones)
        assert (asked, visible(cluster, "orders")) == ([1], [b"paid"])
    assert cluster.count(Method.CHECKS_ANSWER) == 1 < CHECKS_MAX


@pytest.mark.long
async def test_who_says_nothing_answers_for_the_others() -> None:
    """That were asked with it, and for those of the next poll."""

    async def check(_: UndecidedMessage) -> Verdict:
        return Verdict.COMMIT

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b", checker=check) as producer:
            half = await producer.half("orders", b"works")
            for value in (b"v", b"w"):
                (await producer.half("orders", value)).leave()
                later(cluster)
                await until(lambda value=value: value in visible(cluster, "orders"))
            await half.commit()
        assert visible(cluster, "orders") == [b"v", b"w", b"works"]


@pytest.mark.usefixtures("asked_again_soon")
async def test_what_is_being_rolled_back_is_not_checked() -> None:
    """It is known what is to become of it, and whoever wants that has asked for it."""

    async def check(_: UndecidedMessage) -> Verdict:
        return Verdict.COMMIT

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b", checker=check) as producer:
            half = await producer.half("orders", b"v")
            cluster.fault(Method.TRANSACTIONS_DECIDE, *[refused(Unavailable("not yet"))] * 1000)
            half.give_up()
            await check_round(cluster)
            cluster.heal()
            await until(lambda: not cluster.machine.state.transactions.table.rows)
            assert (producer.status.checks, visible(cluster, "orders")) == (0, [])


@pytest.mark.long
@pytest.mark.usefixtures("asked_again_soon")
async def test_a_number_that_was_given_up_is_not_rolled_back_if_it_is_another_process_s() -> None:
    """Which works on it: this one does not know yet that it is fenced, and is asked."""

    async def check(_: UndecidedMessage) -> Verdict:
        return Verdict.UNKNOWN

    async with (
        fake_cluster() as cluster,
        Client(cluster.seeds) as client,
        Client(cluster.seeds) as elsewhere,
    ):
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b", checker=check) as first:
            cluster.fault(Method.HALVES_STAGE, unanswered)
            cluster.fault(Method.TRANSACTIONS_DECIDE, unanswered)
            with pytest.raises(Unavailable):
                await first.half("orders", b"one", timeout=0.2)
            async with (
                elsewhere.transactional_producer("b-1", group="b") as second,
                second.transaction("orders", b"two") as half,
            ):
                await check_round(cluster)
                assert first.status.checks == 0
                for request in cluster.late:
                    request()
                await until(lambda: first.status.checks)
            assert half.receipt is not None
        assert visible(cluster, "orders") == [b"two"]


async def test_a_number_that_another_one_gave_up_is_not_rolled_back() -> None:
    """It never came, so the next one under the name has it: its local work goes on."""
    asked: list[bytes | None] = []

    async def check(message: UndecidedMessage) -> Verdict:
        asked.append(message.value)
        return Verdict.UNKNOWN

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with client.transactional_producer("b-1", group="b", timeout=30) as first:
            cluster.fault(Method.HALVES_STAGE, unanswered)
            cluster.fault(Method.TRANSACTIONS_DECIDE, unanswered)
            with pytest.raises(Unavailable):
                await first.half("orders", b"one", timeout=0.2)
            async with (
                client.transactional_producer("b-1", group="b", checker=check) as second,
                second.transaction("orders", b"two") as half,
            ):
                await check_round(cluster)
            for request in cluster.late:
                request()
            assert (half.receipt is not None, asked) == (True, [])
        assert visible(cluster, "orders") == [b"two"]


async def test_who_is_fenced_takes_nothing_out_of_the_hand_of_the_next_one() -> None:
    """Both count from the same number on; the half message of the first is refused."""
    asked: list[bytes | None] = []

    async def check(message: UndecidedMessage) -> Verdict:
        asked.append(message.value)
        return Verdict.ROLLBACK

    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        async with (
            client.transactional_producer("b-1", group="b") as first,
            client.transactional_producer("b-1", group="b", checker=check) as second,
        ):
            half = await second.half("orders", b"two")
            with pytest.raises(Fenced):
                await first.half("orders", b"one")
            await first.aclose()
            await check_round(cluster)
            await half.commit()
        assert (asked, visible(cluster, "orders")) == ([], [b"two"])


async def test_what_was_refused_is_in_nobodys_hand() -> None:
    """Also if its error is kept, and the half message with it: its number is another process's."""
    asked: list[bytes | None] = []

    async def check(message: UndecidedMessage) -> Verdict:
        asked.append(message.value)
        return Verdict.COMMIT

    async with (
        fake_cluster() as cluster,
        Client(cluster.seeds) as client,
        Client(cluster.seeds) as elsewhere,
    ):
        await client.topics.create("orders", queues=1)
        async with (
            client.transactional_producer("b-1", group="b", checker=check) as first,
            elsewhere.transactional_producer("b-1", group="b") as second,
        ):
            with pytest.raises(Fenced) as kept:
                await first.half("orders", b"one")
            (await second.half("orders", b"two")).leave()
            later(cluster)
            await until(lambda: visible(cluster, "orders"))
            assert (asked, kept.type) == ([b"two"], Fenced)
