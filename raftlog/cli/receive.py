"""``raftlog receive``: write messages of a queue-style group to stdout, and settle them.

A message is settled once it is *written*, so it is written again after a crash
rather than never.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from raftlog.base.errors import StaleLease
from raftlog.base.limits import MESSAGES_PER_RECEIVE_MAX
from raftlog.cli.connection import ask
from raftlog.cli.emitting import Emitter, ReaderGone, leave_quietly
from raftlog.cli.formats import DEFAULT_FORMAT, Fields, read_format
from raftlog.cli.ndjson import record_data
from raftlog.cli.options import (
    DEFAULT_TIMEOUT_S,
    ConnectOption,
    FilterOption,
    TagOption,
    TimeoutOption,
    parsed,
)
from raftlog.cli.output import Output, Shown, say
from raftlog.cli.quantities import read_duration
from raftlog.cli.sub import FormatOption

if TYPE_CHECKING:
    from raftlog.client.client import Client
    from raftlog.client.queue_consumer import QueueConsumer
    from raftlog.client.queue_message import QueueMessage
    from raftlog.client.queue_options import ConsumerOptions

CHUNK: Final = 100
"""Messages at once: few enough to be written while their leases last."""
FOLLOW_S: Final = 5.0


class Then(Enum):
    """What becomes of messages that were written."""

    ACK = "ack"
    NACK = "nack"
    REJECT = "reject"
    RELEASE = "release"


WaitOption = Annotated[
    timedelta | None,
    typer.Option(
        parser=parsed(read_duration),
        metavar="DURATION",
        help="End when none came for so long. Else as soon as there is none.",
        show_default=False,
    ),
]
ThenOption = Annotated[
    Then,
    typer.Option(
        help="What becomes of them, once written: ack (done), nack (tried again, later), "
        "reject (dead letters), or release (as if nobody had tried; needs --count)."
    ),
]
DelayOption = Annotated[
    timedelta | None,
    typer.Option(
        parser=parsed(read_duration),
        metavar="DURATION",
        help="With --then nack: tried again after so long. Else the group's schedule says.",
        show_default=False,
    ),
]


def receive(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The queue-style group.")],
    topics: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOPIC...",
            help="What the group is to read, if it is new; else what it has to read.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="End after so many messages.", show_default=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more instead of ending.")
    ] = False,
    wait: WaitOption = None,
    then: ThenOption = Then.ACK,
    delay: DelayOption = None,
    reason: Annotated[
        str,
        typer.Option(metavar="TEXT", help="With --then nack or reject: why.", show_default=False),
    ] = "",
    condition: FilterOption = "",
    tag: TagOption = None,
    form: FormatOption = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Write messages of GROUP to stdout, and settle them; -o json: one object a line."""
    _check(count, then, delay, reason, form, output)
    render = message_line if output is Output.JSON else read_format(form or DEFAULT_FORMAT)
    options = options_of(topics or [], condition, tag or [])
    run = _Receiving(render, count, then, delay, reason)
    wait_s = None if follow else 0.0 if wait is None else wait.total_seconds()

    async def use(client: "Client") -> None:
        async with client.queue_consumer(group, topics or [], **options) as consumer:
            await run.work(consumer, group, wait_s)

    try:
        ask(connect, timeout, use)
    except ReaderGone:
        leave_quietly()


def options_of(topics: list[str], condition: str, tags: list[str]) -> "ConsumerOptions":
    """Return the filter that was given; none: with topics all of them, else the group's."""
    if not condition and not tags:
        return {}
    if not topics:
        raise typer.BadParameter("--filter and --tag are of topics: name them after the group")
    return {"filter": condition, "tags": tags}


def _check(
    count: int | None,
    then: Then,
    delay: timedelta | None,
    reason: str,
    form: str | None,
    output: Output,
) -> None:
    if form is not None and output is Output.JSON:
        raise typer.BadParameter("--format is for text: leave out -o json, or --format")
    if delay is not None and then is not Then.NACK:
        raise typer.BadParameter("--delay is for --then nack")
    if reason and then not in (Then.NACK, Then.REJECT):
        raise typer.BadParameter("--reason is for --then nack and --then reject")
    if then is Then.RELEASE and not 0 < (count or 0) <= MESSAGES_PER_RECEIVE_MAX:
        raise typer.BadParameter(
            f"--then release needs --count, 1 to {MESSAGES_PER_RECEIVE_MAX}: what is released is "
            "received again"
        )


def message_line(message: Fields) -> bytes:
    """Write one message as a line: a record, and how often it was leased."""
    attempts = getattr(message, "attempts", 1)
    return msgspec.json.encode({**record_data(message), "attempts": attempts}) + b"\n"


class _Written:
    """A message as formats read it: the record, and its attempts."""

    def __init__(self, message: "QueueMessage") -> None:
        record = message.message
        self.topic, self.queue, self.offset = record.topic, record.queue, record.offset
        self.key, self.value, self.headers = record.key, record.value, record.headers
        self.timestamp_ms, self.tag, self.id = record.timestamp_ms, record.tag, record.id
        self.attempts = message.attempts


class _Receiving:
    """One run of ``raftlog receive``."""

    def __init__(
        self,
        render: Callable[[Fields], bytes],
        count: int | None,
        then: Then,
        delay: timedelta | None,
        reason: str,
    ) -> None:
        self._emitter: Final = Emitter(render)
        self._count: Final = count
        self._then: Final = then
        self._delay: Final = delay
        self._reason: Final = reason
        self._lost = 0

    async def work(self, consumer: "QueueConsumer", group: str, wait_s: float | None) -> None:
        """Write and settle until there are no more, or enough."""
        kept: list[QueueMessage] = []
        while (left := self._left) > 0:
            found = await consumer.receive(left, wait=FOLLOW_S if wait_s is None else wait_s)
            if not found and wait_s is not None:
                break
            self._emitter.add(map(_Written, found))
            await self._emitter.flush()
            if self._then is Then.RELEASE:
                kept += found
            else:
                await self._settle(found)
        await self._settle(kept)
        if self._lost:
            say(
                f"{self._lost:,} messages were written too late: their leases had ended, and "
                "somebody else gets them, too"
            )
        if not self._emitter.count:
            say(f"there is nothing to receive in {group} now")

    @property
    def _left(self) -> int:
        left = CHUNK if self._count is None else self._count - self._emitter.count
        return min(left, CHUNK if self._then is not Then.RELEASE else MESSAGES_PER_RECEIVE_MAX)

    async def _settle(self, messages: "list[QueueMessage]") -> None:
        settled = await asyncio.gather(*map(self._say, messages), return_exceptions=True)
        for outcome in settled:
            if isinstance(outcome, StaleLease):
                self._lost += 1
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _say(self, message: "QueueMessage") -> None:
        match self._then:
            case Then.ACK:
                await message.ack()
            case Then.NACK:
                await message.nack(delay=self._delay, reason=self._reason)
            case Then.REJECT:
                await message.reject(self._reason)
            case Then.RELEASE:
                await message.release()
