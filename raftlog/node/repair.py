"""Repair of damaged entries from any peer that has them (ruling 20).

A faulty entry leaves the log in two ways only: replaced by the same entry, or
removed by an ordinary conflict with the current leader. This is the first. Who
has an entry answers, in any role, with or without a leader; the store decides
by the chain whether it is the same entry.

A hole that is larger than a message is surveyed first, and then repaired in
pieces (``storage.survey``). A survey goes on with each answer, and is given up
when its peer was silent for a round, or had something else in that place.

Everything here is asked again until the log is whole, so whatever would be too
much at once is dropped: places to ask for, reads for peers, answers that wait
for this disk.
"""

from collections.abc import Callable, Sequence

from raftlog.base.entry import Entry
from raftlog.base.errors import StorageError
from raftlog.base.ids import Index, NodeId, ReplicaId
from raftlog.base.limits import (
    MESSAGE_ENTRIES_BYTES_MAX,
    REPAIR_BYTES_MAX,
    REPAIR_MESSAGES_MAX,
    REPAIR_READS_MAX,
)
from raftlog.node.log_reader import LogReader
from raftlog.node.persister import Persister
from raftlog.node.ports import Scheduler
from raftlog.raft.log import LogView
from raftlog.raft.rpcs import RepairMessage, RepairReply, RepairRequest
from raftlog.storage.log_store import LogStore
from raftlog.storage.plan import StorePlan
from raftlog.storage.survey import Survey

RETRY_NS = 100_000_000
SURVEYS_MAX = 4
"""Holes larger than a message that are looked through at once."""


class Repairer:
    """Asks for, and answers with, entries by identity."""

    def __init__(
        self,
        store: LogStore,
        log: LogView,
        reader: LogReader,
        persister: Persister,
        scheduler: Scheduler,
        *,
        send: Callable[[NodeId, RepairMessage], None],
        on_changed: Callable[[int], None],
    ) -> None:
        self._store = store
        self._log = log
        self._reader = reader
        self._persister = persister
        self._scheduler = scheduler
        self.peers: Sequence[NodeId] = ()
        """Who is asked: the other members."""
        self.message_bytes_max = MESSAGE_ENTRIES_BYTES_MAX
        self._send = send
        self._on_changed = on_changed
        self._turn = -1
        self._asked = 0
        self._surveys: dict[Index, Survey] = {}
        """By the first entry of the hole."""
        self._advanced: set[Index] = set()
        """Surveys that went on since the last round."""
        self._answering = 0
        """Requests for which entries are being read."""
        self._waiting_bytes = 0
        """Entries of answers that wait for their turn at the disk."""
        self._armed = False
        self._known = store.faulty_count
        self.repaired = 0

    def begin(self) -> None:
        """Ask for what is damaged, if anything is; ask again until it is whole."""
        count = self._store.faulty_count
        if count != self._known:
            self.repaired += max(0, self._known - count)
            self._known = count
            self._on_changed(count)
        if not count or not self.peers or self._armed:
            return
        self._armed = True
        self._scheduler.call_later(RETRY_NS, self._again)
        self._forget_surveys()
        if not self._surveys:
            self._turn += 1
        peer = self.peers[self._turn % len(self.peers)]
        self._ask(peer, self._store.faulty_ranges())

    def _ask(self, peer: NodeId, places: list[tuple[Index, Index]]) -> None:
        for first, last in self._some_of(places):
            if first not in self._surveys:
                self._send(peer, RepairRequest(first, last))

    def _forget_surveys(self) -> None:
        """Drop surveys of what is whole by now, and of peers that did not answer."""
        self._surveys = {
            first: survey
            for first, survey in self._surveys.items()
            if first in self._advanced and self._store.hole(first) == survey.hole
        }
        self._advanced.clear()

    def _some_of(self, places: list[tuple[Index, Index]]) -> list[tuple[Index, Index]]:
        """Return damaged places, others every time if there are many."""
        if len(places) <= REPAIR_MESSAGES_MAX:
            return places
        start = self._asked % len(places)
        self._asked += REPAIR_MESSAGES_MAX
        return (places[start:] + places[:start])[:REPAIR_MESSAGES_MAX]

    def receive(self, sender: ReplicaId, message: RepairMessage) -> None:
        """Answer a request, or take in an answer."""
        if isinstance(message, RepairReply):
            if message.entries and not self._survey(sender.node, message.entries):
                self._take(message.entries)
            return
        last = min(message.last, self._log.last_index)
        if not self._log.start.index < message.first <= last:
            return
        if self._answering < REPAIR_READS_MAX:
            self._answering += 1
            self._gather(sender.node, message.first, last, ())

    def _gather(self, node: NodeId, first: Index, last: Index, found: tuple[Entry, ...]) -> None:
        """Collect entries up to ``last`` from memory and file, then answer with what there is.

        The one who asks may be able to use only the whole range, and a read
        ends with a segment of *this* replica.
        """
        last = min(last, self._log.last_index)  # it may have been cut while entries were read
        size = sum(entry.size for entry in found)
        if first > last or size >= self.message_bytes_max:
            self._answer(node, found)
            return
        cached = self._log.slice(first, self.message_bytes_max - size)
        if cached is not None:
            self._answer(node, (*found, *cached[: last - first + 1]))
            return

        def loaded(entries: tuple[Entry, ...], _error: Exception | None) -> None:
            if entries:
                self._gather(node, Index(first + len(entries)), last, (*found, *entries))
            else:
                self._answer(node, found)

        self._reader.read(first, last, loaded, self.message_bytes_max - size)

    def _answer(self, node: NodeId, entries: tuple[Entry, ...]) -> None:
        self._answering -= 1
        if entries:
            self._send(node, RepairReply(entries))

    def _survey(self, peer: NodeId, entries: tuple[Entry, ...]) -> bool:
        """Follow an answer that does not fill its hole; False if it may fill one."""
        first = entries[0].index
        known = [each for each in self._surveys.values() if each.next == first]
        survey = known[0] if known else self._begin_survey(peer, entries)
        if survey is None:
            return False
        if survey.peer != peer:
            return True
        if not survey.take(entries):
            self._surveys.pop(survey.hole.first, None)
        elif not survey.is_complete:
            self._surveys[survey.hole.first] = survey
            self._advanced.add(survey.hole.first)
            self._send(peer, RepairRequest(survey.next, survey.hole.last))
        else:
            self._surveys.pop(survey.hole.first, None)
            self._split(peer, survey)
        return True

    def _split(self, peer: NodeId, survey: Survey) -> None:
        """Make pieces of the hole, and ask for them; or fill it, if it has no room for pieces."""

        def plan() -> StorePlan | None:
            try:
                made = self._store.plan_split(survey)
                if made is None and survey.kept:
                    return self._store.plan_repair(survey.kept)
            except StorageError:
                return None  # trimmed meanwhile
            if made is not None:
                self._ask(peer, self._store.faulty_ranges())
            return made

        self._persister.errand(plan)

    def _begin_survey(self, peer: NodeId, entries: tuple[Entry, ...]) -> Survey | None:
        hole = self._store.hole(entries[0].index)
        if hole is None or entries[-1].index >= hole.last or hole.first in self._surveys:
            return None
        return Survey(hole, peer) if len(self._surveys) < SURVEYS_MAX else None

    def _take(self, entries: tuple[Entry, ...]) -> None:
        size = sum(entry.size for entry in entries)
        full = self._waiting_bytes and self._waiting_bytes + size > REPAIR_BYTES_MAX
        if not entries or not self._store.faulty_count or full:
            return
        self._waiting_bytes += size

        def plan() -> StorePlan | None:
            self._waiting_bytes -= size
            try:
                return self._store.plan_repair(entries)
            except StorageError:
                return None  # not the entries that were lost: another peer may have them

        self._persister.errand(plan)

    def _again(self) -> None:
        self._armed = False
        self.begin()
