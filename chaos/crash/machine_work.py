"""A shard with a topic store: log, sealed index ranges and snapshots, written side by side.

The real classes do the writing. The reader thread that they hand their work to is
a list here, so that pieces of a snapshot, ranges and appends come in any order.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final, TypeVar

from chaos.crash.log_contract import SHARD, Log, LogPromise, read_log
from chaos.crash.log_work import form
from chaos.crash.machine_contract import INDEX, SNAPSHOT, MachinePromise, small_files
from chaos.crash.recording import Moment, Recording
from chaos.sim.disk import SimDisk
from raftlog.base.entry import EntryKind, seal
from raftlog.base.ids import Index, Term, WriteNumber
from raftlog.base.writes import WriteEntries
from raftlog.broker.appends import append_parts
from raftlog.broker.claims import ClaimQueue, CommitOffsets
from raftlog.broker.codec import write_command
from raftlog.broker.commands import Command, CommandType, envelope
from raftlog.broker.group_commands import (
    JoinGroup,
)
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.ranges import parse_range
from raftlog.broker.topics import CreateTopic, TopicChanges
from raftlog.service.sealed import SealedRanges
from raftlog.service.snapshot import Snapshots
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.offset_index import OffsetIndex
from raftlog.storage.snapshot_store import SnapshotStore
from raftlog.wire.batch import ANONYMOUS, Producer, encode_columns

T = TypeVar("T")
OPTIONS: Final = StoreOptions(segment_bytes=4096)
PRODUCER: Final = 1 << 16
TERM: Final = Term(1)


class _LaterReader:
    """The reader thread: its work waits until ``work`` is called."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(
        self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]
    ) -> None:
        """Keep the work."""
        self.waiting.append(lambda: done(work(), None))

    def work(self) -> None:
        """Do the oldest piece."""
        if self.waiting:
            self.waiting.pop(0)()


class _NoTime:
    """A scheduler in whose world nothing is ever due."""

    def now_ns(self) -> int:
        """Time stands still."""
        return 0

    def wall_ms(self) -> int:
        """Time stands still."""
        return 0

    def call_soon(self, call: Callable[[], None]) -> None:
        """Never."""

    def defer(self, call: Callable[[], None]) -> None:
        """Never."""

    def call_later(self, _delay_ns: int, _call: Callable[[], None]) -> "_NoTime":
        """Never."""
        return self

    def cancel(self) -> None:
        """There is nothing to forget."""


class MachineWorkload:
    """Appends commands, applies them, and stores what the machine seals and freezes."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.disk = SimDisk()
        form(self.disk, OPTIONS)
        files = self.disk.files()
        self.store = LogStore.open(files, SHARD, OPTIONS)
        self.machine = BrokerMachine()
        self.reader = _LaterReader()
        self.failures: list[Exception] = []
        self.ranges = SealedRanges(
            *(self.machine, OffsetIndex(files, INDEX, parse_range), self.reader, _NoTime()),
            durable=lambda: self.store.durable_end.index,
            fetch=lambda *_: None,
            on_failed=self.failures.append,
        )
        self.snapshots = Snapshots(
            *(self.machine, SnapshotStore(files, SNAPSHOT), self.reader, _NoTime()),
            is_durable=self.ranges.are_stored,
            fetch=lambda *_: None,
            on_failed=self.failures.append,
        )
        self.ranges.on_stored = self._stored
        self.log: Log = tuple(entry for entry in read_log(self.store) if entry is not None)
        self.digests: dict[Index, str] = {}
        for entry in self.log:
            self.machine.apply(entry)
        self.digests[self.machine.applied] = self.machine.digest()
        self.recording = Recording(self.disk, MachinePromise(self._log_promise(), self.digests))
        self._write = 0
        self._sequence = 0
        self._append([write_command(CreateTopic("orders", TopicChanges(queues=2)))])
        self._append([write_command(JoinGroup("billing", "m1", ("orders",), 10_000))])

    def run(self, steps: int) -> list[Moment]:
        """Work, and return every moment on the way."""
        for _ in range(steps):
            if self.random.random() < 0.45:
                self.recording.what = "reader"
                self.reader.work()
            else:
                self.recording.what = "append"
                self._append(self._commands())
            self._note()
        assert not self.failures, f"{self.failures}"
        return self.recording.moments

    def _commands(self) -> list[Command]:
        made: list[Command] = []
        for _ in range(self.random.randint(1, 3)):
            draw = self.random.random()
            values = [bytes(self.random.choice((1, 30, 200))) for _ in range(3)]
            if draw < 0.4:
                made.append(_append_to(self.random.randint(1, 2), values, ANONYMOUS))
            elif draw < 0.8:
                producer = Producer(PRODUCER, 0, self._sequence, 0)
                self._sequence += len(values)
                made.append(_append_to(1, values, producer))
            elif draw < 0.9:
                made.append(write_command(ClaimQueue("billing", 1, 1, "m1")))
            else:
                made.append(write_command(CommitOffsets("billing", "m1", 1, ((1, 0),))))
        return made

    def _append(self, commands: list[Command]) -> None:
        end = self.store.end
        body = envelope(1_000 + len(self.log), commands)
        entry = seal(EntryKind.COMMANDS, TERM, Index(end.index + 1), end.checksum, body)
        # Apply may be ahead of this disk (ruling 14), and recovery finds what was only written.
        self.machine.apply(entry)
        self.digests[entry.index] = self.machine.digest()
        before = self.recording.promise
        log = replace(before.log, possible=((*self.log, entry),))
        self.recording.promise = replace(before, log=log)
        self._write += 1
        write = WriteEntries(WriteNumber(self._write), None, (entry,))
        plan = self.store.plan([write], Index(len(self.log)))
        plan.perform()
        self.store.complete(plan)
        self.log += (entry,)
        self.recording.promise = replace(before, log=self._log_promise())
        self._progress()

    def _log_promise(self) -> LogPromise:
        return LogPromise(OPTIONS, self.log, len(self.log), (self.store.hard_state,))

    def _progress(self) -> None:
        self.ranges.progress()
        self.snapshots.progress()

    def _stored(self) -> None:
        promise = self.recording.promise
        self.recording.promise = replace(promise, ranges=promise.ranges + 1)
        self.snapshots.progress()

    def _note(self) -> None:
        """A snapshot that was finished is promised."""
        promise = self.recording.promise
        if self.snapshots.written:
            written = SnapshotStore(self.disk.files(), SNAPSHOT).indexes()[0]
            if written != promise.snapshot:
                self.recording.promise = replace(promise, snapshot=written)


def _append_to(queue: int, values: list[bytes], producer: Producer) -> Command:
    batch = encode_columns(values, timestamp_ms=5, producer=producer)
    return Command(CommandType.APPEND_BATCH, append_parts(queue, batch))


def machine_work(seed: int, steps: int) -> list[Moment]:
    """Run the workload; its steps are small, a snapshot takes about ten."""
    with small_files():
        return MachineWorkload(seed).run(4 * steps)
