"""Walks through the log, as a program sees them: progress, limits, going on after trouble."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest

from raftlog import Client, errors, sync
from raftlog.client.asking import Asker
from raftlog.client.groups import Groups
from raftlog.client.log_walking import POSITION_BITS, LogWalk, WalkAnswer, WalkBounds
from raftlog.client.seek_history import SeekMove
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster, refused
from tests.client.test_sync import cluster


class Answer(msgspec.Struct):
    """What a node says of a stretch; positions in entries."""

    found: list[str]
    began: int
    next: int
    end: int
    carry: bytes = b""
    now_ms: int = 1_000


class Walk(LogWalk[str]):
    """Answers are what a test says."""

    def __init__(self, *answers: Answer | Exception, limit: int | None = None) -> None:
        super().__init__(cast("Asker", None), WalkBounds(0, limit, 1.0))
        self.answers = list(answers)
        self.asked: list[tuple[int, bytes]] = []

    async def _question(self, position: int, carry: bytes) -> tuple[WalkAnswer, Sequence[str]]:
        self.asked.append((position >> POSITION_BITS, carry))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        for field in ("began", "next", "end"):
            setattr(answer, field, getattr(answer, field) << POSITION_BITS)
        return cast("Any", answer), answer.found


def facts(walk: Walk) -> tuple[int, ...]:
    """Return the counts of its progress."""
    found = walk.progress
    return (found.looked_at, found.total, found.found, found.first, found.skipped)


@pytest.mark.asyncio
async def test_each_question_goes_on_where_the_one_before_ended() -> None:
    """With what that gave; to where the log ended when it began."""
    walk = Walk(
        Answer(["a"], began=5, next=15, end=25, carry=b"1"),
        Answer([], began=15, next=20, end=99, carry=b"2"),
        Answer(["b", "c"], began=20, next=25, end=99),
    )
    assert facts(walk) == (0, 0, 0, 0, 0)
    assert await walk.step() == ["a"]
    assert facts(walk) == (10, 20, 1, 5, 0)
    assert [each async for each in walk] == ["b", "c"]
    assert walk.asked == [(0, b""), (15, b"1"), (20, b"2")]
    assert facts(walk) == (20, 20, 3, 5, 0)
    assert walk.progress.asked == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert await walk.step() is None


@pytest.mark.asyncio
async def test_what_goes_while_it_is_looked_at_is_said() -> None:
    """Retention may be faster."""
    walk = Walk(Answer([], began=0, next=10, end=40), Answer([], began=30, next=40, end=40))
    assert [each async for each in walk] == []
    assert facts(walk) == (20, 40, 0, 0, 20)


@pytest.mark.asyncio
async def test_a_limit_ends_it() -> None:
    """With what was found first."""
    walk = Walk(Answer(["a", "b"], began=0, next=10, end=40), limit=1)
    assert [each async for each in walk] == ["a"]


@pytest.mark.asyncio
async def test_trouble_ends_a_question_and_not_the_walk() -> None:
    """The next one asks for the same."""
    walk = Walk(
        Answer(["a"], began=0, next=10, end=20, carry=b"1"),
        errors.Unavailable("nobody leads"),
        Answer(["b"], began=10, next=20, end=20),
    )
    assert await walk.step() == ["a"]
    with pytest.raises(errors.Unavailable):
        await walk.step()
    assert await walk.step() == ["b"]
    assert walk.asked[1] == walk.asked[2] == (10, b"1")
    stuck = Walk(Answer([], began=0, next=0, end=20))
    with pytest.raises(errors.ProtocolError):
        await stuck.step()


@pytest.mark.asyncio
async def test_the_seeks_of_both_styles_are_told() -> None:
    """By name, with topics and places; only those since a time."""
    async with fake_cluster(1, orders=2) as shard, Client(shard.seeds) as client:
        for _ in range(5):
            await client.send("orders", b"v", queue=1)
        async with client.consumer("billing", ["orders"]) as consumer:
            for _ in range(4):
                await consumer.commit(await anext(consumer))
        await client.groups.seek("billing", "orders", to=1, queue=1)
        await client.groups.seek("billing", "orders", to="latest")
        with pytest.raises(errors.OffsetOutOfRange):
            await client.groups.seek("billing", "orders", to=99)
        async with client.queue_consumer("work", ["orders"]):
            await client.queue_groups.seek("work", "orders", to=3, queue=1)

        walk = client.groups.seeks("billing")
        first, second = [seek async for seek in walk]
        assert (first.style, first.moves, first.more) == (
            *("stream", (SeekMove("orders", 1, 4, 1),)),
            0,
        )
        assert {(move.queue, move.after) for move in second.moves} == {(0, 0), (1, 5)}
        assert {move.queue: move.before for move in second.moves}[1] == 1
        assert first.index < second.index
        assert first.at <= second.at
        assert walk.progress.found == 2
        assert walk.progress.looked_at == walk.progress.total == walk.progress.total > 0
        (seek,) = [seek async for seek in client.groups.seeks("work")]
        assert (seek.style, seek.moves) == ("queue", (SeekMove("orders", 1, None, 3),))
        later = client.groups.seeks("billing", since=first.at + timedelta(days=1))
        assert [seek async for seek in later] == []
        limited = client.groups.seeks("billing", limit=1)
        assert [seek async for seek in limited] == [first]
        shard.fault(Method.GROUP_SEEKS, refused(errors.BadRequest("no")))
        with pytest.raises(errors.BadRequest):
            await client.groups.seeks("billing").step()


def test_a_thread_iterates_over_the_same() -> None:
    """Or asks step by step."""
    with cluster(orders=1) as shard, sync.Client(shard.seeds) as client:
        client.send("orders", b"v")
        with client.queue_consumer("work", "orders"):
            client.queue_groups.seek("work", "orders", to="latest")
        walk = client.groups.seeks("work")
        assert [seek.moves[0].after for seek in walk] == [1]
        assert (walk.progress.found, walk.step()) == (1, None)


def test_what_can_not_be_asked_for_is_refused() -> None:
    """Before anything is asked."""
    groups = Groups(cast("Any", None), cast("Any", None))
    with pytest.raises(errors.BadRequest):
        groups.seeks("billing", limit=0)
    with pytest.raises(ValueError, match="time zone"):
        groups.seeks("billing", since=datetime(2026, 1, 1))  # noqa: DTZ001  (the point of it)
    with pytest.raises(TypeError):
        groups.seeks("billing", since=cast("Any", "yesterday"))
