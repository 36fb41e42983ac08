"""A shard in memory for the use-cases: time, a reader thread and a replica that obey the test."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from raftlog.base.entry import CHAIN_ORIGIN, Buffer, Entry, EntryKind, seal
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term
from raftlog.base.membership import Membership
from raftlog.base.space import DiskLevel
from raftlog.broker.commands import FEATURE_LEVEL, Command, envelope
from raftlog.broker.machine import BrokerMachine
from raftlog.service.footprint import Footprint
from raftlog.service.ports import OnEntries, OnOutcome, OnReady, ShardReplica
from raftlog.service.topics import TopicService

T = TypeVar("T")
TERM = Term(3)


class FakeTimer:
    """A call at a time; see ``FakeScheduler.advance``."""

    def __init__(self, at_ns: int, call: Callable[[], None]) -> None:
        self.at_ns = at_ns
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        """Forget the call."""
        self.cancelled = True


class FakeScheduler:
    """Virtual time: nothing happens before the test says so."""

    def __init__(self) -> None:
        self.time_ns = 1_000
        self.timers: list[FakeTimer] = []
        self.soon: list[Callable[[], None]] = []

    def now_ns(self) -> int:
        """Virtual nanoseconds."""
        return self.time_ns

    def wall_ms(self) -> int:
        """Virtual milliseconds."""
        return self.time_ns // 1_000_000

    def call_soon(self, call: Callable[[], None]) -> None:
        """Keep the call for ``turn``."""
        self.soon.append(call)

    def defer(self, call: Callable[[], None]) -> None:
        """Keep the call for ``turn``."""
        self.call_soon(call)

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> FakeTimer:
        """Keep the call for ``advance``."""
        timer = FakeTimer(self.time_ns + delay_ns, call)
        self.timers.append(timer)
        return timer

    @property
    def armed(self) -> int:
        """Timers that would still fire."""
        return sum(not timer.cancelled for timer in self.timers)

    def advance(self, delay_ns: int) -> None:
        """Let time pass and make the calls that are due."""
        self.time_ns += delay_ns
        due = [timer for timer in self.timers if timer.at_ns <= self.time_ns]
        self.timers = [timer for timer in self.timers if timer.at_ns > self.time_ns]
        for timer in due:
            if not timer.cancelled:
                timer.call()


class FakeReader:
    """A reader thread that works when the test lets it."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(
        self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]
    ) -> None:
        """Keep the work for ``run``."""

        def run() -> None:
            try:
                found = work()
            except Exception as error:  # noqa: BLE001  (as the real one does)
                done(None, error)
            else:
                done(found, None)

        self.waiting.append(run)

    def run(self) -> int:
        """Do everything that waits; return how much that was."""
        count = 0
        while self.waiting:
            self.waiting.pop(0)()
            count += 1
        return count


class FakeReplica:
    """Applies what is proposed when the test says ``commit``; forgets what it is told to."""

    def __init__(self) -> None:
        self.machine = BrokerMachine()
        self.entries: list[Entry] = []
        self.memory_from = 1
        self.marked_faulty: list[Index] = []
        self.refusal: RaftlogError | None = None
        self.id = ReplicaId(NodeId("n1"), DirectoryId("d1"))
        self.membership = Membership((self.id,))
        self.level_min = FEATURE_LEVEL
        self.is_settled = True
        self.leads = True
        self.disk_level = DiskLevel.ROOM
        self.leader: NodeId | None = NodeId("n1")
        self.log_time_ms = 0
        self.reads: list[OnReady] = []
        self._proposed: list[tuple[Command, OnOutcome]] = []
        self._listeners: list[Callable[[Index], None]] = []
        self.repair_listeners: list[Callable[[], None]] = []

    def propose(
        self, command_type: int, parts: Sequence[Buffer], on_outcome: OnOutcome, /
    ) -> None:
        """Keep the command for ``commit``, or refuse it."""
        if self.refusal is not None:
            on_outcome(self.refusal, Term(0), Index(0))
        else:
            self._proposed.append((Command(command_type, parts), on_outcome))

    def raise_level(self, level: int, /) -> None:
        """Stamp no lower one from now on."""
        self.level_min = level

    def commit(self) -> None:
        """Make one entry of everything proposed, apply it, tell everybody."""
        proposed, self._proposed = self._proposed, []
        previous = self.entries[-1].checksum if self.entries else CHAIN_ORIGIN
        index = Index(len(self.entries) + 1)
        self.log_time_ms = max(self.log_time_ms, index)
        level = max(self.machine.feature_level, self.level_min)
        body = envelope(self.log_time_ms, [command for command, _ in proposed], level)
        entry = seal(EntryKind.COMMANDS, TERM, index, previous, body)
        self.entries.append(entry)
        outcomes = self.machine.apply(entry)
        for (_, on_outcome), outcome in zip(proposed, outcomes, strict=True):
            on_outcome(outcome, TERM, index)
        for listener in self._listeners:
            listener(index)

    @property
    def proposed(self) -> int:
        """Commands that wait for ``commit``."""
        return len(self._proposed)

    def fail_proposals(self, error: RaftlogError) -> None:
        """Tell every waiting proposer ``error``."""
        proposed, self._proposed = self._proposed, []
        for _, on_outcome in proposed:
            on_outcome(error, TERM, Index(len(self.entries) + 1))

    def read_index(self, on_ready: OnReady, /) -> None:
        """Keep the read; the test calls it, or ``confirm``."""
        self.reads.append(on_ready)

    def confirm(self, error: RaftlogError | None = None) -> None:
        """Let the linearizable reads that wait look, or tell them why not."""
        reads, self.reads = self.reads, []
        for ready in reads:
            ready(error)

    def tail(self, index: Index, /) -> Entry | None:
        """Return what is still in memory."""
        return self.entries[index - 1] if index >= self.memory_from else None

    def faulty(self, index: Index, /) -> None:
        """Note the entry."""
        self.marked_faulty.append(index)

    def on_repaired(self, listener: Callable[[], None], /) -> None:
        """See the port."""
        self.repair_listeners.append(listener)

    def on_applied(self, listener: Callable[[Index], None], /) -> None:
        """Tell ``listener`` about every commit."""
        self._listeners.append(listener)


class FakeEntries:
    """The files of a replica's log, without what was trimmed."""

    def __init__(self, replica: FakeReplica | None = None) -> None:
        self.replica = replica or FakeReplica()
        self.trimmed = 0
        self.error: Exception | None = None

    def read(self, first: Index, _last: Index, done: OnEntries, /) -> None:
        """Return the entry, if it is there."""
        found = [] if first <= self.trimmed else [self.replica.entries[first - 1]]
        done([] if self.error else found, self.error)


def topic_service(replica: ShardReplica, machine: BrokerMachine) -> TopicService:
    """Return the use-cases of topics."""
    return TopicService(replica, machine, Footprint(machine, FakeScheduler()))
