"""Half messages of the blocking face: what is sent is what is seen, and a checker has a thread."""

import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import pytest

from raftlog import UndecidedMessage, Verdict, sync
from raftlog.base.errors import Fenced, OutcomeUnknown, TransactionDecided, Unavailable
from raftlog.client import blocking_halves as sync_halves
from raftlog.client.loop_thread import LoopThread
from raftlog.service import checks
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, refused, unanswered
from tests.client.test_halves import later
from tests.client.test_sync import cluster

PATIENCE_S: Final = 10.0


def wait_for(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never was"
        time.sleep(0.01)


def seen(fake: FakeCluster) -> list[tuple[bytes | None, bytes | None, dict[str, bytes]]]:
    """Read the topic from its beginning: key, value and headers of each record."""
    with sync.Client(fake.seeds) as client, client.reader("orders", follow=False) as reader:
        return [(each.key, each.value, dict(each.headers)) for each in reader]


def test_what_is_committed_is_seen_as_it_was_sent_and_nothing_else() -> None:
    """By ``with``, by hand, and after an error."""
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        with client.transactional_producer("b-1", group="b") as producer:
            with producer.transaction(
                "orders", b"paid", key=b"7", headers={"h": b"x"}, tag="t"
            ) as half:
                assert seen(fake) == []
                (row,) = client.transactions.list()
                assert (row.transaction, row.owner) == (half.transaction, "b-1")
            assert half.receipt is not None
            assert (half.receipt.topic, half.receipt.offset) == ("orders", 0)
            assert half.commit() == half.receipt, "a repeat is told the first outcome"
            with pytest.raises(ZeroDivisionError), producer.transaction("orders", b"not paid"):
                _ = 1 // 0
            other = producer.half("orders", b"no")
            other.rollback()
            with pytest.raises(TransactionDecided):
                other.commit()
            last = producer.half("orders", None, key=b"8")
            assert last.commit().offset == 1
        assert client.transactions.list() == []
        assert seen(fake) == [(b"7", b"paid", {"h": b"x"}), (b"8", None, {})]


def test_a_checker_has_a_thread_and_the_message() -> None:
    """It may block; its owner was taken over meanwhile."""
    asked: list[tuple[UndecidedMessage, str]] = []
    decided = threading.Event()

    def check(message: UndecidedMessage) -> Verdict:
        asked.append((message, threading.current_thread().name))
        decided.set()
        return Verdict.COMMIT

    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        before = client.transactional_producer("b-1", group="b")
        half = before.half("orders", b"left", key=b"k", headers={"h": b"x"})
        later(fake)
        with client.transactional_producer("b-1", group="b", checker=check) as producer:
            with pytest.raises(Fenced):
                half.commit()
            assert decided.wait(PATIENCE_S)
            for _ in range(1_000):
                if not client.transactions.list():
                    break
            assert producer.status.checks == 1
        ((message, thread),) = asked
        assert thread != threading.current_thread().name
        assert (message.value, message.key, dict(message.headers)) == (b"left", b"k", {"h": b"x"})
        assert (message.owner, message.check) == ("b-1", 1)
        assert message.transaction == half.transaction
        assert seen(fake) == [(b"k", b"left", {"h": b"x"})]


def test_what_is_left_is_decided_by_hand() -> None:
    """By the name that the half message has."""
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        with (
            client.transactional_producer("b-1", group="b") as producer,
            producer.transaction("orders", b"v") as half,
        ):
            half.leave()
        assert seen(fake) == []
        resolved = client.transactions.commit(half.transaction)
        assert (resolved.verdict, resolved.base_offset, resolved.count) == (Verdict.COMMIT, 0, 1)
        with pytest.raises(TransactionDecided):
            client.transactions.rollback(half.transaction)
        assert seen(fake) == [(None, b"v", {})]


def test_what_a_half_message_says_of_itself_is_so_in_any_thread() -> None:
    """Where it is, and whether it is decided."""
    with cluster(orders=2) as fake, sync.Client(fake.seeds) as client:
        with client.transactional_producer("b-1", group="b") as producer:
            kept, left = (producer.half("orders", b"v", queue=1) for _ in range(2))
            assert (kept.topic, kept.queue) == ("orders", 1)
            assert (kept.is_open, kept.is_decided) == (True, False)
            kept.commit()
            left.leave()
            for each in (kept, left):
                assert (each.is_open, each.is_decided) == (False, True)
            undecided = producer.half("orders", b"v")
        assert (undecided.is_open, undecided.is_decided) == (False, False), "nobody has it in hand"


def test_what_is_given_up_waits_for_no_answer_and_is_rolled_back() -> None:
    """The block goes on, and its end commits nothing."""
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        with client.transactional_producer("b-1", group="b") as producer:
            with producer.transaction("orders", b"not paid") as half:
                no = refused(Unavailable("not yet"))
                fake.fault(Method.TRANSACTIONS_DECIDE, *[no] * 1000)
                half.give_up()
                assert (half.is_open, half.is_decided) == (False, True)
                half.give_up()
            assert [each.transaction for each in client.transactions.list()] == [half.transaction]
            fake.heal()
            wait_for(lambda: not client.transactions.list())
        assert (half.receipt, seen(fake)) == (None, [])


def test_what_a_thread_was_to_roll_back_is_not_committed_by_the_end_of_its_block() -> None:
    """There was no answer to it: it is asked on."""
    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        with (
            client.transactional_producer("b-1", group="b") as producer,
            producer.transaction("orders", b"not paid") as half,
        ):
            fake.fault(Method.TRANSACTIONS_DECIDE, unanswered)
            with pytest.raises(OutcomeUnknown):
                half.rollback(timeout=0.05)
        assert (half.receipt, client.transactions.list(), seen(fake)) == (None, [], [])


@pytest.mark.parametrize("ask", [sync_halves.Half.rollback, sync_halves.Half.give_up])
def test_a_rollback_that_is_interrupted_at_once_was_asked_for(
    ask: Callable[[sync_halves.Half], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes before the loop has begun it, and the block goes on."""

    def interrupt(_thread: LoopThread, work: Coroutine[Any, Any, None]) -> None:
        work.close()
        raise KeyboardInterrupt

    with cluster(orders=1) as fake, sync.Client(fake.seeds) as client:
        with (
            client.transactional_producer("b-1", group="b") as producer,
            producer.transaction("orders", b"not paid") as half,
        ):
            monkeypatch.setattr(LoopThread, "run", interrupt)
            with pytest.raises(KeyboardInterrupt):
                ask(half)
            monkeypatch.undo()
        assert (half.receipt, client.transactions.list(), seen(fake)) == (None, [], [])


@pytest.mark.long
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_who_is_interrupted_leaves_it_to_the_checker(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a loop: its work may be done. An error says that it was not."""
    monkeypatch.setattr(checks, "ASK_AGAIN_NS", 10_000_000)
    asked: list[bytes | None] = []

    def check(message: UndecidedMessage) -> Verdict:
        asked.append(message.value)
        return Verdict.COMMIT

    with (
        cluster(orders=1) as fake,
        sync.Client(fake.seeds) as client,
        client.transactional_producer("b-1", group="b", checker=check) as producer,
    ):
        with suppress(error), producer.transaction("orders", b"v"):
            later(fake)
            wait_for(lambda: fake.checks.asked)
            assert producer.status.checks == 0, "its work goes on"
            raise error
        wait_for(lambda: not client.transactions.list())
        assert len(asked) == (error is KeyboardInterrupt)
        assert len(seen(fake)) == len(asked)
