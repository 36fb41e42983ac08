"""How a member takes its share of a group's queues, and lets go of them without a repetition.

A cooperative group's queue goes to another member in steps::

    revoked    nothing more of it is handed out; ``on_revoked`` is called
    finished   what was handed out is done and committed, or ``hand_over`` seconds are over
    released   the heir gets it, and begins where this member has stopped

Given back meanwhile (the heir left, say) it is read on from where it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

import msgspec

from raftlog.base.assignors import check_assignor
from raftlog.base.errors import BadName, BadRequest, RaftlogError, Refused
from raftlog.base.limits import OFFSETS_PER_COMMAND_MAX
from raftlog.base.names import check_name
from raftlog.client.asking import RETRY_PAUSE_S, Asker
from raftlog.client.durations import Duration, seconds
from raftlog.client.ownership import Owned, Ownership
from raftlog.client.subscription import Subscription
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups

Places = tuple[tuple[str, int], ...]
"""Topics and queues' places in them."""
Hook = Callable[[Places], Awaitable[None] | None]
"""Called on the consumer's loop, or awaited there; one at a time. What it raises ends the
consumer: whoever asks for the next message gets it."""


class Sharing(msgspec.Struct, frozen=True):
    """How a consumer takes part in its group. Valid by construction (``ValueError``).

    Attributes:
        assignor: How the group shares its queues out: "range", "sticky" or "cooperative". Its
            first member says so, one that says otherwise is refused, "" takes what there is
            (at first "range"), and ``groups.subscribe`` changes it.
        member: A fixed name makes a *static* member: closing is not leaving, and a process
            that is started under the name within the session goes on with its queues. It
            fences the one before: that gets ``Fenced``. "": a name is drawn.
        hand_over: Seconds for ``on_revoked`` and for finishing a queue that goes to another member
            (cooperative); then it goes, and a hook that has not ended is cancelled.
        on_assigned: Called with what is read here now, before its first message.
        on_revoked: Called with what is to go while it still can be committed: in a cooperative
            group, and when the consumer is closed.
        on_lost: Called with what is somebody else's already: there is nothing left to do for it.
    """

    assignor: str = ""
    member: str = ""
    hand_over: Duration = 30.0
    on_assigned: Hook | None = None
    on_revoked: Hook | None = None
    on_lost: Hook | None = None

    def __post_init__(self) -> None:
        """Check it."""
        try:
            check_assignor(self.assignor)
            if self.member:
                check_name(self.member, "member")
        except (BadRequest, BadName) as error:
            raise ValueError(str(error)) from None
        if seconds(self.hand_over) < 0:
            raise ValueError(f"a hand-over of {seconds(self.hand_over):g} s")


class HandingOver:
    """What a consumer's queues come and go by. Bound to its loop.

    Args:
        asker: Asks the leader.
        subscription: The group, this member, and how it commits.
        ownership: Its queues.
        sharing: Who is told, and how long finishing may take.
        on_released: Told what went to its heirs.
        on_trouble: Told what went wrong; it is tried again.
        on_failure: Told what a hook has raised.
    """

    def __init__(
        self,
        asker: Asker,
        subscription: Subscription,
        ownership: Ownership,
        sharing: Sharing,
        *,
        on_released: Callable[[Places], None],
        on_trouble: Callable[[RaftlogError], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.is_busy = False
        """Whether somebody waits for something to be finished."""
        self._asker = asker
        self._subscription = subscription
        self._ownership = ownership
        self._sharing: Final = sharing
        self._on_released = on_released
        self._on_trouble = on_trouble
        self._on_failure = on_failure
        self._calling: Final = asyncio.Lock()
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- hooks

    def assigned(self, gained: Iterable[Owned]) -> None:
        """Queues are this member's: read them, once whoever wants to know was told."""
        owned = tuple(gained)
        if self._sharing.on_assigned is None or not owned:
            self._ownership.begin(owned)
        else:
            self._spawn(self._welcome(owned))

    async def _welcome(self, owned: tuple[Owned, ...]) -> None:
        if await self._call(self._sharing.on_assigned, places_of(owned)):
            self._ownership.begin(owned)

    def lost(self, owned: Iterable[Owned]) -> None:
        """Queues are somebody else's."""
        places = places_of(owned)
        if places and self._sharing.on_lost is not None:
            self._spawn(self._tell_lost(places))

    async def _tell_lost(self, places: Places) -> None:
        await self._call(self._sharing.on_lost, places)

    async def parting(self) -> None:
        """The consumer is about to close: what it owns can be committed still."""
        await self._call(self._sharing.on_revoked, places_of(self._ownership.queues.values()))

    async def _call(self, hook: Hook | None, places: Places) -> bool:
        """Call a hook; return whether it went well."""
        if hook is None or not places:
            return True
        async with self._calling:
            try:
                result = hook(places)
                if result is not None:
                    await result
            except Exception as error:  # noqa: BLE001  (the user's own; the user gets it)
                self._on_failure(error)
                return False
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise  # this was cancelled; not something that the hook waited for
                self._on_failure(RuntimeError("what a hook waited for was cancelled"))
                return False
        return True

    # -- hand-over

    def revoked(self, rows: Iterable[groups.AssignedQueue]) -> None:
        """Somebody else is to have these queues: finish and release them."""
        news = [row for row in rows if self._is_news(row)]
        if news:
            for row in news:
                owned = self._ownership.queues.get(row.queue)
                if owned is not None:
                    self._ownership.pause(owned, row.revoked)
            self._spawn(self._hand_over({row.queue: row.revoked for row in news}))

    def _is_news(self, row: groups.AssignedQueue) -> bool:
        owned = self._ownership.queues.get(row.queue)
        return owned is None or owned.revoked != row.revoked

    def progress(self) -> None:
        """Something was finished or committed."""
        self._moved.set()

    async def _hand_over(self, revoked: dict[int, int]) -> None:
        leaving = [
            self._ownership.queues[queue] for queue in revoked if queue in self._ownership.queues
        ]
        self.is_busy = True
        try:
            async with asyncio.timeout(seconds(self._sharing.hand_over)):
                await self._call(self._sharing.on_revoked, places_of(leaving))
                while not all(map(self._is_over, leaving)):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            pass  # the heir does again what is not committed; a hook that hangs is ended
        left = [owned for owned in leaving if owned.revoked == revoked[owned.number]]
        queues = {
            queue: number
            for queue, number in revoked.items()
            if queue not in self._ownership.queues
            or self._ownership.queues[queue].revoked == number
        }
        await self._release(queues, left)

    def _is_over(self, owned: Owned) -> bool:
        """Whether nothing of a queue is unfinished here, or it is not to go any more."""
        if owned.is_lost or not owned.revoked:
            return True
        finished = owned.done if self._subscription.auto_commit else owned.committed or 0
        return finished >= owned.handed

    async def _release(self, queues: dict[int, int], leaving: list[Owned]) -> None:
        while queues:
            try:
                if self._subscription.auto_commit:
                    done = {owned: owned.done for owned in leaving if not owned.is_lost}
                    await self._ownership.commit_each(done)
                await self._ask_release(queues)
            except Refused:
                return  # it is no member any more, and hears of that itself
            except RaftlogError as error:
                self._on_trouble(error)
                await asyncio.sleep(RETRY_PAUSE_S)
                queues = {
                    queue: number
                    for queue, number in queues.items()
                    if queue not in self._ownership.queues
                    or self._ownership.queues[queue].revoked == number
                }
            else:
                released = [
                    owned for owned in leaving if owned.revoked == queues.get(owned.number)
                ]
                self._ownership.let_go(released)
                self._on_released(places_of(released))
                return

    async def _ask_release(self, queues: dict[int, int]) -> None:
        rows = [
            groups.RevokedQueue(queue=queue, revoked=number) for queue, number in queues.items()
        ]
        for at in range(0, len(rows), OFFSETS_PER_COMMAND_MAX):
            await self._asker.ask(
                Method.GROUP_RELEASE,
                groups.ReleaseQueues(
                    group=self._subscription.group,
                    member=self._subscription.member,
                    queues=rows[at : at + OFFSETS_PER_COMMAND_MAX],
                    life=self._ownership.life,
                ),
                groups.QueuesReleased,
                repeats=True,
            )

    # -- tasks

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self.is_busy = bool(self._tasks)

    async def aclose(self) -> None:
        """End everything that goes on behind the scenes."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def places_of(owned: Iterable[Owned]) -> Places:
    """Return topics and places, in order."""
    return tuple(sorted((each.topic, each.place) for each in owned))
