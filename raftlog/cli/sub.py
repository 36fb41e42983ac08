"""``raftlog sub``: write a topic's records to stdout, alone or as a member of a group.

Alone it reads what is there and ends, or goes on with ``--follow``; nothing is
stored about it. As a member of a group it commits what it has *written*, so a
record is written again after a crash rather than never.
"""

from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast

import typer

from raftlog.base.errors import BadRequest, Fenced, UnknownMember
from raftlog.cli.connection import ask
from raftlog.cli.emitting import Emitter, ReaderGone, leave_quietly
from raftlog.cli.formats import DEFAULT_FORMAT, Fields, read_format
from raftlog.cli.ndjson import record_line
from raftlog.cli.options import (
    DEFAULT_TIMEOUT_S,
    AssignorOption,
    ConnectOption,
    FilterOption,
    TagOption,
    TimeoutOption,
    parsed,
)
from raftlog.cli.output import Output, Shown, say
from raftlog.cli.positions import EARLIEST, LATEST, read_position
from raftlog.cli.quantities import read_staleness
from raftlog.wire.filters import EVERYTHING, RecordFilter, record_filter

if TYPE_CHECKING:
    from raftlog.cli.positions import Position
    from raftlog.client.client import Client
    from raftlog.client.consumer import Consumer
    from raftlog.client.handing_over import Sharing

POLL_RECORDS: Final = 500
POLL_S: Final = 0.5
IDLE_POLLS: Final = 6
"""Empty polls after which the rest is left to the group's other members."""

StalenessOption = Annotated[
    timedelta | None,
    typer.Option(
        metavar="DURATION",
        parser=parsed(read_staleness),
        help="Read from followers, which may be behind: what was acknowledged so long ago is "
        "there, like 5s; 0s: everything. Else from the leader.",
        show_default=False,
    ),
]
MemberOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="With --group: a fixed name. Started again within 10 s, it goes on with its "
        "queues, and no other member notices.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=r"How a record is written: %t topic, %q queue, %o offset, %k key, %v value, "
        r"%h headers, %g tag, %i id, %T timestamp, %n newline, %v{hex}, %k{base64}, %T{iso}, \t. "
        "Else its value and a newline.",
        show_default=False,
    ),
]


def sub(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic.")],
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="POSITION",
            parser=parsed(read_position),
            help="earliest, latest, an offset, a time ago like -1h, or a moment like "
            "2026-11-25T09:00:00Z.",
        ),
    ] = EARLIEST,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more instead of ending.")
    ] = False,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many records.", show_default=False)
    ] = None,
    queue: Annotated[
        int | None,
        typer.Option(min=0, help="Only this queue of the topic.", show_default=False),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Read as a member of this group, and commit what was written.",
            show_default=False,
        ),
    ] = None,
    assignor: AssignorOption = "",
    member: MemberOption = "",
    condition: FilterOption = "",
    tag: TagOption = None,
    staleness: StalenessOption = None,
    form: FormatOption = None,
    connect: ConnectOption = "",
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    output: Shown = Output.TABLE,
) -> None:
    """Write the records of TOPIC to stdout; -o json: one object a line."""
    position = cast("Position", start)
    _check(position, queue, group, form, output)
    sharing = _sharing(group, assignor, member)
    render = record_line if output is Output.JSON else read_format(form or DEFAULT_FORMAT)
    wanted = record_filter(tag or (), condition)
    run = _Subscription(topic, render, count, wanted, is_following=follow, staleness=staleness)

    async def use(client: "Client") -> None:
        if group is None:
            await run.read(client, position, queue)
        else:
            await run.consume(client, group, position, sharing)

    try:
        ask(connect, timeout, use)
    except ReaderGone:
        leave_quietly()


def _check(
    position: "Position", queue: int | None, group: str | None, form: str | None, output: Output
) -> None:
    if form is not None and output is Output.JSON:
        raise typer.BadParameter("--format is for text: leave out -o json, or --format")
    if group is not None and queue is not None:
        raise typer.BadParameter("a group's queues are shared out: leave out --queue, or --group")
    if group is not None and position not in (EARLIEST, LATEST):
        raise typer.BadParameter(
            "a group goes on where it was, and begins at earliest or latest; to set where it is: "
            "raftlog group seek"
        )


def _sharing(group: str | None, assignor: str, member: str) -> "Sharing":
    from raftlog.client.handing_over import Sharing  # noqa: PLC0415  (an SDK, where one is used)

    if group is None and (assignor or member):
        raise typer.BadParameter("--assignor and --member are of a group: give --group, too")
    try:
        return Sharing(assignor, member)
    except ValueError as error:
        raise BadRequest(str(error)) from None


class _Subscription:
    """One run of ``raftlog sub``."""

    def __init__(
        self,
        topic: str,
        render: Callable[[Fields], bytes],
        count: int | None,
        wanted: RecordFilter = EVERYTHING,
        *,
        is_following: bool,
        staleness: timedelta | None = None,
    ) -> None:
        self._topic: Final = topic
        self._emitter: Final = Emitter(render)
        self._count: Final = count
        self._wanted: Final = wanted
        self._is_following: Final = is_following
        self._staleness: Final = staleness

    @property
    def _left(self) -> int:
        """How many records are still to be written, at most."""
        left = POLL_RECORDS if self._count is None else self._count - self._emitter.count
        return min(left, POLL_RECORDS)

    async def read(self, client: "Client", position: "Position", queue: int | None) -> None:
        """Write what a reader gives, a batch at a time."""
        first = position if isinstance(position, int) else 0
        async with client.reader(
            self._topic,
            start=position,
            queue=queue,
            follow=self._is_following,
            staleness=self._staleness,
            filter=self._wanted.condition,
            tags=self._wanted.tags,
        ) as reader:
            async for batch in reader.batches():
                messages = batch.messages(first)
                wanted = None if self._count is None else self._count - self._emitter.count
                self._emitter.add(islice(messages, wanted))
                await self._emitter.flush()
                if self._left <= 0:
                    return
        if not self._emitter.count and isinstance(position, int):
            await self._refuse_beyond(client, position, queue)

    async def _refuse_beyond(self, client: "Client", offset: int, queue: int | None) -> None:
        """Refuse an offset that no queue has come to: that it wrote nothing says too little.

        Raises:
            BadRequest: It is beyond every queue's end.
        """
        queues = (await client.topics.describe(self._topic)).queues
        ends = [each.end_offset for each in queues if queue in (None, each.queue)]
        if all(offset > end for end in ends):
            raise BadRequest(
                f"offset {offset} is beyond the end of {self._topic}, which is {max(ends)}; begin "
                "at or before it"
            )

    async def consume(
        self, client: "Client", group: str, position: "Position", sharing: "Sharing | None" = None
    ) -> None:
        """Write what the group has not done yet, and commit it once it is written."""
        start: Literal["earliest", "latest"] = LATEST if position == LATEST else EARLIEST
        idle = 0
        is_committed = True
        async with client.consumer(
            group,
            [self._topic],
            start=start,
            auto_commit=False,
            staleness=self._staleness,
            filter=self._wanted.condition,
            tags=self._wanted.tags,
            sharing=sharing,
        ) as consumer:
            while self._left > 0:
                messages = await consumer.poll(self._left, timeout=POLL_S)
                if messages:
                    idle = 0
                    self._emitter.add(messages)
                    await self._emitter.flush()
                if messages or not is_committed or self._wanted:  # what was passed over is done
                    is_committed = await self._commit(consumer, group, is_news=is_committed)
                if not messages and not self._is_following:
                    idle += 1
                    lag = await self._lag(client, group)
                    if lag and idle >= IDLE_POLLS:
                        say(f"nothing more comes: {lag:,} records are with others of {group}")
                    if not lag or idle >= IDLE_POLLS:
                        return

    async def _commit(self, consumer: "Consumer", group: str, *, is_news: bool) -> bool:
        """Commit what was written; return False if a queue of it changed hands meanwhile.

        That is what happens when a member joins: this one goes on with what it keeps.
        """
        try:
            await consumer.commit()
        except (Fenced, UnknownMember):
            if is_news:
                say(
                    f"queues of {group} changed hands: what was written here last may be written "
                    "by their new owner once more"
                )
            return False
        return True

    async def _lag(self, client: "Client", group: str) -> int:
        """Return how far the group is behind in this topic."""
        described = await client.groups.describe(group)
        return sum(queue.lag for queue in described.queues if queue.topic == self._topic)
