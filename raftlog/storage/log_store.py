"""The log of one shard on disk (storage.md, rulings 1, 2, 4, 14, 17, 20, 24).

What it promises: a performed plan survives kill -9 and power loss; after a crash
the log is a prefix of what was written, with everything that was reported
durable; a record that fails its checksum is never handed out; opening again is
idempotent and bounded, and deletes nothing that it cannot classify; an error of
a write is final.

Blocking work is planned and completed on the event loop, and performed by the writer
thread: ``plan``, ``StorePlan.perform``, ``complete``. One is under way at a time.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from raftlog.base.entry import Buffer, Entry, LogEnd, check_link
from raftlog.base.errors import FaultyEntry, StorageFailed
from raftlog.base.ids import WRITE_ZERO, Index, Term, WriteNumber
from raftlog.base.limits import READ_SPAN_BYTES_MAX, SEGMENT_BYTES, WRITE_UNIT_BYTES_MAX
from raftlog.base.writes import HardState, ResetLog, SaveHardState, Write, WriteEntries
from raftlog.storage.configurations import ConfigurationRow, Configurations
from raftlog.storage.durable_mark import SLOTS, claim_done
from raftlog.storage.files import Files
from raftlog.storage.hard_state import HardStateFile
from raftlog.storage.holes import filling, hole_of, place, steps_of_blanking, steps_of_repair
from raftlog.storage.loaded import LoadedSegments
from raftlog.storage.performer import LaterFile, LogPerformer, fail_read
from raftlog.storage.plan import StorePlan
from raftlog.storage.recovery import Recovered, recover
from raftlog.storage.segment import (
    SEGMENT_HEADER_BYTES,
    Hole,
    Segment,
    encode_header,
    encode_index,
    joined_runs,
    keep_whole,
)
from raftlog.storage.span import BodySpan, Place, ReadSpan, good_from, load_places
from raftlog.storage.survey import Survey, learn_terms, runs_of, split
from raftlog.storage.unit import UNIT_BYTES, Unit, encode_unit

HARD_STATE: Final = "hard.state"
DURABLE_MARK: Final = "durable.mark"
LOG: Final = "log"


class StoreOptions(msgspec.Struct, frozen=True):
    """``durable=False`` is os-cache: nothing is synced, a power cut takes it back (ruling 26)."""

    segment_bytes: int = SEGMENT_BYTES
    durable: bool = True


class LogStore:
    """One shard's log, hard state and durable mark."""

    def __init__(
        self,
        files: Files,
        directory: str,
        options: StoreOptions,
        hard_state: HardStateFile,
        recovered: Recovered,
    ) -> None:
        self.directory = directory
        self.options = options
        self.commit_hint = recovered.commit_hint
        self.unit_number = recovered.unit_number
        self.truncations = 0
        """Truncations planned since the start: a read that spans one is void."""
        self.files = files
        self._segments = recovered.segments
        self._log_directory = f"{directory}/{LOG}"
        self._do = LogPerformer(
            *(files, self._log_directory, recovered.mark, hard_state),
            segment_bytes=options.segment_bytes,
            durable=options.durable,
        )
        self._loaded = LoadedSegments()
        self._planned: HardState = hard_state.state
        self._sequence = hard_state.sequence
        self._busy: StorePlan | None = None
        self._closed = False
        self._promised = recovered.mark.promised
        """The newest unit, or truncation, that is a promise: no cut of what nobody was told of."""
        self.durable_promises = (self._sequence, self._promised)
        """Hard-state sequence and write unit that are on disk: what a hello may boast of."""
        self.end: LogEnd = self._segments[-1].end
        """Where the log ends once everything planned is done."""
        self.durable_end: LogEnd = self.end
        self._members = Configurations(files, directory)

    @classmethod
    def open(cls, files: Files, directory: str, options: StoreOptions) -> "LogStore":
        """Recover the log. Blocks; bounded by the size of one segment.

        Raises:
            DamagedLog: The hard state is lost, a segment is missing in the middle, or one of
                them has lost what another one knows of.
            StorageFailed: Recovery could not write.
        """
        # After kill -9 a segment's name may be in the page cache only.
        files.sync_directory(f"{directory}/{LOG}")
        files.sync_directory(directory)
        hard_state = HardStateFile.open(files, f"{directory}/{HARD_STATE}")
        recovered = recover(files, f"{directory}/{LOG}", f"{directory}/{DURABLE_MARK}")
        store = cls(files, directory, options, hard_state, recovered)
        if recovered.cut_to is not None:
            plan = store._new_plan()
            store._plan_truncate(plan, recovered.cut_to, is_promise=False)
            plan.perform()
            store.complete(plan)
        store._members.load(store._has)
        keep_whole(store._segments[-1], options.segment_bytes)
        return store

    # -- what is known

    @property
    def configurations(self) -> Sequence[ConfigurationRow]:
        """The newest committed configuration entry and all later ones, as planned."""
        return self._members.rows

    @property
    def fdatasyncs(self) -> int:
        """How many syncs of files were made."""
        return self._do.fdatasyncs

    @property
    def bytes_written(self) -> int:
        """How many bytes were written."""
        return self._do.bytes_written

    @property
    def mark_dirty(self) -> bool:
        """Whether the newest claim of the mark file is not durable itself yet."""
        return self._do.mark_dirty

    @property
    def hard_state(self) -> HardState:
        """The durable term and vote, or what is planned to be."""
        return self._planned

    @property
    def hard_sequence(self) -> int:
        """How often the hard state was written."""
        return self._sequence

    @property
    def start(self) -> LogEnd:
        """The entry before the first retained one."""
        return self._segments[0].base

    @property
    def first_index(self) -> Index:
        """The first retained index."""
        return self._segments[0].first_index

    @property
    def term_runs(self) -> list[tuple[Index, Term]]:
        """First index and term of every run of equal terms in the log."""
        return joined_runs(self._segments)

    @property
    def faulty_count(self) -> int:
        """How many entries are damaged."""
        return sum([hole.last - hole.first + 1 for s in self._segments for hole in s.holes])

    def faulty_ranges(self) -> list[tuple[Index, Index]]:
        """Return first and last index of each damaged place."""
        return [(hole.first, hole.last) for hole in self.holes()]

    def hole(self, first: Index) -> Hole | None:
        """Return the damaged place that begins with ``first``."""
        hole = self._segment_of(first).hole_at(first)
        return hole if hole is not None and hole.first == first else None

    @property
    def terms_in_doubt(self) -> bool:
        """Whether damage hides where a term began: the log's terms are not known yet."""
        return not all(hole.terms_known for hole in self.holes())

    def holes(self) -> list[Hole]:
        """Return the damaged places in their order."""
        return [hole for segment in self._segments for hole in segment.holes]

    # -- writing

    def plan(self, writes: Sequence[Write], commit_hint: Index) -> StorePlan:
        """Plan ``writes`` in their order. Consecutive appends share a write unit."""
        plan = self._new_plan(writes[-1].write)
        waiting: list[Entry] = []
        for write in writes:
            match write:
                case WriteEntries(_, truncate_to, entries):
                    if truncate_to is not None:
                        self._plan_append(plan, waiting, commit_hint)
                        waiting = []
                        plan.steps.extend(self._members.before_truncation(truncate_to))
                        try:
                            self._plan_truncate(plan, self._end_at(truncate_to, entries))
                        except (OSError, StorageFailed) as error:
                            # Where to cut cannot be read, and a truncation cannot be skipped.
                            plan.steps = [partial(fail_read, self._log_directory, error)]
                            return plan
                    named = self._members.before_append(truncate_to, entries, commit_hint)
                    plan.steps.extend(named)
                    waiting.extend(entries)
                case SaveHardState(_, state):
                    self._plan_append(plan, waiting, commit_hint)
                    waiting = []
                    self._planned = state
                    self._sequence += 1
                    plan.steps.append(partial(self._do.write_hard_state, self._sequence, state))
                case ResetLog(_, base, configuration):
                    waiting = []  # they would be forgotten at once
                    self._plan_reset(plan, base, configuration)
        self._plan_append(plan, waiting, commit_hint)
        plan.steps.extend(self._members.after_append())
        plan.end_after = self.end
        return plan

    def plan_mark(self) -> StorePlan | None:
        """Plan to make the newest durable mark durable itself; None if it is."""
        if not self._do.mark_dirty:
            return None
        plan = self._new_plan()
        plan.steps = [self._do.sync_mark]
        return plan

    def plan_trim(self, through: Index) -> StorePlan:
        """Plan to drop every whole segment that ends at or below ``through``, oldest first."""
        assert through <= self.durable_end.index, f"trim to {through} beyond the log"
        plan = self._new_plan()
        while len(self._segments) > 1 and self._segments[0].end.index <= through:
            segment = self._segments.pop(0)
            segment.drop()
            plan.steps.append(partial(self._do.remove, segment))
            # One by one: a name that comes back after a crash must be the newest of them.
            plan.steps.append(partial(self.files.sync_directory, self._log_directory))
        return plan

    def plan_repair(self, entries: Sequence[Entry]) -> StorePlan | None:
        """Plan to put ``entries`` where equal ones were damaged (ruling 20).

        None if they are not what was lost, or not all of it: the store decides
        by the chain, whoever sent them.
        """
        hole = self.hole(entries[0].index) if entries else None
        if hole is None:
            return None
        segment = self._segment_of(hole.first)
        entries = entries[: hole.last - hole.first + 1]
        filled = filling(self.files, segment, hole, entries)
        if filled is None:
            return None
        hole, entries, frames = filled
        plan = self._new_plan()
        plan.repaired = (hole.first, hole.last)
        plan.steps = steps_of_repair(self._do, segment, hole, frames, self.options.segment_bytes)
        place(segment, hole, frames)
        if not hole.terms_known:
            learn_terms(segment, hole, runs_of(entries))
        return plan

    def plan_split(self, survey: Survey) -> StorePlan | None:
        """Plan to make what was surveyed into pieces; None if it is another damage by now."""
        hole = survey.hole
        segment = self._segment_of(hole.first)
        if segment.hole_at(hole.first) != hole or not split(segment, survey):
            return None
        plan = self._new_plan()
        plan.steps = steps_of_blanking(self._do, segment, hole, self.options.segment_bytes)
        return plan

    def plan_close(self) -> StorePlan:
        """Plan a clean stop: the mark is synced, then every file is closed."""
        plan = self._new_plan()
        plan.steps.extend((self._do.sync_mark, partial(self._do.close_files, self._segments)))
        self._closed = True
        return plan

    def complete(self, plan: StorePlan) -> None:
        """Take in that ``plan`` was performed."""
        assert plan is self._busy, "a plan is completed once, after it was performed"
        self._busy = None
        plan.end()
        self.durable_promises = (self._sequence, self._promised)
        if plan.end_after is not None:
            self.durable_end = plan.end_after
        if plan.repaired is not None:
            first, _ = plan.repaired
            segment = self._segment_of(Index(first))
            segment.holes = [hole for hole in segment.holes if hole.first != first]

    def mark_faulty(self, index: Index) -> None:
        """Note that the entry at ``index`` turned out bad when it was read."""
        if index < self.first_index:
            return  # trimmed since it was read
        segment = self._segment_of(index)
        if segment.hole_at(index) is not None:
            return
        places = load_places(self.files, segment)
        if segment.hole_at(index) is not None:  # a scan for the places has met it
            return
        segment.holes.append(hole_of(segment, places, index))
        segment.holes.sort(key=lambda hole: hole.first)

    # -- reading

    def locate(self, first: Index, last: Index, bytes_max: int) -> ReadSpan:
        """Pin the place of durable entries from ``first`` on: one segment, at least one entry.

        Raises:
            FaultyEntry: ``first`` is damaged here.
        """
        last = min(last, self.durable_end.index)
        assert self.first_index <= first <= last, (
            f"entries {first} to {last} of a log {self.first_index} to {self.durable_end.index}"
        )
        segment = self._segment_of(first)
        if segment.hole_at(first) is not None:
            raise FaultyEntry(first)
        self._loaded.note_use(segment, self.durable_end.index)
        return ReadSpan(self.files, segment, first, min(last, segment.end.index), bytes_max)

    def locate_bodies(
        self, places: Sequence[Place], bytes_max: int = READ_SPAN_BYTES_MAX
    ) -> BodySpan:
        """Pin as many of ``places`` as lie near one another in one segment, at least the first.

        Raises:
            FaultyEntry: The first one's entry is damaged here.
        """
        assert places, "no places"
        assert places[-1].index <= self.durable_end.index, "bodies that are not durable yet"
        segment = self._segment_of(places[0].index)
        if segment.hole_at(places[0].index) is not None:
            raise FaultyEntry(places[0].index)
        self._loaded.note_use(segment, self.durable_end.index)
        return BodySpan(self.files, segment, good_from(segment, places), bytes_max)

    # -- planning, inside

    def _new_plan(self, last_write: WriteNumber = WRITE_ZERO) -> StorePlan:
        assert self._busy is None, "one plan at a time"
        assert not self._closed, "the store is closed"
        self._busy = StorePlan(last_write)
        return self._busy

    def _has(self, row: ConfigurationRow) -> bool:
        """Whether the log has this very entry; what is damaged there counts as it."""
        if not self.start.index < row.index <= self.end.index:
            return row.index <= self.start.index
        segment = self._segment_of(row.index)
        checksums = load_places(self.files, segment).checksums  # it may meet damage
        hole = segment.hole_at(row.index)
        if hole is not None and row.index < hole.last:
            return True  # its chain value is lost with it; the file is replaced when it is cut
        return checksums[row.index - segment.first_index] == row.checksum

    def _plan_append(self, plan: StorePlan, entries: list[Entry], commit: Index) -> None:
        if not entries:
            return
        check_link(self.end, entries[0])
        first = 0
        while first < len(entries):
            segment, room = self._room(plan, len(entries[first].frame))
            stop = first
            length = 0
            while stop < len(entries):
                size = len(entries[stop].frame)
                if stop > first and length + size > room:
                    break
                length += size
                stop += 1
            unit = entries if stop - first == len(entries) else entries[first:stop]
            self._plan_unit(plan, segment, unit, length, commit)
            first = stop

    def _room(self, plan: StorePlan, needed: int) -> tuple[Segment, int]:
        """Return the segment for the next unit and how many bytes of entries it may take."""
        segment = self._segments[-1]
        room = self.options.segment_bytes - segment.end_position - UNIT_BYTES
        # Nothing can follow damage whose length is not known: its place is kept for the repair.
        closed = segment.sealed or (segment.holes and not all(h.length for h in segment.holes))
        if closed or (room < needed and segment.end_position > SEGMENT_HEADER_BYTES):
            segment = self._plan_roll(plan, segment, needed)
            room = self.options.segment_bytes - segment.end_position - UNIT_BYTES
        return segment, min(room, WRITE_UNIT_BYTES_MAX)

    def _plan_unit(
        self,
        plan: StorePlan,
        segment: Segment,
        entries: Sequence[Entry],
        length: int,
        commit: Index,
    ) -> None:
        self.unit_number += 1
        self._promised = self.unit_number
        start = segment.end_position
        unit = Unit(self.unit_number, length, self.end, commit)
        buffers: list[Buffer] = [encode_unit(unit, segment.salt, start)]
        position = start + UNIT_BYTES
        places, unit_starts = segment.places, segment.unit_starts
        assert places is not None, "appending to a segment without places"
        assert unit_starts is not None, "appending to a segment that was opened sealed"
        unit_starts.append(start)
        positions, checksums = places.positions, places.checksums
        term = segment.end.term if segment.term_runs else None
        for entry in entries:
            if entry.term != term:
                term = entry.term
                segment.term_runs.append((entry.index, term))
            positions.append(position)
            checksums.append(entry.checksum)
            buffers.append(entry.frame)
            position += len(entry.frame)
        segment.end_position = position
        segment.end = self.end = entries[-1].end
        claim = claim_done(self.unit_number, self.end)
        plan.steps.append(partial(self._do.write_unit, segment.file, buffers, start, claim))

    def _plan_roll(self, plan: StorePlan, full: Segment, needed: int) -> Segment:
        """Seal the last segment and begin the next one, durably, before anything lies in it."""
        if not full.sealed and not full.holes and full.end.index > full.base.index:
            plan.steps.append(
                partial(self._do.write_index, full.index_path, encode_index(full, self._promised))
            )
            full.sealed = full.index_fits = True
            self._loaded.note_use(full, self.durable_end.index)
        size = max(self.options.segment_bytes, SEGMENT_HEADER_BYTES + UNIT_BYTES + needed)
        return self._begin_segment(plan, full.end, size)

    def _begin_segment(self, plan: StorePlan, base: LogEnd, size: int) -> Segment:
        file = LaterFile()
        segment = Segment(file, self._log_directory, base)
        header = encode_header(base, self._promised)
        plan.steps.append(partial(self._do.make_segment, file, segment.path, header, size))
        self._segments.append(segment)
        return segment

    def _plan_truncate(self, plan: StorePlan, to: LogEnd, *, is_promise: bool = True) -> None:
        assert self.start.index <= to.index <= self.end.index, f"truncation to {to.index}"
        self._plan_claim(plan, to, is_promise=is_promise)
        while len(self._segments) > 1 and self._segments[-1].base.index >= to.index:
            segment = self._segments.pop()
            plan.drop(segment)
            plan.steps.append(partial(self._do.remove, segment))
        last = self._segments[-1]
        position = last.forget_after(load_places(self.files, last), to)
        was_sealed, last.sealed = last.sealed, False
        plan.steps.append(partial(self._do.cut, last, position, was_sealed=was_sealed))
        self.end = to
        if self.durable_end.index > to.index:
            self.durable_end = to

    def _plan_claim(
        self, plan: StorePlan, to: LogEnd, *, reset: bool = False, is_promise: bool = True
    ) -> None:
        self.truncations += 1
        self.unit_number += 1
        if is_promise:
            self._promised = self.unit_number
        claim = claim_done(self.unit_number, to, truncation=True, reset=reset)
        # In both slots: no unit's head says it, and what was cut must not be missed if one rots.
        write = partial(self._do.write_mark, claim, is_promise=is_promise)
        plan.steps.extend((write, self._do.sync_mark) * SLOTS)

    def _plan_reset(self, plan: StorePlan, base: LogEnd, configuration: bytes) -> None:
        """Claim the new beginning, remove everything, then make the first segment behind it."""
        assert base.index > self.start.index, f"reset to {base.index}, before {self.start.index}"
        row = ConfigurationRow(base.index, base.checksum, configuration)
        plan.steps.extend(self._members.before_reset(row))
        self._plan_claim(plan, base, reset=True)
        for segment in self._segments:
            plan.drop(segment)
            plan.steps.append(partial(self._do.remove, segment))
        plan.steps.append(partial(self.files.sync_directory, self._log_directory))
        self._segments, self._loaded = [], LoadedSegments()
        self.end = base
        self._begin_segment(plan, base, self.options.segment_bytes)

    def _end_at(self, index: Index, entries: Sequence[Entry]) -> LogEnd:
        """Return the log's end at ``index``; what follows it names its checksum."""
        assert entries, f"a truncation to {index} without what replaces it"
        term = self._segment_of(index).term_of(index) if index > self.start.index else None
        if term is None:
            return self.start
        return LogEnd(index, term, entries[0].previous)

    def _segment_of(self, index: Index) -> Segment:
        at = bisect_right(self._segments, index, key=lambda segment: segment.first_index) - 1
        return self._segments[max(at, 0)]
