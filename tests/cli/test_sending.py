"""What becomes of each record is counted, whatever the cluster answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self, cast

import pytest

from raftlog.base.errors import (
    BadFormat,
    BufferFull,
    OutcomeUnknown,
    RaftlogError,
    TopicNotFound,
    Unavailable,
)
from raftlog.cli.ndjson import Outgoing
from raftlog.cli.sending import Sending, Summary
from raftlog.client.client import Client
from raftlog.client.receipts import Receipt

Answer = Callable[[int], Receipt | RaftlogError]


def receipt(number: int, queue: int = 0) -> Receipt:
    """Return the receipt of record ``number``."""
    return Receipt("t", queue, cast("Any", number), cast("Any", 1), cast("Any", 9), "fsync")


class Answers:
    """Stands for a client and its producer: answers each record as it is told to.

    Attributes:
        posted: What was posted, in order.
    """

    def __init__(self, answer: Answer, room: int = 1_000) -> None:
        self.posted: list[tuple[bytes | None, dict[str, Any]]] = []
        self.waits = 0
        self._answer = answer
        self._room = room
        self._held: list[asyncio.Future[Receipt]] = []

    def producer(self) -> Self:
        """Be the producer, too."""
        return self

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; everything has been awaited."""
        assert all(future.done() for future in self._held)

    def post(self, _topic: str, value: bytes | None, **options: Any) -> "asyncio.Future[Receipt]":
        """Take a record, unless too many wait."""
        if sum(not future.done() for future in self._held) >= self._room:
            raise BufferFull("full")
        number = len(self.posted)
        self.posted.append((value, options))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()
        self._held.append(future)

        def settle() -> None:
            answer = self._answer(number)
            if isinstance(answer, RaftlogError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        loop.call_later(0.001, settle)
        return future

    async def ready(self) -> None:
        """Wait for room."""
        self.waits += 1
        await asyncio.wait([future for future in self._held if not future.done()])


def send(
    client: Answers, *chunks: Sequence[Outgoing] | RaftlogError, defaults: Outgoing | None = None
) -> Summary:
    """Send the records of some chunks; an error among them is one of the input."""

    async def records() -> AsyncIterator[list[Outgoing]]:
        for chunk in chunks:
            if isinstance(chunk, RaftlogError):
                raise chunk
            yield list(chunk)
            await asyncio.sleep(0.01)

    sending = Sending("t", None, defaults or Outgoing(None))
    return asyncio.run(sending.run(cast("Client", client), records()))


THREE = [Outgoing(b"a"), Outgoing(b"b"), Outgoing(b"c")]


def test_every_acknowledgement_is_counted() -> None:
    """By queue, with the offsets."""
    summary = send(Answers(lambda number: receipt(number, number % 2)), THREE, THREE)

    assert (summary.acknowledged, summary.failed, summary.unknown) == (6, 0, 0)
    assert summary.words() == (
        "t: 6 records acknowledged (fsync): 3 in queue 0 (offsets 0 to 4), "
        "3 in queue 1 (offsets 1 to 5)"
    )


def test_many_queues_are_not_all_listed() -> None:
    """A line is read by people; JSON has them all."""
    summary = send(Answers(lambda number: receipt(number, number)), THREE, THREE)

    assert summary.words().endswith(", and in 2 queues more")
    assert len(cast("list[object]", summary.as_data()["queues"])) == 6


def test_a_full_producer_is_waited_for() -> None:
    """Nothing is dropped, and order is kept."""
    client = Answers(receipt, room=2)

    summary = send(client, THREE, THREE)

    assert summary.acknowledged == 6
    assert client.waits > 0
    assert [value for value, _ in client.posted] == [b"a", b"b", b"c"] * 2


def test_the_first_refusal_ends_the_sending() -> None:
    """What was under way is counted, the rest is not sent."""
    refused = TopicNotFound("t")
    client = Answers(lambda number: receipt(number) if number < 2 else refused)

    summary = send(client, THREE, THREE)

    assert len(client.posted) == 3
    assert (summary.acknowledged, summary.failed, summary.unknown) == (2, 1, 0)
    assert summary.error is refused
    assert summary.damage() == (
        "t: 2 acknowledged, 1 not stored; the rest of the input was not sent"
    )


def test_an_unknown_outcome_is_told_apart() -> None:
    """Also when a refusal came before it: sending again could store it twice."""
    unknown = OutcomeUnknown("no answer", ticket=1)
    answers: list[Receipt | RaftlogError] = [receipt(0), Unavailable("x"), unknown]

    summary = send(Answers(lambda number: answers[number]), THREE)

    assert (summary.acknowledged, summary.failed, summary.unknown) == (1, 1, 1)
    assert summary.error is unknown
    assert "1 of unknown outcome: each may be stored, or not" in summary.damage()


def test_a_bad_input_is_told_after_what_came_before_it() -> None:
    """The records before it are awaited and counted."""
    bad = BadFormat("stdin:4: no JSON")

    summary = send(Answers(receipt), THREE, bad, THREE)

    assert summary.acknowledged == 3
    assert summary.error is bad


@pytest.mark.parametrize(
    ("record", "key", "headers", "tag"),
    [
        (Outgoing(b"v"), b"k", (("a", b"1"), ("b", b"2")), "t"),
        (Outgoing(b"v", b"own", (), "mine"), b"own", (("a", b"1"), ("b", b"2")), "mine"),
        (Outgoing(b"v", None, (("a", b"3"),)), b"k", (("b", b"2"), ("a", b"3")), "t"),
    ],
)
def test_what_a_record_says_itself_stands_over_the_options(
    record: Outgoing, key: bytes, headers: tuple[tuple[str, bytes], ...], tag: str
) -> None:
    """Header by header."""
    client = Answers(receipt)

    send(client, [record], defaults=Outgoing(None, b"k", (("a", b"1"), ("b", b"2")), "t"))

    ((_, options),) = client.posted
    assert (options["key"], options["headers"], options["tag"]) == (key, headers, tag)
