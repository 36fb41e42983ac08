"""The blocking face: the same names, from threads, over the same cluster."""

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import pytest

from raftlog import BlockingSpool, Spool, sync
from raftlog.base.errors import (
    BufferFull,
    Closed,
    OffsetOutOfRange,
    RaftlogError,
    TopicNotFound,
    WrongLoop,
)
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer, Rebalanced
from raftlog.client.fetching import Fetch, Inbox
from raftlog.client.groups import Groups
from raftlog.client.later import DelayedMessages
from raftlog.client.producer import Producer
from raftlog.client.reader import Reader
from raftlog.client.topics import Topics
from raftlog.wire.batch import Record
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, fake_cluster
from tests.client.test_consumer import committed

NO_TIME: Final = timedelta(0)
OTHER_NAMES: Final = {"aclose": "close", "on_closed": ""}
FACES: Final = [
    (Client, sync.Client),
    (Producer, sync.Producer),
    (Consumer, sync.Consumer),
    (Reader, sync.Reader),
    (Topics, sync.Topics),
    (Groups, sync.Groups),
    (DelayedMessages, sync.DelayedMessages),
    (Spool, BlockingSpool),
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
        assert [(group.lag, group.lag_time) for group in client.groups.list()] == [(0, NO_TIME)]
        assert client.groups.seek("billing", "orders", to="earliest") == {0: 0, 1: 0}
        (summary,), group = client.groups.list(), client.groups.describe("billing")
        assert (summary.lag, group.lag) == (251, 251)
        assert NO_TIME <= summary.lag_time <= group.lag_time < timedelta(minutes=1)
        assert client.status().role == "leader"


@pytest.mark.parametrize("auto_commit", [False, True])
def test_a_commit_is_of_all_that_this_thread_was_given(auto_commit: bool) -> None:  # noqa: FBT001
    """Of each queue, also if the last messages that came at once were of another one."""
    options: dict[str, Any] = {"auto_commit": auto_commit, "commit_interval": 600}
    with cluster(orders=2) as fake, sync.Client(fake.seeds) as client:
        client.send("orders", b"0", queue=0)
        with client.consumer("billing", "orders", **options) as consumer:
            assert next(consumer).value == b"0"
            client.send("orders", b"1", queue=1)
            client.send("orders", b"2", queue=1)
            assert next(consumer).value == b"1"
            consumer.commit()
            assert committed(fake) == [1, 1]


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


def test_a_queue_that_was_lost_keeps_no_other_from_being_committed_at_the_end() -> None:
    """What is finished of the others is not handed out again."""
    with cluster(orders=2) as fake, sync.Client(fake.seeds) as client:
        for number in range(10):
            client.send("orders", b"%d" % number, queue=number % 2)
        with client.consumer("billing", "orders", commit_interval=600) as consumer:
            first = next(consumer)
            for _ in range(9):
                next(consumer)
            client.groups.seek("billing", "orders", to=1, queue=first.queue)
        lost, other = sorted(offset or 0 for offset in committed(fake))
        assert lost == 1
        assert other >= 4  # the last message of all is not finished


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
                with pytest.raises(Exception, match="no receipt in time"):
                    waiting.result(10)
                fake.nodes[0].is_silent = False
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


def test_whoever_waits_in_another_thread_is_told_that_the_client_was_closed() -> None:
    """Schedule: a thread asks again and again for a leader; another one closes the client.

    The loop was stopped before the first one's answer, and it waited for ever.
    """
    with cluster(orders=1) as fake:
        client = sync.Client(fake.seeds)
        client.topics.list()
        fake.nodes[0].is_silent = True
        caught: list[BaseException] = []

        def ask() -> None:
            try:
                client.topics.list()
            except BaseException as error:  # noqa: BLE001  (whatever it is)
                caught.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        while not fake.count(Method.TOPIC_LIST) > 1:
            threading.Event().wait(0.001)
        client.close()
        thread.join(5)
        assert [type(error) for error in caught] == [Closed]


def test_a_blocking_call_in_a_callback_is_refused() -> None:
    """It would wait for the thread that it is in."""
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client, client.producer() as own:
        told: list[BaseException | None] = []
        here = threading.get_ident()
        over = threading.Event()

        def call(_: object) -> None:
            if threading.get_ident() == here:  # it was done already when the callback was added
                told.append(None)
                return
            try:
                client.send("orders", b"again")
            except BaseException as error:  # noqa: BLE001  (whatever it is)
                told.append(error)
            over.set()

        for attempts in range(1, 100):
            own.post("orders", b"v").add_done_callback(call)
            if len(told) < attempts:
                break
        assert over.wait(5)
        assert type(told[-1]) is WrongLoop


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_client_is_of_no_use_after_a_fork_and_says_so() -> None:
    """Its thread is not there: a call would wait for ever. The parent goes on."""
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        client.send("orders", b"0")
        child = os.fork()
        if not child:
            status = 1
            try:
                signal.alarm(5)
                client.send("orders", b"1")
            except WrongLoop as error:
                client.close()
                status = 0 if "fork" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.send("orders", b"1").offset == 1


def source_of(client: sync.Client, who: str) -> sync.Consumer | sync.Reader:
    """Return what hands out records."""
    if who == "reader":
        return client.reader("orders")
    return client.consumer("billing", "orders")


@pytest.mark.parametrize("who", ["consumer", "reader"])
def test_ctrl_c_ends_a_wait_and_the_iteration_goes_on(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and closing does not hang.

    No real signal: it would strike the test run itself if the wait began late.
    """
    begin = asyncio.run_coroutine_threadsafe

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def begin_interrupted(*asked: Any) -> Any:
        future = begin(*asked)
        monkeypatch.setattr(future, "result", interrupted)
        return future

    with (
        cluster(orders=1) as fake,
        sync.Client(fake.seeds) as client,
        source_of(client, who) as source,
    ):
        for number in range(3):
            monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", begin_interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(source)
            monkeypatch.undo()
            client.send("orders", b"x")
            assert next(source).offset == number


@pytest.mark.parametrize("who", ["consumer", "reader"])
def test_what_came_to_an_interrupted_wait_is_handed_out_by_the_next(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schedule: the records have crossed when Ctrl-C ends the wait for them.

    They were forgotten, and the group's offset went past them with the next poll.
    """
    with (
        cluster(orders=1) as fake,
        sync.Client(fake.seeds) as client,
        source_of(client, who) as source,
    ):
        client.send_batch("orders", [Record(b"x")] * 5)
        run = client._thread.run

        def interrupted(work: Any) -> None:
            run(work)
            raise KeyboardInterrupt

        monkeypatch.setattr(client._thread, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(source)
        monkeypatch.undo()
        assert [next(source).offset for _ in range(5)] == list(range(5))


def test_a_record_does_not_go_with_the_error_behind_it() -> None:
    """Schedule: queue 0 has a record, queue 1 has lost some; both are here at once."""
    with cluster(orders=2) as fake, sync.Client(fake.seeds) as client:
        client.send("orders", b"x", queue=0)
        with client.reader("orders") as reader:
            inbox = reader._inner._inbox
            while not inbox.has_items:
                threading.Event().wait(0.001)
            fetch = next(each for each in inbox._fetches if each.place == 1)
            client._thread.run(put(inbox, fetch, OffsetOutOfRange(0, 1, 2)))
            assert next(reader).offset == 0
            for _ in range(2):
                with pytest.raises(OffsetOutOfRange):
                    next(reader)


async def put(inbox: Inbox, fetch: Fetch, error: RaftlogError) -> None:
    """Let something arrive."""
    inbox.put(fetch, error)


def run_all(calls: list[Callable[[], None]]) -> None:
    """Run every call in a thread of its own, to its end."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def test_what_is_closed_with_its_client_may_be_closed_again() -> None:
    """In any order, from any thread."""
    with cluster(orders=1) as shard:
        client = sync.Client(shard.seeds)
        client.send("orders", b"1")
        parts = [
            client.producer(),
            client.reader("orders"),
            client.consumer("readers", "orders"),
            client.queue_consumer("work", "orders"),
            client.transactional_producer("billing-1", group="billing"),
        ]
        client.close()
        for part in parts:
            part.close()
