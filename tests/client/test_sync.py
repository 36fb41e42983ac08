"""The blocking face: the same names, from threads, over the same cluster."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from raftlog import sync
from raftlog.base.errors import BufferFull, Closed, TopicNotFound
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer, Rebalanced
from raftlog.client.groups import Groups
from raftlog.client.producer import Producer
from raftlog.client.reader import Reader
from raftlog.client.topics import Topics
from raftlog.wire.batch import Record
from tests.client.fake_cluster import FakeCluster, fake_cluster

OTHER_NAMES: Final = {"aclose": "close", "on_closed": ""}
FACES: Final = [
    (Client, sync.Client),
    (Producer, sync.Producer),
    (Consumer, sync.Consumer),
    (Reader, sync.Reader),
    (Topics, sync.Topics),
    (Groups, sync.Groups),
]


def public(kind: type) -> set[str]:
    """Return the public names of a class."""
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("asynchronous", "blocking"), FACES)
def test_the_two_faces_have_the_same_names_and_arguments(
    asynchronous: type, blocking: type
) -> None:
    """Whoever knows one knows the other."""
    expected = {OTHER_NAMES.get(name, name) for name in public(asynchronous)} - {""}
    assert public(blocking) == expected
    for name in public(asynchronous):
        one = getattr(asynchronous, name)
        other = getattr(blocking, OTHER_NAMES.get(name, name))
        if callable(one):
            assert inspect.getdoc(other)
            mine, theirs = (list(inspect.signature(each).parameters) for each in (one, other))
            assert mine[1:] == theirs[1:], name


@contextmanager
def cluster(**topics: int) -> Iterator[FakeCluster]:
    """Give a cluster on a loop in a thread of its own."""
    started: list[FakeCluster] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def live() -> None:
        async with fake_cluster(**topics) as fake:
            started.append(fake)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    try:
        assert ready.wait(10), "the cluster did not start"
        yield started[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def test_what_is_sent_is_read_and_consumed() -> None:
    """Everything once through."""
    with cluster() as fake, sync.Client(fake.seeds) as client:
        assert len(client.topics.create("orders", queues=2, exist_ok=True).queues) == 2
        assert client.send("orders", b"0", queue=0).offset == 0
        with client.producer(linger=0.001) as producer:
            posted = [producer.post("orders", b"%d" % number, queue=0) for number in range(1, 250)]
            assert producer.send_batch("orders", [Record(b"x")], queue=1).count == 1
            producer.ready()
            producer.flush()
            assert [each.result(0).offset for each in posted] == list(range(1, 250))
            assert producer.status.records == 0
        with client.reader("orders", follow=False) as reader:
            assert len(list(reader)) == 251
        with client.reader("orders", queue=0, follow=False) as reader:
            assert sum(batch.count for batch in reader.batches()) == 250
        with client.reader("orders", queue=1) as reader:
            assert [each.value for each in reader.poll(10, timeout=1)] == [b"x"]
        with client.consumer("billing", "orders") as consumer:
            assert isinstance(consumer.status.generation, int)
            assert len([next(consumer) for _ in range(251)]) == 251
            consumer.commit()
            assert consumer.poll(timeout=0.01) == []
        assert [group.lag for group in client.groups.list()] == [0]
        assert client.groups.seek("billing", "orders", to="earliest") == {0: 0, 1: 0}
        assert client.status().role == "leader"


def test_a_consumer_commits_what_this_thread_has_finished() -> None:
    """Not what has only crossed from the loop's thread."""
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        client.send_batch("orders", [Record(b"x")] * 50)
        with client.consumer("billing", "orders") as consumer:
            for message in consumer:
                if message.offset == 20:
                    break
        (queue,) = client.groups.describe("billing").queues
        assert queue.committed == 20
        with client.consumer("billing", "orders") as consumer:
            assert next(consumer).offset == 20
            consumer.commit()
        (queue,) = client.groups.describe("billing").queues
        assert queue.committed == 21


def test_errors_are_the_same() -> None:
    """Typed, from the same tree; a closed client says so and closes twice."""
    with cluster(orders=1) as fake:
        client = sync.Client(fake.seeds)
        with client:
            with pytest.raises(TopicNotFound, match="orders"):
                client.send("order", b"v")
            with client.producer(buffer_records=1) as producer:
                producer.send("orders", b"0")
                fake.nodes[0].is_silent = True
                waiting = producer.post("orders", b"1", timeout=1.0)
                with pytest.raises(BufferFull):
                    producer.post("orders", b"2")
                fake.nodes[0].is_silent = False
                with pytest.raises(Exception, match="no receipt in time"):
                    waiting.result(10)
        client.close()
        with pytest.raises(Closed):
            client.send("orders", b"v")


def test_many_threads_share_a_client() -> None:
    """Each one's records stay in order."""
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:

        def work(name: bytes) -> None:
            for number in range(20):
                client.send("orders", b"%b %d" % (name, number))

        run_all([lambda name=name: work(name) for name in (b"a", b"b", b"c")])  # type: ignore[misc]
        (stored,) = fake.values("orders")
        for name in (b"a", b"b", b"c"):
            own = [value for value in stored if value.startswith(name)]
            assert own == [b"%b %d" % (name, number) for number in range(20)]


def test_events_reach_a_thread() -> None:
    """They end with the consumer."""
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        consumer = client.consumer("billing", "orders")
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.extend(consumer.events()))
        thread.start()
        while not consumer._inner._listeners:
            threading.Event().wait(0.001)
        with consumer:
            pass
        thread.join(10)
        assert [type(event) for event in seen] == [Rebalanced]


def run_all(calls: list[Callable[[], None]]) -> None:
    """Run every call in a thread of its own, to its end."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
