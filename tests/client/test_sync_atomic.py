"""Atomic transactions from threads."""

import time
from contextlib import suppress
from typing import Final

import pytest

from raftlog import sync
from raftlog.base.errors import BadRequest, Fenced
from raftlog.client.atomic import AtomicTransaction
from raftlog.client.blocking_atomic import AtomicTransaction as AtomicFace
from raftlog.client.handing_over import Sharing
from raftlog.client.receipts import Message
from tests.client.fake_cluster import FakeCluster
from tests.client.test_atomic import visible
from tests.client.test_consumer import committed
from tests.client.test_sync import cluster
from tests.client.test_sync_halves import PATIENCE_S, wait_for

BY_WORD: Final = {"auto_commit": False}


def test_a_thread_has_the_same_names() -> None:
    """What one can do, the other can."""
    names = {name for name in dir(AtomicTransaction) if not name.startswith("_")}
    assert {name for name in dir(AtomicFace) if not name.startswith("_")} == names | {"receipts"}


def test_a_thread_reads_and_writes_in_one_step() -> None:
    """What was handed out to it is finished, and not what waits in its chunk."""
    with cluster(orders=2, out=1) as fake, sync.Client(fake.seeds) as client:
        for number in range(20):
            client.send("orders", b"%02d" % number, queue=number % 2)
        with client.consumer("billing", "orders", auto_commit=False) as consumer:
            for _ in range(10):
                message = next(consumer)
                with client.atomic() as tx:
                    tx.commit_offsets(consumer, message)
                    tx.send("out", message.value)
                assert tx.receipts[0].topic == "out"
            for _ in range(5):
                message = next(consumer)
                with client.atomic() as tx:
                    tx.commit_offsets(consumer)
                    tx.send("out", message.value)
            found = committed(fake)
            assert sum(offset or 0 for offset in found) == 15
        assert len(visible(fake)) == 15


def test_a_thread_gets_again_what_it_has_failed_with() -> None:
    """And nothing out of order from the chunk that it had."""
    with cluster(orders=2, out=1) as fake, sync.Client(fake.seeds) as client:
        for number in range(20):
            client.send("orders", b"%02d" % number, queue=number % 2)
        with client.consumer("billing", "orders", auto_commit=False) as consumer:
            tries = 0
            while sum(offset or 0 for offset in committed(fake)) < 20:
                message = next(consumer)
                tries += 1
                try:
                    with client.atomic() as tx:
                        tx.commit_offsets(consumer, message)
                        tx.send("out", message.value)
                        _ = 1 // (tries % 3)
                except ZeroDivisionError:
                    pass
            with pytest.raises(BadRequest, match="used once"):
                tx.__enter__()
        assert visible(fake) == [b"%02d" % number for number in range(20)]
        assert tries == 29


def next_of_both(consumer: sync.Consumer) -> None:
    """Take messages until there is one of each queue: others of theirs wait in the thread."""
    wait_for(lambda: all(queue.lag == 5 for queue in consumer.status.queues))
    found = [next(consumer)]
    while len({each.queue for each in found}) < 2:
        found.append(next(consumer))


def finish_and_send(client: sync.Client, consumer: sync.Consumer, message: Message) -> None:
    """Finish all that the thread was given, and send a message's value."""
    with client.atomic() as tx:
        tx.commit_offsets(consumer)
        tx.send("out", message.value)


def count_until(
    fake: FakeCluster, client: sync.Client, consumer: sync.Consumer, last: bytes
) -> int:
    """Count message after message until a value is there; return how often that was refused."""
    refused = 0
    deadline = time.monotonic() + PATIENCE_S
    while last not in visible(fake):
        assert time.monotonic() < deadline, (visible(fake), committed(fake))
        message = next(consumer)
        try:
            finish_and_send(client, consumer, message)
        except Fenced:
            refused += 1
    return refused


def test_a_chunk_is_not_passed_over_when_one_of_its_queues_is_lost() -> None:
    """A transaction is refused for the lost queue: what waits in the thread comes again, too."""
    with cluster(orders=2, out=1) as fake, sync.Client(fake.seeds) as client:
        for number in range(10):
            client.send("orders", b"%02d" % number, queue=number % 2)
        with client.consumer("billing", "orders", sharing=Sharing(member="b"), **BY_WORD) as mine:
            next_of_both(mine)
            heir = Sharing(member="a")
            with client.consumer("billing", "orders", sharing=heir, **BY_WORD):
                wait_for(lambda: len(mine.status.queues) == 1)
                (kept,) = (each.queue for each in mine.status.queues)
                client.send("orders", b"last", queue=kept)
                assert count_until(fake, client, mine, b"last") == 1
                assert committed(fake)[kept] == 6
                expected = [b"%02d" % number for number in range(kept, 10, 2)]
                assert visible(fake) == [*expected, b"last"]


def test_a_chunk_is_not_passed_over_when_one_of_its_queues_is_sought() -> None:
    """It stays this member's: it goes on where it was sought, the other where it is committed."""
    with cluster(orders=2, out=1) as fake, sync.Client(fake.seeds) as client:
        for number in range(10):
            client.send("orders", b"%02d" % number, queue=number % 2)
        with client.consumer("billing", "orders", **BY_WORD) as consumer:
            next_of_both(consumer)
            client.groups.seek("billing", "orders", to=3, queue=0)
            wait_for(lambda: committed(fake)[0] == 3 and len(consumer.status.queues) == 2)
            wait_for(lambda: consumer.status.generation > 1)
            client.send("orders", b"last", queue=1)
            count_until(fake, client, consumer, b"last")
            client.send("orders", b"more", queue=0)
            count_until(fake, client, consumer, b"more")
            assert committed(fake) == [6, 6]
            expected = [b"%02d" % number for number in (1, 3, 5, 6, 7, 8, 9)]
            assert visible(fake) == [*expected, b"last", b"more"]


def test_what_a_thread_tries_again_without_asking_for_more_is_refused() -> None:
    """It comes again: what is made of it once more would be there twice."""
    with cluster(orders=2, out=1) as fake, sync.Client(fake.seeds) as client:
        for number in range(10):
            client.send("orders", b"%02d" % number, queue=number % 2)
        with client.consumer("billing", "orders", **BY_WORD) as consumer:
            message = next(consumer)
            with suppress(ZeroDivisionError), client.atomic() as tx:
                tx.commit_offsets(consumer)
                _ = 1 // 0
            for _ in range(2):
                with pytest.raises(Fenced):
                    finish_and_send(client, consumer, message)
            client.send("orders", b"last", queue=0)
            client.send("orders", b"more", queue=1)
            for last in (b"last", b"more"):
                assert count_until(fake, client, consumer, last) == 0
            assert committed(fake) == [6, 6]
        assert visible(fake) == [*(b"%02d" % number for number in range(10)), b"last", b"more"]


def test_a_thread_finishes_what_came_in_many_chunks() -> None:
    """Also what the last one has nothing of, and nothing that was not handed out."""
    with cluster(orders=2, out=1) as fake, sync.Client(fake.seeds) as client:
        for number in range(5):
            client.send("orders", b"%d" % number, queue=0)
        with client.consumer("billing", "orders", **BY_WORD) as consumer:
            taken = [next(consumer) for _ in range(3)]
            taken += [next(consumer) for _ in range(2)]
            client.send("orders", b"5", queue=1)
            client.send("orders", b"6", queue=1)
            taken.append(next(consumer))
            with client.atomic() as tx:
                tx.commit_offsets(consumer)
                for message in taken:
                    tx.send("out", message.value)
            assert committed(fake) == [5, 1]
        assert visible(fake) == [b"%d" % number for number in range(6)]


def test_a_thread_acknowledges_in_a_transaction() -> None:
    """Inside its process() block."""
    with cluster(orders=1, out=1) as fake, sync.Client(fake.seeds) as client:
        client.send("orders", b"v")
        with client.queue_consumer("work", "orders") as consumer:
            (message,) = consumer.receive()
            with message.process(), client.atomic() as tx:
                tx.ack(message)
                tx.send("out", message.value)
            assert consumer.status.acked == 1
        assert visible(fake) == [b"v"]


def test_a_thread_keeps_a_message_until_its_transaction_ends() -> None:
    """Also if process() ends first: what fails afterwards acknowledges nothing."""
    with cluster(orders=1, out=1) as fake, sync.Client(fake.seeds) as client:
        client.send("orders", b"v")
        with client.queue_consumer("work", "orders", retry=[0]) as consumer:
            (message,) = consumer.receive()
            with suppress(ZeroDivisionError), client.atomic() as tx:
                with message.process():
                    tx.ack(message)
                    tx.send("out", b"no")
                with pytest.raises(BadRequest, match="transaction"):
                    message.ack()
                _ = 1 // 0
            (again,) = consumer.receive(wait=5)
            assert again.attempts == 2
            with client.atomic() as tx:
                with again.process():
                    tx.ack(again)
                tx.send("out", b"yes")
            assert (consumer.status.acked, consumer.status.held) == (1, 0)
        assert visible(fake) == [b"yes"]


def test_a_thread_commits_more_than_1_mib() -> None:
    """As a coroutine does."""
    with cluster(out=1) as fake, sync.Client(fake.seeds) as client:
        with client.atomic() as tx:
            for _ in range(30):
                tx.send("out", bytes(100_000))
        assert [receipt.offset for receipt in tx.receipts] == list(range(30))
        assert len(visible(fake)) == 30
