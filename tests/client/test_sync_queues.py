"""Queue-style groups of the blocking face: handlers in threads."""

import threading

import pytest

from raftlog import sync
from raftlog.base.errors import BadRequest
from raftlog.client.blocking_queues import QueueMessage
from raftlog.client.queue_consumer import HandlerEvent
from tests.client.test_sync import cluster
from tests.client.test_sync_halves import wait_for


def test_a_thread_handles_leased_messages() -> None:
    """By hand and in a pool of threads."""
    with cluster(orders=1) as shard, sync.Client(shard.seeds) as client:
        for number in range(4):
            client.send("orders", b"%d" % number)
        with client.queue_consumer("work", "orders", retry=[0]) as consumer:
            first, second = consumer.receive(2)
            with first.process() as message:
                assert message.attempts == 1
            with pytest.raises(ValueError, match="no"), second.process():
                raise ValueError("no")
            seen: list[bytes | None] = []

            def handle(message: QueueMessage) -> None:
                seen.append(message.value)
                if len(seen) == 3:
                    threading.Thread(target=consumer.close).start()

            consumer.run(handle, concurrency=2)
            assert sorted(value or b"" for value in seen) == [b"1", b"2", b"3"]


def test_a_message_tells_all_that_the_other_face_tells() -> None:
    """Where it is, what is in it, and whether it was settled."""
    with cluster(orders=1) as shard, sync.Client(shard.seeds) as client:
        client.send("orders", b"v", key=b"k", headers={"a": b"1"}, tag="t")
        with client.queue_consumer("work", "orders") as consumer:
            (message,) = consumer.receive()
            assert (message.topic, message.queue, message.offset) == ("orders", 0, 0)
            assert (message.key, message.value, message.tag) == (b"k", b"v", "t")
            assert tuple(message.headers) == (("a", b"1"),)
            assert message.timestamp_ms == message.message.timestamp_ms
            assert repr(message) == "<QueueMessage orders/0@0, attempt 1>"
            assert not message.is_settled
            message.ack()
            assert message.is_settled


class Speechless(BaseException):
    """Neither its text nor how it was made can be told."""

    def __repr__(self) -> str:
        raise ValueError

    __str__ = __repr__


@pytest.mark.parametrize(
    "failure", [StopIteration(), SystemExit(2), GeneratorExit(), Speechless()]
)
def test_whatever_a_handler_raises_has_failed_and_its_thread_goes_on(
    failure: BaseException,
) -> None:
    """Its message is given back, the next one is handled, and the loop's thread lives."""
    events: list[HandlerEvent] = []
    handled: list[bytes | None] = []

    def handle(message: QueueMessage) -> None:
        handled.append(message.value)
        if message.value == b"0":
            raise failure

    with cluster(jobs=1) as fake, sync.Client(fake.seeds) as client:
        for number in range(2):
            client.send("jobs", b"%d" % number)
        consumer = client.queue_consumer("work", "jobs", retry=[60], on_event=events.append)
        running = threading.Thread(target=lambda: consumer.run(handle, concurrency=1), daemon=True)
        running.start()
        wait_for(lambda: consumer.status.acked == 1)
        consumer.close()
        running.join(5)
        assert not running.is_alive()
        assert (handled, [each.what for each in events]) == ([b"0", b"1"], ["failed"])
        assert isinstance(events[0].error, RuntimeError)
        assert events[0].error.__cause__ is failure


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_concurrency_of_nothing_is_refused(concurrency: int) -> None:
    """By the error that it is on a loop, before there is a pool."""

    def never(_: QueueMessage) -> None:
        raise AssertionError("it is not called")

    with cluster(orders=1) as shard, sync.Client(shard.seeds) as client:
        consumer = client.queue_consumer("work", "orders")
        with pytest.raises(BadRequest, match=f"a concurrency of {concurrency};"):
            consumer.run(never, concurrency=concurrency)
