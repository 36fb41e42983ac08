"""Dead letters over gRPC: a program with the descriptor set only, and any node of a cluster."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from raftlog.base.errors import (
    BadRequest,
    GroupNotFound,
    OutcomeUnknown,
    Throttled,
    TopicNotFound,
    Unavailable,
    WrongMessageType,
)
from raftlog.client.client import Client
from raftlog.gateway.grpc import letters as composed
from raftlog.gateway.grpc.forwarding import Forwarder
from raftlog.gateway.grpc.server import GrpcServer
from raftlog.wire.batch import Record
from raftlog.wire.frame import Method
from raftlog.wire.schema import letters
from raftlog.wire.status import decode_error
from tests.client.fake_cluster import (
    FakeCluster,
    answer_lost,
    fake_cluster,
    request_late,
    unanswered,
    until,
)
from tests.gateway.stubs import PATIENCE_S, Stubs, error_of, serving

pytestmark = pytest.mark.asyncio


class World:
    """A cluster, and a program that asks one of its nodes."""

    def __init__(
        self, cluster: FakeCluster, client: Client, server: GrpcServer, stubs: Stubs
    ) -> None:
        self.cluster = cluster
        self.client = client
        self.server = server
        self.stubs = stubs

    async def bury(self, *records: Record, topic: str = "orders") -> None:
        """Let the group ``work`` give records up, one after the other."""
        await self.client.producer().send_batch(topic, records)
        await self.client.queue_groups.open("work", topic, attempts=1)
        async with self.client.queue_consumer("work") as consumer:
            for message in await consumer.receive(len(records), wait=5):
                await message.reject(f"no {(message.message.value or b'').decode()}")
        await until(lambda: not self.cluster.machine.leasing.flights.dead)

    async def page(self, **asked: Any) -> letters.LettersListed:
        message = letters.ListLetters(group="work", **asked)
        answer = await self.stubs.LetterList(message, timeout=PATIENCE_S)
        assert isinstance(answer, letters.LettersListed)
        return answer

    async def resend(self, timeout_s: float = PATIENCE_S, **asked: Any) -> letters.LettersResent:
        message = letters.ResendLetters(group="work", **asked)
        answer = await self.stubs.LetterResend(message, timeout=timeout_s)
        assert isinstance(answer, letters.LettersResent)
        return answer

    def values(self, topic: str = "orders") -> list[bytes]:
        """What the topic has."""
        (found,) = self.cluster.values(topic)
        return [value or b"" for value in found]


@asynccontextmanager
async def world(*values: bytes, size: int = 1) -> AsyncIterator[World]:
    """Give one, with dead letters of these values."""
    async with (
        fake_cluster(size, orders=1) as cluster,
        Client(cluster.seeds) as client,
        serving({}, forwarder=Forwarder(cluster.seeds)) as (server, stubs),
    ):
        cluster.burying.begin()
        made = World(cluster, client, server, stubs)
        if values:
            await made.bury(*(Record(value, b"k") for value in values))
        yield made


def told(rows: Sequence[letters.DeadLetter]) -> list[tuple[int, bytes, str, bool]]:
    return [(each.offset, each.value, each.reason, each.resent) for each in rows]


async def test_a_letter_says_what_it_was_and_why_it_is_one() -> None:
    """The record as it was, and where it came from: nothing has to be decoded."""
    async with world() as it:
        record = Record(b"v", b"k", (("a", b"1"), ("a", b"2")), 5, "t")
        await it.bury(Record(None), record)
        none, letter = (await it.page()).letters
        assert not none.HasField("value")
        assert not none.HasField("key")
        assert letter == letters.DeadLetter(
            offset=1,
            group="work",
            topic="orders",
            queue=0,
            message_offset=1,
            attempts=1,
            reason="no v",
            value=b"v",
            key=b"k",
            tag="t",
            timestamp_ms=5,
            headers=[
                letters.LetterHeader(name="a", value=b"1"),
                letters.LetterHeader(name="a", value=b"2"),
            ],
        )


async def test_letters_come_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """By count and by bytes; each goes on behind the last letter of the one before."""
    async with world(*(b"%d" % number for number in range(7))) as it:
        page = await it.page(count_max=3)
        assert ([each.value for each in page.letters], page.more) == ([b"0", b"1", b"2"], True)
        page = await it.page(count_max=4, after=2)
        assert ([each.value for each in page.letters], page.more) == (
            *([b"3", b"4", b"5", b"6"], False),
        )
        page = await it.page(after=6)
        assert (list(page.letters), page.more) == ([], False)
        monkeypatch.setattr(composed, "PAGE_BYTES", 100)
        seen: list[bytes] = []
        after: dict[str, int] = {}
        while True:
            page = await it.page(**after)
            seen += [each.value for each in page.letters]
            if not page.more:
                break
            assert len(page.letters) < 7
            after = {"after": page.letters[-1].offset}
        assert seen == [b"%d" % number for number in range(7)]


async def test_each_letter_is_sent_again_once() -> None:
    """Asked again, there is nothing left; the letters stay, and say so."""
    async with world(b"a", b"b", b"c") as it:
        assert await it.resend(count_max=2) == letters.LettersResent(count=2)
        assert [each.offset for each in (await it.page(pending=True)).letters] == [2]
        assert await it.resend() == letters.LettersResent(count=1)
        assert await it.resend() == letters.LettersResent()
        assert sorted(it.values()[3:]) == [b"a", b"b", b"c"]
        assert [each.resent for each in (await it.page()).letters] == [True] * 3
        assert not (await it.page(pending=True)).letters


async def test_several_who_ask_at_once_share_the_letters() -> None:
    """Through different nodes, too: which one makes the steps does not matter."""
    values = [b"%03d" % number for number in range(40)]
    async with (
        world(*values, size=3) as it,
        serving({}, forwarder=Forwarder(it.cluster.seeds)) as (_, others),
    ):
        message = letters.ResendLetters(group="work")
        answers = await asyncio.gather(
            *(it.resend() for _ in range(3)),
            *(others.LetterResend(message, timeout=PATIENCE_S) for _ in range(3)),
        )
        assert sum(each.count for each in answers) == 40
        assert sorted(it.values()[40:]) == values


@pytest.mark.parametrize("fault", [answer_lost, request_late])
@pytest.mark.parametrize("method", [Method.APPEND, Method.QUEUE_ACK, Method.QUEUE_RECEIVE])
async def test_what_is_lost_on_the_way_is_stored_once(method: Method, fault: Any) -> None:
    """A step is asked again, by its own name each: of the letter, of the lease."""
    async with world(b"a", b"b") as it:
        it.cluster.fault(method, fault)
        assert (await it.resend()).count == 2
        for late in it.cluster.late:
            late()
        await it.resend()
        assert sorted(it.values()[2:]) == [b"a", b"b"]


async def test_a_resend_that_runs_out_of_time_goes_on_when_it_is_asked_again() -> None:
    """Its caller does not know how far it came, and need not."""
    async with world(b"a", b"b") as it:
        it.cluster.fault(Method.QUEUE_ACK, *[unanswered] * 2)
        error = await error_of(it.resend(1.0))
        assert isinstance(error, OutcomeUnknown)
        assert "ask again" in str(error)
        for late in it.cluster.late:
            late()
        assert await it.resend() == letters.LettersResent()
        assert sorted(it.values()[2:]) == [b"a", b"b"]


async def test_a_caller_that_is_gone_holds_no_letter() -> None:
    """What it had leased is given back, or sent; the next one has it at once."""
    async with world(b"a") as it:
        it.cluster.fault(Method.APPEND, unanswered)
        asked = asyncio.ensure_future(it.resend())
        await until(lambda: len(it.cluster.late) == 1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await until(lambda: not it.server._composing)
        assert (await it.resend()).count == 1
        it.cluster.late.pop()()
        assert it.values() == [b"a", b"a"]


async def test_a_node_that_stops_says_that_another_one_goes_on() -> None:
    """Nobody who stops waits for a thousand letters."""
    async with world(b"a") as it:
        it.cluster.fault(Method.APPEND, unanswered)
        asked = asyncio.ensure_future(error_of(it.resend()))
        await until(lambda: len(it.cluster.late) == 1)
        await it.server.close()
        error = await asked
        assert isinstance(error, OutcomeUnknown)
        assert "stopping" in str(error)


async def test_what_can_not_be_sent_stays_and_says_why() -> None:
    """By the letter's offset; and may go to another topic."""
    async with world(b"a") as it:
        await it.client.topics.create("gone", queues=1)
        await it.bury(Record(b"b"), topic="gone")
        await it.client.topics.delete("gone")
        await it.client.topics.alter("orders", types="delayed")
        done = await it.resend()
        errors = {
            each.offset: type(decode_error(each.error.SerializeToString())) for each in done.failed
        }
        assert (done.count, errors) == (0, {0: WrongMessageType, 1: TopicNotFound})
        await it.client.topics.create("others", queues=1)
        assert (await it.resend(topic="others")).count == 2
        assert sorted(it.values("others")) == [b"a", b"b"]


async def test_what_makes_no_sense_is_refused_by_name() -> None:
    """A group that there is not, too much at once; behind all letters there is none."""
    async with world(b"a") as it:
        nobody = letters.ListLetters(group="nobody")
        assert type(await error_of(it.stubs.LetterList(nobody))) is GroupNotFound
        unknown = letters.ResendLetters(group="nobody")
        assert type(await error_of(it.stubs.LetterResend(unknown))) is GroupNotFound
        assert not (await it.page(after=7)).letters
        assert type(await error_of(it.page(after=-1))) is BadRequest
        assert type(await error_of(it.page(count_max=1_001))) is BadRequest


async def test_they_count_as_rpcs_and_need_other_nodes() -> None:
    """What clients can make a node hold is bounded."""
    async with world() as it:
        it.server._rpcs_max = 0
        assert type(await error_of(it.page())) is Throttled
    async with serving({}) as (_, stubs):
        message = letters.ListLetters(group="work")
        assert type(await error_of(stubs.LetterList(message), changes=False)) is Unavailable


async def test_a_list_that_takes_too_long_has_changed_nothing() -> None:
    """So its caller hears no doubt."""
    async with world(b"a") as it:
        it.cluster.fault(Method.READ, *[unanswered] * 9)
        message = letters.ListLetters(group="work")
        error = await error_of(it.stubs.LetterList(message, timeout=0.5))
        assert type(error) is Unavailable
