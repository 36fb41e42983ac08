"""How queues come and go: assignors, hooks, static members, hand-over without a repetition."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from raftlog.base.errors import (
    BadRequest,
    Fenced,
    GroupNotFound,
    SubscriptionConflict,
    UnknownMember,
)
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer, Rebalanced, Released
from raftlog.client.handing_over import Places, Sharing
from raftlog.client.receipts import Message
from raftlog.wire.frame import Method
from tests.client.fake_cluster import answer_lost, fake_cluster, until
from tests.client.test_consumer import committed, fill, take

pytestmark = pytest.mark.asyncio

SLOW: dict[str, Any] = {"commit_interval": 600.0}


def places(consumer: Consumer) -> list[int]:
    """Return which queues it reads."""
    return [each.queue for each in consumer.status.queues]


class Diary:
    """Hooks that note what they are told."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, list[int]]] = []

    def sharing(self, assignor: str = "cooperative", **options: Any) -> Sharing:
        """Return options of a consumer with these hooks."""
        return Sharing(
            assignor,
            on_assigned=self._async_note,
            on_revoked=lambda found: self._note("revoked", found),
            on_lost=lambda found: self._note("lost", found),
            **options,
        )

    async def _async_note(self, found: Places) -> None:
        await asyncio.sleep(0)
        self._note("assigned", found)

    def _note(self, what: str, found: Places) -> None:
        self.notes.append((what, [queue for _, queue in found]))


async def test_a_sticky_group_leaves_alone_what_stays() -> None:
    """No claim and no commit for it, and nothing that was read ahead is read again."""
    async with fake_cluster(orders=4) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 40, queues=4)
        sharing = Sharing("sticky")
        async with client.consumer("billing", "orders", sharing=sharing, **SLOW) as first:
            found = await take(first, 40)
            claims = cluster.count(Method.GROUP_CLAIM)
            async with client.consumer("billing", "orders") as second:
                await until(lambda: len(places(first)) == 2)
                assert cluster.count(Method.GROUP_CLAIM) == claims + 2
                assert places(first) == [0, 1]
                assert places(second) == [2, 3]
                assert {message.queue for message in await take(second, 2)} <= {2, 3}
            await until(lambda: len(places(first)) == 4)
            assert cluster.count(Method.GROUP_CLAIM) == claims + 4
        assert len({(each.queue, each.offset) for each in found}) == 40
        described = await client.groups.describe("billing")
        assert described.subscription.assignor == "sticky"


async def test_a_cooperative_group_hands_over_without_a_repetition() -> None:
    """The heir begins where the owner has finished, however long that takes."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20)
        diary, other = Diary(), Diary()
        async with client.consumer("billing", "orders", sharing=diary.sharing(), **SLOW) as first:
            events = first.events()
            hearing = asyncio.ensure_future(anext(events))
            mine = [await anext(first)]
            while mine[-1].queue != 1:
                mine.append(await anext(first))
            async with client.consumer("billing", "orders", sharing=other.sharing()) as second:
                event = await hearing
                assert isinstance(event, Rebalanced)
                assert event.revoked == (("orders", 1),)
                assert await second.poll(timeout=0.1) == [], "its last message is under way"
                assert (await client.groups.describe("billing")).queues[1].heir
                mine += [message async for message in _until_quiet(first)]
                await until(lambda: places(second) == [1])
                theirs = await take(second, 10 - sum(each.queue == 1 for each in mine))
                await second.commit()
                released = await anext(events)
                assert released == Released((("orders", 1),))
            await events.aclose()
        seen = Counter((each.queue, each.offset) for each in mine + theirs)
        assert (len(seen), set(seen.values())) == (20, {1})
        assert other.notes == [("assigned", [1]), ("revoked", [1])]
        assert diary.notes[:2] == [("assigned", [0, 1]), ("revoked", [1])]
        assert committed(cluster)[1] == 10


async def _until_quiet(consumer: Consumer) -> Any:
    while found := await consumer.poll(timeout=0.2):
        for message in found:
            yield message


async def test_what_is_given_back_is_read_on() -> None:
    """The heir left before its owner was done: nothing is lost, nothing comes twice."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20)
        sharing = Sharing("cooperative")
        async with client.consumer("billing", "orders", sharing=sharing, **SLOW) as first:
            found: list[Message] = [await anext(first)]
            while found[-1].queue != 1:
                found.append(await anext(first))
            async with client.consumer("billing", "orders"):
                await until(lambda: first.status.generation == 2)
            await until(lambda: first.status.generation == 3)
            found += await take(first, 20 - len(found))
            assert await first.poll(timeout=0.1) == []
        seen = Counter((each.queue, each.offset) for each in found)
        assert (len(seen), set(seen.values())) == (20, {1})


async def test_a_hand_over_has_an_end() -> None:
    """A handler that hangs does not hold the queue for ever; its commit says so."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 4)
        sharing = Sharing("cooperative", hand_over=0.05)
        options = {"sharing": sharing, "auto_commit": False}
        async with client.consumer("billing", "orders", **options) as first:
            await take(first, 4)
            async with client.consumer("billing", "orders", auto_commit=False) as second:
                found = await take(second, 2)
                assert [(each.queue, each.offset) for each in found] == [(1, 0), (1, 1)]
                await until(lambda: places(first) == [0])
                with pytest.raises(Fenced):
                    await first.commit()
                assert committed(cluster)[0] == 2


async def test_a_release_whose_answer_is_lost_is_asked_again() -> None:
    """The queue changes hands once."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.GROUP_RELEASE, answer_lost)
        sharing = Sharing("cooperative")
        async with (
            client.consumer("billing", "orders", sharing=sharing) as first,
            client.consumer("billing", "orders") as second,
        ):
            await until(lambda: (places(first), places(second)) == ([0], [1]))
            assert cluster.count(Method.GROUP_RELEASE) == 2
            assert (await client.groups.describe("billing")).generation == 3


async def test_a_static_member_comes_back_without_a_rebalance() -> None:
    """A restart within the session: same queues, same generation, no other member disturbed."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20)
        sharing = Sharing("sticky", member="billing-1")
        async with client.consumer("billing", "orders", sharing=sharing) as first:
            await take(first, 20)
            await first.commit()
        (member,) = (await client.groups.describe("billing")).members
        assert (member.member, member.is_static) == ("billing-1", True)
        await fill(client, 20, 2)
        async with client.consumer("billing", "orders", sharing=sharing) as again:
            assert (again.status.generation, places(again)) == (1, [0, 1])
            assert [each.offset for each in await take(again, 2)] == [10, 10]


async def test_an_older_process_of_a_static_member_is_fenced_for_good() -> None:
    """It is told, and does not take the name back."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10, queues=1)
        sharing = Sharing(member="billing-1")
        older = client.consumer("billing", "orders", sharing=sharing, auto_commit=False)
        await older.__aenter__()
        await take(older, 5)
        async with client.consumer("billing", "orders", sharing=sharing) as newer:
            assert len(await take(newer, 10)) == 10
            await until(lambda: older.status.last_error is not None)
            with pytest.raises(Fenced, match="billing-1"):
                await older.poll(timeout=5)
            with pytest.raises(Fenced):
                await older.commit()
            await older.aclose()
            await newer.commit()
        assert committed(cluster) == [10]


async def test_what_a_hook_raises_ends_the_consumer() -> None:
    """It is the user's own error, and the user gets it."""

    def fail(_: Places) -> None:
        raise ZeroDivisionError

    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        options = {"sharing": Sharing(on_assigned=fail)}
        async with client.consumer("billing", "orders", **options) as consumer:
            with pytest.raises(ZeroDivisionError):
                await anext(consumer)


async def test_lost_queues_are_told() -> None:
    """There is nothing left to do for them."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        diary = Diary()
        options = {"sharing": diary.sharing("range")}
        async with (
            client.consumer("billing", "orders", **options) as first,
            client.consumer("billing", "orders"),
        ):
            await until(lambda: len(places(first)) == 1)
            await until(lambda: len(diary.notes) == 2)
            ((_, both), (what, lost)) = diary.notes
            assert (both, what, len(lost)) == ([0, 1], "lost", 1)


async def test_wrong_options_are_told() -> None:
    """Before anything is asked, or with what the group does instead."""
    for options in ({"assignor": "best"}, {"member": "a b"}, {"hand_over": -1}):
        with pytest.raises(ValueError, match=r"best|a b|-1"):
            Sharing(**options)  # type: ignore[arg-type]
    async with (
        fake_cluster(orders=2) as cluster,
        Client(cluster.seeds) as client,
        client.consumer("billing", "orders") as first,
    ):
        other = client.consumer("billing", "orders", sharing=Sharing("sticky"))
        with pytest.raises(SubscriptionConflict, match=r"range.*wants orders .*sticky"):
            await other.__aenter__()
        with pytest.raises(BadRequest, match="'best' is no assignor"):
            await client.groups.subscribe("billing", "orders", assignor="best")
        assert await client.groups.subscribe("billing", "orders", assignor="sticky") == 2
        await until(lambda: first.status.generation == 2)
        assert places(first) == [0, 1]


async def test_a_static_member_that_is_gone_for_good_is_taken_out() -> None:
    """Its queues go to the others at once, and not when its session ends."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10)
        gone = Sharing(member="depot-1")
        async with client.consumer("depot", "orders", sharing=gone, session=600) as first:
            await take(first, 10)
        async with client.consumer("depot", "orders") as second:
            await until(lambda: len(places(second)) == 1)
            with pytest.raises(UnknownMember, match="depot-1"):
                await client.groups.remove_member("depot", "depot-2")
            with pytest.raises(GroupNotFound):
                await client.groups.remove_member("store", "depot-1")
            await client.groups.remove_member("depot", "depot-1")
            await until(lambda: places(second) == [0, 1])
