"""What happens to a member while a new generation is being entered."""

import asyncio
from typing import Any

import pytest

from raftlog.client.asking import Asker
from raftlog.client.client import Client
from raftlog.client.handing_over import Sharing
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster, until
from tests.client.test_consumer import fill, take

pytestmark = pytest.mark.asyncio

SLOW: dict[str, Any] = {"commit_interval": 600.0}


class Gate:
    """Holds up the claims of one member, before or behind the node."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, member: str, *, behind: bool) -> None:
        self.waiting = 0
        self.opened = asyncio.Event()
        real = Asker.ask

        async def ask(asker: Asker, method: Method, message: Any, *rest: Any, **named: Any) -> Any:
            held = method == Method.GROUP_CLAIM and message.member == member
            if held and not behind:
                await self._wait()
            answer = await real(asker, method, message, *rest, **named)
            if held and behind:
                await self._wait()
            return answer

        monkeypatch.setattr(Asker, "ask", ask)

    async def _wait(self) -> None:
        self.waiting += 1
        await self.opened.wait()


async def test_a_queue_that_is_given_back_is_kept_although_its_release_was_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The release did nothing, and was answered: it belonged to nobody who read it."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 4)
        held: list[Any] = []
        cluster.fault(
            Method.GROUP_RELEASE,
            lambda _node, request, handle: held.append(lambda: handle(request)),
        )
        sharing = Sharing("cooperative")
        async with client.consumer("billing", "orders", sharing=sharing, **SLOW) as first:
            await take(first, 4)
            assert await first.poll(timeout=0.1) == []
            async with client.consumer("billing", "orders", **SLOW):
                await until(lambda: held)
                gate = Gate(monkeypatch, first.status.member, behind=False)
                await client.topics.alter("orders", queues=6)
                await until(lambda: gate.waiting)
                held[0]()
                await asyncio.sleep(0.05)
                gate.opened.set()
                await until(lambda: first.status.generation == 3)
                await until(lambda: 1 in [each.queue for each in first.status.queues])
                receipt = await client.send("orders", b"x", queue=1)
                found = await first.poll(timeout=5.0)
                assert [(each.queue, each.offset) for each in found] == [(1, receipt.offset)]


@pytest.mark.parametrize("with_message", [False, True])
async def test_a_commit_while_a_queue_is_claimed_anew_is_not_fenced(
    monkeypatch: pytest.MonkeyPatch, *, with_message: bool
) -> None:
    """Nobody else had it: a user who took back the work would have lost it."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 4)
        async with client.consumer("billing", "orders", auto_commit=False) as first:
            await anext(first)
            await first.commit()
            message = await anext(first)
            gate = Gate(monkeypatch, first.status.member, behind=True)
            await client.topics.alter("orders", queues=3)
            await until(lambda: gate.waiting >= 3)
            committing = asyncio.create_task(first.commit(message if with_message else None))
            await asyncio.sleep(0.05)
            gate.opened.set()
            await committing
            await until(lambda: first.status.generation == 2)


async def test_a_hook_that_hangs_does_not_keep_the_heir_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor the consumer that closes."""
    monkeypatch.setattr("raftlog.client.consumer.CLOSE_S", 0.2)
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:

        async def hang(_places: object) -> None:
            await asyncio.Event().wait()

        sharing = Sharing("cooperative", hand_over=0.05, on_revoked=hang)
        async with (
            client.consumer("billing", "orders", sharing=sharing),
            client.consumer("billing", "orders") as second,
        ):
            await until(lambda: second.status.queues)


async def test_a_hook_whose_work_was_cancelled_has_failed_and_the_queue_goes() -> None:
    """It is the hook that was cancelled, not the hand-over."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:

        async def give_up(_places: object) -> None:
            raise asyncio.CancelledError

        sharing = Sharing("cooperative", hand_over=0.05, on_revoked=give_up)
        first = await client.consumer("billing", "orders", sharing=sharing).__aenter__()
        async with client.consumer("billing", "orders") as second:
            await until(lambda: second.status.queues)
            with pytest.raises(RuntimeError, match="cancelled"):
                await first.aclose()


async def test_another_filter_repeats_nothing_that_is_finished() -> None:
    """Everything is read anew from what is committed: that is all that is finished."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10, queues=1)
        sharing = Sharing("sticky")
        async with client.consumer("billing", "orders", sharing=sharing, **SLOW) as first:
            await take(first, 10)
            assert await first.poll(timeout=0.1) == []
            await client.groups.subscribe("billing", "orders", filter="a IS NULL")
            await until(lambda: first.status.generation == 2)
            assert await first.poll(timeout=0.3) == []
