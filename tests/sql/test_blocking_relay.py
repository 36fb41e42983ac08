"""The relay without a loop of one's own: in a process that does nothing else, or beside others."""

import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from raftlog import sync
from raftlog.base.errors import Closed, TopicNotFound
from raftlog.sql import BlockingRelay, Outbox
from tests.client.fake_cluster import FakeCluster
from tests.client.test_sync import cluster
from tests.interrupts import interrupted
from tests.sql.test_outbox import put


def stored(client: sync.Client) -> list[bytes | None]:
    with client.reader("orders", follow=False) as reader:
        return [message.value for message in reader]


def wait_for(client: sync.Client, values: list[bytes]) -> None:
    """Wait until these are stored, and nothing else."""
    until = time.monotonic() + 20
    while stored(client) != values:
        assert time.monotonic() < until, stored(client)
        time.sleep(0.02)


def test_run_once_sends_what_was_committed(tmp_path: Path) -> None:
    """And returns when nothing waits."""
    outbox = put(tmp_path / "shop.db", b"0", b"1")
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        relay = BlockingRelay(client, outbox)
        relay.run(once=True)
        assert stored(client) == [b"0", b"1"]
        assert (relay.status.sent, relay.status.trouble) == (2, None)
        relay.run(once=True)
        assert stored(client) == [b"0", b"1"]


def test_it_runs_beside_its_caller(tmp_path: Path) -> None:
    """And looks at once when it is woken; after the block it forwards nothing."""
    path = tmp_path / "shop.db"
    outbox = put(path)
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        with BlockingRelay(client, outbox, poll=3600) as relay:
            put(path, b"0")
            until = time.monotonic() + 20
            while stored(client) != [b"0"]:
                relay.wake()
                assert time.monotonic() < until
                time.sleep(0.02)
            assert relay.status.is_active
        put(path, b"1")
        relay.wake()
        time.sleep(0.2)
        assert stored(client) == [b"0"]


@pytest.mark.parametrize("beside", [False, True])
def test_what_stops_it_is_raised(tmp_path: Path, *, beside: bool) -> None:
    """By ``run``, or at the end of the block."""
    outbox = put(tmp_path / "shop.db", b"0")

    def use(fake: FakeCluster, outbox: Outbox[sqlite3.Connection]) -> None:
        with sync.Client(fake.seeds) as client:
            if not beside:
                BlockingRelay(client, outbox).run()
                return
            with BlockingRelay(client, outbox) as relay:
                until = time.monotonic() + 20
                while relay.status.trouble is None and relay._inner._task is not None:
                    if relay._inner._task.done():
                        break
                    assert time.monotonic() < until
                    time.sleep(0.02)

    with cluster() as fake, pytest.raises(TopicNotFound):
        use(fake, outbox)


def test_run_ends_with_its_client(tmp_path: Path) -> None:
    """Which another thread closes."""
    outbox = put(tmp_path / "shop.db", b"0")
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        ended: list[BaseException] = []

        def work() -> None:
            try:
                BlockingRelay(client, outbox).run()
            except Closed as error:
                ended.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        wait_for(client, [b"0"])
        client.close()
        thread.join(20)
        assert not thread.is_alive()
        assert len(ended) == 1


def test_an_interrupt_ends_it_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """As ctrl-C does in a process that does nothing else."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"0")
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:

        def interrupt() -> None:
            try:
                wait_for(client, [b"0"])
            finally:  # else the other thread would run for ever
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with interrupted():
            BlockingRelay(client, outbox).run()
        thread.join()
        put(path, b"1")
        BlockingRelay(client, outbox, takeover=0.1).run(once=True)
        assert stored(client) == [b"0", b"1"]
