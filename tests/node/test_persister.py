"""Group commit: what waits becomes one plan, reports come in order, nothing is left waiting."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from chaos.sim.disk import SimDisk
from raftlog.base.entry import Entry, EntryKind, LogEnd, seal
from raftlog.base.errors import CorruptFrame, NoRoom
from raftlog.base.ids import Index, NodeId, Term, WriteNumber
from raftlog.base.limits import MARK_IDLE_NS, NO_ROOM_RETRY_NS
from raftlog.base.writes import ResetLog, WriteEntries
from raftlog.node.persister import Persister
from raftlog.node.ports import Plan
from raftlog.storage.directory import form_cluster
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.plan import StorePlan

OPTIONS = StoreOptions(segment_bytes=64 * 1024)


@dataclass
class FakeWorld:
    """Scheduler and writer under the test's control."""

    now: int = 0
    soon: list[Callable[[], None]] = field(default_factory=list)
    later: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    writing: list[tuple[Plan, Callable[[Exception | None], None]]] = field(default_factory=list)

    def now_ns(self) -> int:
        return self.now

    def wall_ms(self) -> int:
        return 0

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def defer(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> "FakeWorld":
        self.later.append((self.now + delay_ns, call))
        return self

    def cancel(self) -> None:
        """Timers are not cancelled here."""

    def submit(self, plan: Plan, done: Callable[[Exception | None], None]) -> None:
        self.writing.append((plan, done))

    def turn(self) -> None:
        calls, self.soon = self.soon, []
        for call in calls:
            call()

    def write(self) -> None:
        """Let the writer finish its plan."""
        plan, done = self.writing.pop(0)
        plan.perform()
        done(None)

    def pass_time(self, ns: int) -> None:
        self.now += ns
        due, self.later = self.later, []
        for at, call in due:
            if at <= self.now:
                call()
            else:
                self.later.append((at, call))


class Rig:
    """A persister over a simulated disk."""

    def __init__(self) -> None:
        disk = SimDisk()
        names = iter(f"{number:032x}" for number in range(4))
        files = disk.files()
        form_cluster({NodeId("n1"): "d"}, options=OPTIONS, files=files, draw=lambda: next(names))
        self.disk = disk
        self.store = LogStore.open(files, "d/shards/0", OPTIONS)
        self.world = FakeWorld()
        self.durable: list[WriteNumber] = []
        self.done = 0
        self.failed: list[Exception] = []
        self.no_room = 0
        self.persister = Persister(
            *(self.store, self.world, self.world),
            commit_hint=lambda: Index(1),
            on_durable=self.durable.append,
            on_done=self._count,
            on_failed=self.failed.append,
            on_no_room=self._lacks_room,
        )
        self.end = self.store.end
        self._write = 0

    def _count(self) -> None:
        self.done += 1

    def _lacks_room(self) -> None:
        self.no_room += 1

    def append(self) -> Entry:
        """Ask for one more entry."""
        kind, index = EntryKind.COMMANDS, Index(self.end.index + 1)
        entry = seal(kind, Term(1), index, self.end.checksum, [Random(index).randbytes(50)])
        self.end = entry.end
        self._write += 1
        self.persister.add([WriteEntries(WriteNumber(self._write), None, (entry,))])
        return entry


def test_what_arrives_while_the_disk_works_is_the_next_plan() -> None:
    """Five appends, two fdatasyncs of the log."""
    rig = Rig()
    rig.append()
    rig.world.turn()
    for _ in range(4):
        rig.append()
    rig.world.turn()

    assert len(rig.world.writing) == 1
    before = rig.store.fdatasyncs
    rig.world.write()
    rig.world.write()

    assert rig.durable == [1, 5]
    assert rig.store.fdatasyncs - before == 2
    assert rig.store.durable_end == rig.end


def test_after_every_plan_somebody_may_go_on() -> None:
    """Commands that gathered while only the mark was synced must not wait for ever.

    Found by a benchmark that stood still: sends after 20 ms of quiet met the
    sync of the mark, which reports no write.
    """
    rig = Rig()
    rig.append()
    rig.world.turn()
    rig.world.write()
    told = rig.done
    rig.world.pass_time(MARK_IDLE_NS)

    assert rig.persister.under_way is not None
    rig.world.write()

    assert rig.durable == [1]
    assert rig.done == told + 1
    assert rig.persister.idle


def test_a_failed_plan_is_the_last_one() -> None:
    """The store is in an unknown state; a failed fsync is never retried (R2)."""
    rig = Rig()
    rig.append()
    rig.world.turn()
    _, done = rig.world.writing.pop(0)
    failure = OSError("no luck")

    done(failure)
    rig.append()
    rig.world.turn()
    rig.world.pass_time(MARK_IDLE_NS)

    assert rig.failed == [failure]
    assert rig.durable == []
    assert not rig.world.writing


def test_what_finds_no_room_is_tried_again_before_anything_else() -> None:
    """Nothing is reported, nothing overtakes it, and the replica lives on."""
    rig = Rig()
    rig.append()
    rig.world.turn()
    plan, done = rig.world.writing.pop(0)
    done(NoRoom("fallocate", "d", None, OSError(errno.ENOSPC, "no room")))
    rig.append()
    rig.world.turn()

    assert (rig.no_room, rig.failed, rig.durable) == (1, [], [])
    assert not rig.world.writing
    assert rig.persister.since_ns == 0
    rig.world.pass_time(NO_ROOM_RETRY_NS)
    assert [again for again, _ in rig.world.writing] == [plan]
    rig.world.write()
    rig.world.write()

    assert rig.durable == [1, 2]
    assert rig.persister.since_ns is None


def test_a_replica_that_is_closed_waits_for_no_room() -> None:
    """A node on a full disk can be stopped."""
    rig = Rig()
    rig.append()
    rig.world.turn()
    _, done = rig.world.writing.pop(0)
    done(NoRoom("fallocate", "d", None, OSError(errno.ENOSPC, "no room")))
    rig.persister.closed = True
    rig.world.pass_time(NO_ROOM_RETRY_NS)

    assert rig.persister.under_way is None
    assert not rig.world.writing
    assert isinstance(rig.persister.error, NoRoom), "the log is not whole: nobody may close it"


def test_a_write_that_ends_after_the_stop_leaves_a_log_that_can_be_closed() -> None:
    """Found by the simulator's orderly stops: a disk slower than the patience of a stop.

    The store stayed busy with what was on disk already, closing it was an assertion, and
    the node ended with a traceback instead of a synced durable mark.
    """
    rig = Rig()
    rig.append()
    rig.world.turn()
    rig.persister.closed = True
    rig.world.write()

    assert (rig.persister.under_way, rig.persister.error, rig.durable) == (None, None, [])
    rig.store.complete(rig.store.plan_close())


def test_a_plan_that_cannot_be_made_is_the_last_one() -> None:
    """Half planned is an unknown state too. Found by reading: the replica went on as if alive.

    The assertion was left to the event loop, the store stayed busy for ever, and a
    leader kept its heartbeats up without ever writing again.
    """
    rig = Rig()
    rig.end = LogEnd(Index(7), Term(1), 0)
    rig.append()
    rig.world.turn()
    rig.append()
    rig.world.turn()

    assert [type(error) for error in rig.failed] == [CorruptFrame]
    assert not rig.world.writing
    assert rig.durable == []


def test_other_work_has_its_turn_on_a_disk_that_is_never_idle() -> None:
    """Found by reading: a trim, or a repair, waited for as long as there was something to write.

    On a follower with the slowest disk that is for as long as producers send: its disk filled up.
    """
    rig = Rig()
    turns: list[int] = []

    def errand() -> StorePlan:
        turns.append(len(rig.durable))
        return rig.store.plan_trim(Index(0))

    rig.append()
    rig.world.turn()
    rig.persister.errand(errand)
    rig.persister.errand(errand)
    for _ in range(6):
        rig.append()
        rig.world.write()
    assert turns == [1, 2], "one between two plans of writes"
    assert rig.durable == [1, 2, 4, 6]


def test_other_work_on_a_log_that_begins_anew_waits_for_that() -> None:
    """The core believes already that the log begins there."""
    rig = Rig()
    starts: list[LogEnd] = []

    def errand() -> StorePlan:
        starts.append(rig.store.start)
        return rig.store.plan_trim(Index(0))

    rig.append()
    rig.world.turn()
    rig.persister.errand(errand)
    rig.append()
    rig.world.write()
    base = LogEnd(Index(50), Term(1), 7)
    rig.persister.add([ResetLog(WriteNumber(3), base, b"who the members are")])
    for _ in range(3):
        rig.world.write()
    assert starts == [base]
