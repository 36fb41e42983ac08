"""Dead letters that are sent again: what the client makes of them."""

import asyncio

import pytest

from raftlog.client.client import Client
from raftlog.client.dead_letters import PREFIX, RESENT, Resent, copy_of
from raftlog.client.receipts import Message
from raftlog.wire.batch import Record
from tests.client.fake_cluster import fake_cluster

LETTERS = PREFIX + "work"
ORIGIN = (("dead-letter-topic", b"orders"), ("dead-letter-group", b"work"))


@pytest.mark.parametrize("timestamp_ms", [5, 1 << 60, -(1 << 60)])
def test_a_letter_is_sent_again_with_its_time_whatever_that_is(timestamp_ms: int) -> None:
    """A time that no datetime can say is a number to the broker, and stops no other letter."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            cluster.burying.begin()
            record = Record(b"x", b"k", (("a", b"1"),), timestamp_ms, "t")
            await client.producer().send_batch("orders", [record, record])
            async with client.queue_consumer("work", "orders", attempts=1) as consumer:
                for message in await consumer.receive(2):
                    await message.reject()
            while len(await client.dead_letters.list("work")) < 2:
                pass
            assert await client.dead_letters.resend("work") == Resent(2, 0, ())
            assert await client.dead_letters.resend("work") == Resent(0, 0, ())
            async with client.reader("orders", start=2, follow=False) as reader:
                found = [each async for each in reader]
        assert [each.offset for each in found] == [2, 3]
        for each in found:
            assert (each.value, each.key, each.tag) == (b"x", b"k", "t")
            assert each.timestamp_ms == timestamp_ms
            assert dict(each.headers) == {
                "a": b"1",
                RESENT: b"%d" % (each.offset - 2),
            }

    asyncio.run(run())


def test_a_copy_says_once_which_letter_it_is_of() -> None:
    """Also of a letter of what was sent again before; and its id is no other letter's."""
    letter = Message(LETTERS, 0, 7, None, b"v", (*ORIGIN, (RESENT, b"3")))  # type: ignore[arg-type]
    topic, record = copy_of(letter, "work", 9)
    assert (topic, record.headers) == ("orders", ((RESENT, b"7"),))
    assert record.id not in {copy_of(letter, "work", queue)[1].id for queue in (1, 90)}
