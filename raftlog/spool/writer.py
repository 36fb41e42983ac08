"""One writer for all who have something to note: what comes meanwhile shares the next sync."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, TypeVar

from raftlog.base.errors import NoRoom, RaftlogError
from raftlog.spool.contents import Contents, Note, Spooled, encode_note
from raftlog.spool.frames import size_of_frame
from raftlog.spool.journal import Journal, Place

P = ParamSpec("P")
R = TypeVar("R")
_Unit = tuple[Sequence[Note], list[bytes], "asyncio.Future[list[Place]]"]


class Writer:
    """Writes notes, in the order in which they come. Bound to its loop.

    A caller that is cancelled does not take back what it has begun.
    """

    def __init__(self, journal: Journal, contents: Contents) -> None:
        self.waiting_bytes = 0
        """Of notes that are not on disk yet."""
        self._journal: Final = journal
        self._contents: Final = contents
        self._turn: Final = asyncio.Lock()
        self._units: list[_Unit] = []
        self._draining: asyncio.Task[None] | None = None

    async def write(
        self, notes: Sequence[Note], payloads: list[bytes] | None = None
    ) -> list[Place]:
        """Return when the notes are on disk and count.

        Args:
            notes: What is to be said.
            payloads: The same, encoded, if somebody has done that.

        Raises:
            NoRoom: The disk is full; nothing was written.
            StorageFailed: The disk refuses; nobody can write any more.
        """
        future: asyncio.Future[list[Place]] = asyncio.get_running_loop().create_future()
        payloads = [encode_note(note) for note in notes] if payloads is None else payloads
        self.waiting_bytes += sum(map(size_of_frame, payloads))
        self._units.append((notes, payloads, future))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        return await future

    async def do(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do something else with the journal, between two writes, on a thread."""

        async def alone() -> R:
            async with self._turn:
                return await asyncio.to_thread(work, *args, **kwargs)

        task = asyncio.create_task(alone())
        task.add_done_callback(_read)
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Finish what was begun, and close the journal."""
        if self._draining is not None:
            await asyncio.shield(self._draining)
        await self.do(self._journal.close)

    async def _drain(self) -> None:
        try:
            while self._units:
                async with self._turn:
                    units, self._units = self._units, []
                    await self._write_units(units)
        finally:
            self._draining = None

    async def _write_units(self, units: Sequence[_Unit]) -> None:
        try:
            await self._write_together(units, uses_reserve=False)
        except NoRoom:  # then each by itself: those that make room have a reserve
            for unit in units:
                try:
                    await self._write_together([unit], uses_reserve=not _adds(unit[0]))
                except RaftlogError as error:
                    _fail(unit, error)
        except RaftlogError as error:
            for unit in units:
                _fail(unit, error)
        finally:
            self.waiting_bytes -= sum(size_of_frame(data) for _, some, _ in units for data in some)

    async def _write_together(self, units: Sequence[_Unit], *, uses_reserve: bool) -> None:
        payloads = [payload for _, some, _ in units for payload in some]
        append = self._journal.append
        places = await asyncio.to_thread(append, payloads, uses_reserve=uses_reserve)
        at = 0
        for notes, _, future in units:
            own = places[at : at + len(notes)]
            at += len(notes)
            for place, note in zip(own, notes, strict=True):
                self._contents.apply(place, note)
            if not future.done():
                future.set_result(own)


def _read(task: "asyncio.Task[R]") -> None:
    """Read an error that its caller has left, or asyncio complains that nobody did."""
    if not task.cancelled():
        task.exception()


def _adds(notes: Sequence[Note]) -> bool:
    """Whether a record is among them."""
    return any(isinstance(note, Spooled) for note in notes)


def _fail(unit: _Unit, error: RaftlogError) -> None:
    future = unit[2]
    if not future.done():
        future.set_exception(error)
