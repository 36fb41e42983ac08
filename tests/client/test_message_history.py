"""The history of a message, as a program sees it: leases, their ends, and what came too late."""

from datetime import UTC, datetime

import pytest

from raftlog import Client, errors, sync
from raftlog.client import message_history
from raftlog.client.message_history import HistoryKind, MessageEvent, in_order
from raftlog.service.message_history import EventKind
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster, refused
from tests.client.test_sync import cluster

AT = datetime(2026, 1, 1, tzinfo=UTC)


def event(index: int, kind: HistoryKind, handle: int, group: str = "work") -> MessageEvent:
    """Return one."""
    return MessageEvent(AT, index, kind, group, handle)


def facts(events: list[MessageEvent]) -> list[tuple[int, str, int, bool]]:
    """Return what follows from all events together."""
    return [(each.index, each.kind.name, each.lease, each.is_late) for each in events]


def test_what_was_said_after_another_lease_had_begun_came_too_late() -> None:
    """A lease counts when it was made, however often it was asked for."""
    told = in_order(
        [
            event(9, HistoryKind.ACKED, 1),
            event(5, HistoryKind.EXTENDED, 1),
            event(12, HistoryKind.ACKED, 2),
            event(3, HistoryKind.LEASED, 1),
            event(4, HistoryKind.LEASED, 1),
            event(7, HistoryKind.LEASED, 2),
        ],
        set(),
    )
    assert facts(told) == [
        (3, "LEASED", 1, False),
        (5, "EXTENDED", 1, False),
        (7, "LEASED", 2, False),
        (9, "ACKED", 1, True),
        (12, "ACKED", 2, False),
    ]


def test_a_lease_is_told_if_the_message_is_known_to_have_been_in_it() -> None:
    """It was named under it, or is held now; a group's handle is no other group's."""
    events = [
        event(3, HistoryKind.LEASED, 1),
        event(4, HistoryKind.LEASED, 2),
        event(5, HistoryKind.LEASED, 3, "other"),
        event(6, HistoryKind.RETURNED, 2, "other"),
    ]
    assert facts(in_order(events, {("work", 1)})) == [
        (3, "LEASED", 1, False),
        (6, "RETURNED", 0, False),
    ]


@pytest.mark.asyncio
async def test_two_tries_and_an_ack_are_told_in_order() -> None:
    """And that a stream-style group has passed it; each with who said so."""
    async with fake_cluster(1, orders=1) as shard, Client(shard.seeds) as client:
        for value in (b"a", b"b"):
            await client.send("orders", value)
        async with client.queue_consumer("work", "orders", retry=[0.01]) as consumer:
            (_, mine) = await consumer.receive(2, wait=5)
            await mine.nack(delay=0, reason="no luck")
            (again,) = await consumer.receive(1, wait=5)
            assert again.offset == 1
            held = [each async for each in client.messages.history("orders", 0, 1)]
            assert held[-1].kind is HistoryKind.LEASED
            await again.ack()
        async with client.consumer("billing", "orders") as reader:
            for _ in range(2):
                await reader.commit(await anext(reader))
            member = (await client.groups.describe("billing")).members[0].member
        history = client.messages.history("orders", 0, 1)
        events = [each async for each in history]
        kinds = [(each.kind, each.group, each.lease) for each in events]
        assert kinds == [
            (HistoryKind.LEASED, "work", 1),
            (HistoryKind.RETURNED, "work", 1),
            (HistoryKind.LEASED, "work", 2),
            (HistoryKind.ACKED, "work", 2),
            (HistoryKind.COMMITTED, "billing", 0),
        ]
        assert not any(each.is_late for each in events)
        assert (events[1].reason, events[4].by, events[4].offset) == ("no luck", member, 2)
        assert events[0].handle == events[1].handle != events[2].handle == events[3].handle
        assert [each.index for each in events] == sorted(each.index for each in events)
        progress = history.progress
        assert progress.looked_at == progress.total > 0
        assert await history.step() is None
        only = [each async for each in client.messages.history("orders", 0, 1, group="billing")]
        assert only == events[4:]
        assert events[1].what.startswith("group work: returned: an attempt has failed (lease 1, h")
        assert events[1].what.endswith(f", entry {events[1].index}): no luck")
        first = [each async for each in client.messages.history("orders", 0, 0)]
        assert [each.kind for each in first] == [
            *(HistoryKind.LEASED, HistoryKind.RETURNED),
            HistoryKind.COMMITTED,
        ]


@pytest.mark.asyncio
async def test_a_half_message_says_who_has_decided_it() -> None:
    """And a delayed one has no past but its groups'."""
    async with (
        fake_cluster(1, orders=1) as shard,
        Client(shard.seeds) as client,
        client.transactional_producer("b-1", group="b") as producer,
    ):
        half = await producer.half("orders", b"half")
        await half.commit()
        (decided,) = [each async for each in client.messages.history("orders", 0, 0)]
        assert (decided.kind, decided.by) == (HistoryKind.HALF_COMMITTED, "its owner")
        assert decided.what == f"committed (by its owner, entry {decided.index})"
        await client.send_later("orders", b"later", delay=0.01)
        async with client.reader("orders", start=1) as reader:
            await anext(reader)
        assert [each async for each in client.messages.history("orders", 0, 1)] == []


@pytest.mark.asyncio
async def test_trouble_ends_a_question_and_not_the_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes on where it was; what is not there is said."""
    monkeypatch.setattr(message_history, "HANDLES_MAX", 1)
    async with fake_cluster(1, orders=1) as shard, Client(shard.seeds) as client:
        await client.send("orders", b"a")
        async with client.queue_consumer("work", "orders") as consumer:
            (message,) = await consumer.receive(1, wait=5)
            await message.ack()
        history = client.messages.history("orders", 0, 0)
        found: list[MessageEvent] = []
        troubles = 0
        for _ in range(20):
            shard.heal()
            if troubles < 3:
                shard.fault(Method.HISTORY, refused(errors.BadRequest("no")))
            try:
                step = await history.step()
            except errors.BadRequest:
                troubles += 1
                continue
            if step is None:
                break
            found += step
        assert troubles == 3
        assert [each.kind for each in found] == [HistoryKind.LEASED, HistoryKind.ACKED]
        nowhere = client.messages.history("orders", 0, 9)
        with pytest.raises(errors.OffsetOutOfRange):
            await nowhere.step()
        with pytest.raises(errors.TopicNotFound):
            await anext(client.messages.history("nowhere", 0, 0))


def test_a_thread_iterates_over_the_same() -> None:
    """Or asks step by step."""
    with cluster(orders=1) as shard, sync.Client(shard.seeds) as client:
        client.send("orders", b"v")
        with client.queue_consumer("work", "orders") as consumer:
            (message,) = consumer.receive(1, wait=5)
            message.ack()
        history = client.messages.history("orders", 0, 0)
        assert [each.kind for each in history] == [HistoryKind.LEASED, HistoryKind.ACKED]
        assert history.step() is None
        assert history.progress.found == 2


def test_every_kind_that_a_node_tells_is_known() -> None:
    """One that a later version tells is told as such."""
    known = {int(kind): value.name for kind, value in message_history._KINDS.items()}
    assert known == {int(kind): kind.name for kind in EventKind}
    unknown = message_history._event(message_history.messages.HistoryEvent(index=3))
    assert unknown.kind is HistoryKind.UNKNOWN
