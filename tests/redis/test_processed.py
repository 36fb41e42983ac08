"""Messages that are processed once, in Redis: asynchronous, and in threads."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeRedis, FakeServer
from redis.exceptions import ConnectionError as RedisAway

from raftlog import errors
from raftlog.base.ids import Offset
from raftlog.client.receipts import Message
from raftlog.redis import Processed, blocking, marks
from raftlog.redis import processed as asynchronous

MESSAGE = Message("orders", 1, Offset(7), None, b"v", timestamp_ms=1_000)
ANOTHER = Message("orders", 1, Offset(8), None, b"v", timestamp_ms=1_000)
KEY = "raftlog:processed:billing:orders/1@7#1000"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(asynchronous, "PAUSE_S", 0.001)
    monkeypatch.setattr(blocking, "PAUSE_S", 0.001)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def connected(server: FakeServer, *, decode: bool = False) -> FakeAsyncRedis:
    return FakeAsyncRedis(server=server, decode_responses=decode)


async def deposit(processed: Processed, message: Message = MESSAGE, **how: Any) -> bool:
    """Change a balance, if it was not before; return whether."""
    async with processed.changes(message, **how) as changes:
        if changes is not None:
            changes.incrby("balance", 5)
        return changes is not None


@pytest.mark.asyncio
@pytest.mark.parametrize("decode", [False, True])
async def test_changes_are_made_once(server: FakeServer, *, decode: bool) -> None:
    """And the note goes with them; another consumer, and another message, are other things."""
    redis = connected(server, decode=decode)
    processed = Processed(redis, "billing")
    assert await deposit(processed)
    assert not await deposit(processed)
    assert int(await redis.get("balance")) == 5
    assert await deposit(Processed(redis, "shipping"))
    assert await deposit(processed, ANOTHER)
    assert int(await redis.get("balance")) == 15
    assert 29 * 86_400_000 < await redis.pttl(KEY) <= 30 * 86_400_000


@pytest.mark.asyncio
async def test_a_block_that_raises_has_changed_nothing(server: FakeServer) -> None:
    """The next delivery does it."""
    redis = connected(server)
    processed = Processed(redis, "billing")

    async def fail() -> None:
        async with processed.changes(MESSAGE) as changes:
            assert changes is not None
            changes.incrby("balance", 5)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert not await redis.keys()
    assert await deposit(processed)


@pytest.mark.asyncio
async def test_of_two_at_the_same_time_one_makes_the_changes(server: FakeServer) -> None:
    """The second one's transaction is none, since the key has changed; it ends quietly."""
    first, second = (Processed(connected(server), "billing") for _ in range(2))
    async with first.changes(MESSAGE) as changes:
        assert changes is not None
        assert await deposit(second)
        changes.incrby("balance", 5)
    assert int(await connected(server).get("balance")) == 5


@pytest.mark.asyncio
async def test_an_identity_stands_for_what_the_message_is_about(server: FakeServer) -> None:
    """Two messages about one order."""
    processed = Processed(connected(server), "billing")
    assert await deposit(processed, identity="o-7")
    assert not await deposit(processed, ANOTHER, identity="o-7")
    with pytest.raises(ValueError, match="255"):
        await deposit(processed, identity="x" * 256)
    with pytest.raises(errors.BadName):
        Processed(connected(server), "no name")
    with pytest.raises(ValueError, match="millisecond"):
        Processed(connected(server), "billing", keep=0)


@pytest.mark.asyncio
async def test_work_is_done_once(server: FakeServer) -> None:
    """By the first one; the others are told, also one that waited for it."""
    processed = Processed(connected(server), "billing")
    waits = asyncio.Event()

    async def wait() -> bool:
        waits.set()
        async with processed.once(MESSAGE) as first:
            return first

    async with processed.once(MESSAGE) as first:
        assert first
        waiting = asyncio.create_task(wait())
        await waits.wait()
        assert await deposit(Processed(connected(server), "shipping"))
        assert not waiting.done()
    assert not await waiting
    assert not await deposit(processed)


@pytest.mark.asyncio
async def test_work_that_fails_is_done_by_the_next_delivery(server: FakeServer) -> None:
    """At once: the claim is given back. A cancelled one's, too."""
    redis = connected(server)
    processed = Processed(redis, "billing")
    begun = asyncio.Event()

    async def work(error: BaseException | None) -> None:
        async with processed.once(MESSAGE) as first:
            assert first
            begun.set()
            if error is not None:
                raise error
            await asyncio.Event().wait()

    with pytest.raises(LookupError):
        await work(LookupError())
    assert not await redis.keys()
    begun.clear()
    task = asyncio.create_task(work(None))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await redis.keys()


@pytest.mark.asyncio
async def test_who_lost_the_claim_is_told(server: FakeServer) -> None:
    """It stood still for longer than its lease: somebody else has begun, or is done."""
    redis = connected(server)
    processed = Processed(redis, "billing")

    async def lose(value: str | None) -> None:
        async with processed.once(MESSAGE) as first:
            assert first
            if value is None:
                await redis.delete(KEY)
            else:
                await redis.set(KEY, value)

    for value in ("claimed by-another", "done by-another", None):
        await redis.delete(KEY)
        with pytest.raises(errors.Fenced, match="somebody else"):
            await lose(value)
        found = await redis.get(KEY)
        assert marks.text_of(found) == value, "what is another one's stays"


@pytest.mark.asyncio
async def test_a_claim_is_renewed_while_the_work_goes_on(server: FakeServer) -> None:
    """And Redis being away for a moment does not end that."""
    redis = connected(server)
    processed = Processed(redis, "billing")
    async with processed.once(MESSAGE, lease=0.9):
        server.connected = False
        await asyncio.sleep(0.4)
        server.connected = True
        for _ in range(8):
            await asyncio.sleep(0.15)
            assert await redis.get(KEY) is not None


@pytest.mark.asyncio
async def test_a_client_that_swallows_the_cancellation_ends_too(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told as an error of Redis it would be tried again, without end."""
    processed = Processed(connected(server), "billing")
    exchange = processed._exchange
    began = asyncio.Event()

    async def swallow(mine: marks.Try, value: str | None, px: int) -> bool:
        if value != mine.claimed:
            return await exchange(mine, value, px)
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RedisAway from None
        return True

    monkeypatch.setattr(processed, "_exchange", swallow)
    async with asyncio.timeout(10):
        async with processed.once(MESSAGE, lease=0.03):
            await began.wait()


@pytest.mark.asyncio
async def test_redis_that_is_away_at_the_end_is_said(server: FakeServer) -> None:
    """The work is done, and may be done again: that is no success."""
    processed = Processed(connected(server), "billing")

    async def work(act: Callable[[], None]) -> None:
        async with processed.once(MESSAGE) as first:
            assert first
            server.connected = False
            act()

    with pytest.raises(RedisAway):
        await work(lambda: None)

    def fail() -> None:
        raise LookupError

    server.connected = True
    await connected(server).delete(KEY)
    with pytest.raises(LookupError):  # what the block raised, not what came of giving back
        await work(fail)


@pytest.mark.asyncio
async def test_a_lost_answer_to_the_claim_is_no_stranger(server: FakeServer) -> None:
    """The client has sent it twice: the key is there, and is ours."""
    redis = connected(server)
    processed = Processed(redis, "billing")
    set_ = redis.set

    async def twice(*args: Any, **named: Any) -> Any:
        if named.get("nx"):
            await set_(*args, **named)
        return await set_(*args, **named)

    redis.set = twice  # type: ignore[method-assign]
    async with processed.once(MESSAGE) as first:
        assert first


def test_threads_too(server: FakeServer) -> None:
    """The same rules, by the other client."""
    redis = FakeRedis(server=server)
    processed = blocking.Processed(redis, "billing")

    def take(message: Message) -> bool:
        with processed.changes(message) as changes:
            if changes is not None:
                changes.incrby("balance", 5)
            return changes is not None

    def fail() -> None:
        with processed.once(ANOTHER) as first:
            assert first
            raise LookupError

    def lose() -> None:
        with processed.once(ANOTHER) as first:
            assert first
            redis.set("raftlog:processed:billing:orders/1@8#1000", "claimed by-another")

    assert take(MESSAGE)
    assert not take(MESSAGE)
    assert int(str(redis.get("balance").decode())) == 5  # type: ignore[union-attr]
    with pytest.raises(LookupError):
        fail()
    with processed.once(ANOTHER) as first:
        assert first
    with processed.once(ANOTHER) as first:
        assert not first
    redis.flushall()
    with pytest.raises(errors.Fenced):
        lose()
    redis.flushall()
    with processed.changes(MESSAGE) as changes:
        assert changes is not None
        assert take(MESSAGE)
        changes.incrby("balance", 5)
    assert redis.get("balance") == b"5"
