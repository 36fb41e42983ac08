"""Atomic transactions from threads."""

from contextlib import suppress

import pytest

from raftlog import sync
from raftlog.base.errors import BadRequest
from raftlog.client.atomic import AtomicTransaction
from raftlog.client.blocking_atomic import AtomicTransaction as AtomicFace
from tests.client.test_atomic import visible
from tests.client.test_consumer import committed
from tests.client.test_sync import cluster


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
