"""A log store without a disk: the twin that tests of other layers use.

It passes the contract suite that ``LogStore`` passes, so what is tested with it
holds for the real one. What it does not do: survive the process, find damage
by itself, tear a write. ``reopen`` is its crash: what was performed is there,
what was only planned is not.
"""

from collections.abc import Sequence
from functools import partial

from raftlog.base.entry import (
    HEADER_BYTES,
    LOG_ORIGIN,
    Buffer,
    Entry,
    EntryKind,
    LogEnd,
    check_link,
    parse_entries,
)
from raftlog.base.errors import FaultyEntry
from raftlog.base.ids import WRITE_ZERO, Index, Term, WriteNumber
from raftlog.base.limits import READ_SPAN_BYTES_MAX
from raftlog.base.writes import HardState, ResetLog, SaveHardState, Write, WriteEntries
from raftlog.storage.configurations import ConfigurationRow
from raftlog.storage.plan import StorePlan
from raftlog.storage.span import Place


class _Disk:
    """What has been performed."""

    def __init__(self) -> None:
        self.base = LOG_ORIGIN
        self.entries: list[Entry] = []
        self.first_rows: list[ConfigurationRow] = []
        """What a reset, or what is trimmed, said of the members before the first entry."""
        self.state = HardState()
        self.sequence = 0

    def reset(self, base: LogEnd, row: ConfigurationRow) -> None:
        self.base = base
        self.entries.clear()
        self.first_rows = [row]

    def cut(self, to: Index) -> None:
        del self.entries[to - self.base.index :]

    def drop(self, through: Index) -> None:
        count = through - self.base.index
        if count > 0:
            self.base = self.entries[count - 1].end
            del self.entries[:count]

    def save(self, sequence: int, state: HardState) -> None:
        self.sequence, self.state = sequence, state


class MemoryLogStore:
    """The public face of ``LogStore`` over two lists: what is planned and what is performed."""

    def __init__(self, disk: _Disk | None = None) -> None:
        self._disk = disk or _Disk()
        self._base = self._disk.base
        self._entries = list(self._disk.entries)
        self._faulty: set[Index] = set()
        self._busy: StorePlan | None = None
        self._mark_dirty = False
        self.hard_state = self._disk.state
        self.hard_sequence = self._disk.sequence
        self.commit_hint = self._base.index
        self.unit_number = 0
        self.truncations = 0
        self.fdatasyncs = 0
        self.bytes_written = 0
        self.durable_end = self.end

    def reopen(self) -> "MemoryLogStore":
        """Return the store as the next incarnation of the process finds it."""
        return MemoryLogStore(self._disk)

    @property
    def start(self) -> LogEnd:
        """The entry before the first retained one."""
        return self._base

    @property
    def first_index(self) -> Index:
        """The first retained index."""
        return Index(self._base.index + 1)

    @property
    def end(self) -> LogEnd:
        """Where the log ends once everything planned is done."""
        return self._entries[-1].end if self._entries else self._base

    @property
    def term_runs(self) -> list[tuple[Index, Term]]:
        """First index and term of every run of equal terms in the log."""
        runs: list[tuple[Index, Term]] = []
        for entry in self._entries:
            if not runs or runs[-1][1] != entry.term:
                runs.append((entry.index, entry.term))
        return runs

    @property
    def configurations(self) -> list[ConfigurationRow]:
        """The newest configuration entry that was trimmed, and every later one."""
        before = [row for row in self._disk.first_rows if row.index <= self._base.index]
        return before[-1:] + _rows_of(self._entries)

    @property
    def faulty_count(self) -> int:
        """How many entries were marked as damaged."""
        return len(self._faulty)

    def faulty_ranges(self) -> list[tuple[Index, Index]]:
        """Return first and last index of each damaged place."""
        return [(index, index) for index in sorted(self._faulty)]

    def plan(self, writes: Sequence[Write], commit_hint: Index) -> StorePlan:
        """Plan ``writes`` in their order."""
        del commit_hint  # a log without units has nowhere to keep it
        plan = self._new_plan(writes[-1].write)
        for write in writes:
            match write:
                case WriteEntries(_, truncate_to, entries):
                    if truncate_to is not None:
                        assert entries, f"a truncation to {truncate_to} without what replaces it"
                        self._plan_truncate(plan, truncate_to)
                    self._plan_append(plan, entries)
                case SaveHardState(_, state):
                    self.hard_state = state
                    self.hard_sequence += 1
                    plan.steps.append(partial(self._disk.save, self.hard_sequence, state))
                case ResetLog(_, base, configuration):
                    self._plan_reset(plan, base, configuration)
        plan.end_after = self.end
        return plan

    def plan_mark(self) -> StorePlan | None:
        """Plan the errand that the real store has when it is idle."""
        if not self._mark_dirty:
            return None
        self._mark_dirty = False
        return self._new_plan()

    def plan_trim(self, through: Index) -> StorePlan:
        """Plan to drop every entry up to ``through``."""
        assert through <= self.durable_end.index, f"trim to {through} beyond the log"
        plan = self._new_plan()
        count = through - self._base.index
        if count > 0:
            self._disk.first_rows += _rows_of(self._entries[:count])
            self._base = self._entries[count - 1].end
            del self._entries[:count]
            self._faulty = {index for index in self._faulty if index > through}
            plan.steps.append(partial(self._disk.drop, through))
        return plan

    def plan_repair(self, entries: Sequence[Entry]) -> StorePlan | None:
        """Plan to put the same entry where one was damaged; None if it is another."""
        if not entries or entries[0].index not in self._faulty:
            return None
        lost = self._entries[entries[0].index - self.first_index]
        if lost.checksum != entries[0].checksum:
            return None
        plan = self._new_plan()
        plan.repaired = (lost.index, lost.index)
        return plan

    def plan_close(self) -> StorePlan:
        """Plan a clean stop."""
        return self._new_plan()

    def complete(self, plan: StorePlan) -> None:
        """Take in that ``plan`` was performed."""
        assert plan is self._busy, "a plan is completed once, after it was performed"
        self._busy = None
        if plan.end_after is not None:
            self.durable_end = plan.end_after
        if plan.repaired is not None:
            self._faulty.discard(Index(plan.repaired[0]))

    def mark_faulty(self, index: Index) -> None:
        """Behave as if the entry at ``index`` were damaged."""
        if index >= self.first_index:
            self._faulty.add(index)

    def locate(self, first: Index, last: Index, bytes_max: int) -> "MemorySpan":
        """Pin durable entries from ``first`` on, at least one.

        Raises:
            FaultyEntry: ``first`` is damaged here.
        """
        last = min(last, self.durable_end.index)
        assert self.first_index <= first <= last, f"entries {first} to {last} are not durable here"
        if first in self._faulty:
            raise FaultyEntry(first)
        taken: list[Entry] = []
        size = 0
        for entry in self._entries[first - self.first_index : last - self.first_index + 1]:
            size += entry.size
            if taken and (size > bytes_max or entry.index in self._faulty):
                break
            taken.append(entry)
        return MemorySpan(taken)

    def locate_bodies(
        self, places: Sequence[Place], bytes_max: int = READ_SPAN_BYTES_MAX
    ) -> "MemoryBodySpan":
        """Pin as many of ``places`` as fit in ``bytes_max``, at least the first.

        Raises:
            FaultyEntry: The first one's entry is damaged here.
        """
        if places[0].index in self._faulty:
            raise FaultyEntry(places[0].index)
        found: list[memoryview] = []
        size = 0
        for place in places:
            size += place.length
            if found and (size > bytes_max or place.index in self._faulty):
                break
            frame = memoryview(self._entries[place.index - self.first_index].frame)
            start = HEADER_BYTES + place.offset
            found.append(frame[start : start + place.length])
        return MemoryBodySpan(found)

    def _new_plan(self, last_write: WriteNumber = WRITE_ZERO) -> StorePlan:
        assert self._busy is None, "one plan at a time"
        self._busy = StorePlan(last_write)
        return self._busy

    def _plan_append(self, plan: StorePlan, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        check_link(self.end, entries[0])
        self._entries.extend(entries)
        self._mark_dirty = True
        self.unit_number += 1
        self.fdatasyncs += 1
        self.bytes_written += sum(entry.size for entry in entries)
        plan.steps.append(partial(self._disk.entries.extend, entries))

    def _plan_reset(self, plan: StorePlan, base: LogEnd, configuration: bytes) -> None:
        assert base.index > self._base.index, f"reset to {base.index}, before {self._base.index}"
        self._base = base
        self._entries = []
        self._faulty = set()
        self.truncations += 1
        self.unit_number += 1
        row = ConfigurationRow(base.index, base.checksum, configuration)
        plan.steps.append(partial(self._disk.reset, base, row))

    def _plan_truncate(self, plan: StorePlan, to: Index) -> None:
        assert self._base.index <= to <= self.end.index, f"truncation to {to}"
        del self._entries[to - self._base.index :]
        self._faulty = {index for index in self._faulty if index <= to}
        self.truncations += 1
        self.unit_number += 1
        if self.durable_end.index > to:
            self.durable_end = self.end
        plan.steps.append(partial(self._disk.cut, to))


def _rows_of(entries: Sequence[Entry]) -> list[ConfigurationRow]:
    return [
        ConfigurationRow(entry.index, entry.checksum, bytes(entry.body))
        for entry in entries
        if entry.kind is EntryKind.CONFIGURATION
    ]


class MemorySpan:
    """Entries that stay readable whatever happens to the log meanwhile."""

    def __init__(self, taken: list[Entry]) -> None:
        self._taken = taken

    def read(self, *, wait: bool) -> Buffer | None:
        """Return the frames; there is never anything to wait for."""
        del wait
        return b"".join(entry.frame for entry in self._taken)

    def entries(self, buffer: Buffer) -> tuple[Entry, ...]:
        """Return the verified entries of what was read."""
        return parse_entries(buffer)

    def close(self) -> None:
        """Let go. Idempotent."""


class MemoryBodySpan:
    """Bytes in the bodies of entries."""

    def __init__(self, found: list[memoryview]) -> None:
        self._found = found

    def read(self, *, wait: bool) -> list[memoryview] | None:
        """Return the bytes; there is never anything to wait for."""
        del wait
        return self._found

    def close(self) -> None:
        """Let go. Idempotent."""
