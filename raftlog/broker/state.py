"""All that the log has decided in one shard, side by side.

The machine feeds it, the families of commands change it, snapshots hold it.
Nothing is decided here; what belongs together lies in a file of its own.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

from raftlog.base.ids import Index, Offset
from raftlog.broker.business_ids import BusinessIds
from raftlog.broker.claims import Claims
from raftlog.broker.commands import NO_LEVEL, SUBSCRIPTIONS_GO_LEVEL
from raftlog.broker.decisions import Decisions
from raftlog.broker.delays import Delays
from raftlog.broker.groups import Groups
from raftlog.broker.hidden import Hidden
from raftlog.broker.hiding import HiddenAppends
from raftlog.broker.index import RangeSummary
from raftlog.broker.leasing import Leasing
from raftlog.broker.message_types import MessageTypes
from raftlog.broker.producers import Producers
from raftlog.broker.queue_index import QueueIndex
from raftlog.broker.queues import Queue, Queues
from raftlog.broker.quotas import Quotas
from raftlog.broker.snapshot import Facts, FrozenTable, Snapshot, TableId
from raftlog.broker.staging import Staging
from raftlog.broker.timetable import Timetable
from raftlog.broker.topics import Topics
from raftlog.broker.transactions import Transactions
from raftlog.broker.transactors import Transactors


class StateTable(Protocol):
    """What is done with all tables alike."""

    def freeze(self) -> FrozenTable:
        """Hold the rows as they are."""

    def digest(self, state: "hashlib.blake2b", /) -> None:
        """Take every row into ``state``."""


class BrokerState:
    """The tables of one shard and the index of its queues.

    Attributes:
        log_time_ms: The largest log time of an applied entry (ruling 8).
        term: Of the last entry with commands.
        feature_level: The highest one of an entry so far: by its rules entries are applied
            (ruling 15). ``NO_LEVEL``: there was no entry with commands.
        touched: The queues that got records, moved or went, until somebody takes note.
        tables: What a snapshot holds, in its order.
    """

    def __init__(self) -> None:
        self.log_time_ms = 0
        self.term = 0
        self.feature_level = NO_LEVEL
        self.touched: set[int] = set()
        self.timetable: Final = Timetable()
        self.queues: Final = Queues()
        self.topics: Final = Topics(self.queues)
        self.types: Final = MessageTypes(self.topics)
        self.groups: Final = Groups(self.topics)
        self.claims: Final = Claims(self.queues)
        self.producers: Final = Producers(self.timetable)
        self.index: Final = QueueIndex(lambda number: self.queues.get(number) is not None)
        self.leasing: Final = Leasing(self.topics, self.queues, self.timetable)
        self.hidden: Final = Hidden(
            *(self.queues, self.index, self.timetable), on_revealed=self._touch
        )
        hiding = HiddenAppends(self.queues, self.types, self.producers, self.hidden)
        self.delays: Final = Delays(self.queues, self.hidden, hiding, self.timetable)
        self.staging: Final = Staging(
            *(self.queues, self.producers, self.hidden, hiding, self.timetable)
        )
        self.transactors: Final = Transactors(self.timetable)
        self.decisions: Final = Decisions(self.transactors, self.timetable)
        self.transactions: Final = Transactions(
            *(self.queues, self.hidden, hiding),
            *(self.transactors, self.decisions, self.timetable),
        )
        self.quotas: Final = Quotas(self.topics)
        self.ids: Final = BusinessIds(self.timetable, self.topics, self.queues)
        self.timetable.keep(
            *(self.producers, self.delays, self.delays.cancelled, self.hidden, self.ids),
            *(self.leasing, self.leasing.finishers),
            *(self.transactions, self.decisions, self.transactors, self.staging),
        )
        self.tables: Final[Sequence[tuple[TableId, StateTable]]] = (
            (TableId.TOPICS, self.topics.table),
            (TableId.QUEUES, self.queues.table),
            (TableId.PRODUCERS, self.producers.table),
            (TableId.GROUPS, self.groups.table),
            (TableId.MEMBERS, self.groups.members),
            (TableId.CLAIMS, self.claims.table),
            (TableId.SHARES, self.groups.shares.table),
            (TableId.QUEUE_GROUPS, self.leasing.groups.table),
            (TableId.CURSORS, self.leasing.groups.cursors),
            (TableId.FLIGHTS, self.leasing.flights.table),
            (TableId.FINISHERS, self.leasing.finishers.table),
            (TableId.QUEUE_SUBSCRIPTIONS, self.leasing.subscriptions.table),
            (TableId.HIDDEN, self.hidden.table),
            (TableId.RANGE_NEEDS, self.index.needs.table),
            (TableId.CANCELLED, self.delays.cancelled.table),
            (TableId.SURVIVORS, self.index.survivors.table),
            (TableId.TRANSACTORS, self.transactors.table),
            (TableId.TRANSACTIONS, self.transactions.table),
            (TableId.DECISIONS, self.decisions.table),
            (TableId.BUSINESS_IDS, self.ids.table),
            (TableId.SHORTENED_WINDOWS, self.ids.shortened),
            (TableId.QUOTAS, self.quotas.table),
            (TableId.TYPED_TOPICS, self.types.table),
        )

    def _touch(self, queue: int) -> None:
        self.touched.add(queue)  # another set, whenever somebody has taken note

    @property
    def facts(self) -> Facts:
        """State that is in no table."""
        return Facts(
            *(self.queues.next_number, self.producers.heard, self.groups.last_deleted),
            *(self.index.trimmed, self.hidden.cleared_ms, self.term, self.leasing.held_until_ms),
        )

    def enter_level(self, level: int) -> None:
        """Another feature level begins: a higher one, or the first."""
        if self.feature_level < SUBSCRIPTIONS_GO_LEVEL <= level:
            self.groups.note_by_hand()
        self.feature_level = level

    def new_leader(self, term: int) -> None:
        """The entries of another leader begin."""
        if self.term:  # else nothing happened before
            self.leasing.hold(self.log_time_ms)
        self.term = term

    def load(self, snapshot: Snapshot, ranges: Sequence[RangeSummary]) -> None:
        """Start from a snapshot and the ranges that lead to it.

        Queues say which ranges are of use, and ranges where hidden batches lie.
        """
        facts = snapshot.facts
        self.touched.update(self.queues.table.rows)
        self.log_time_ms, self.term = snapshot.log_time_ms, facts.term
        self.feature_level = snapshot.level
        self.queues.load(snapshot.queues, facts.next_queue)
        self.topics.load(snapshot.topics)
        self.types.load(snapshot.typed_topics)
        self.producers.load(snapshot.producers, facts.heard)
        self.groups.load(snapshot.groups, snapshot.members, facts.last_deleted_generation)
        self.groups.shares.load(snapshot.shares)
        self.claims.load(snapshot.claims)
        self.leasing.groups.load(snapshot.queue_groups, snapshot.cursors)
        self.leasing.flights.load(snapshot.flights)
        self.leasing.finishers.load(snapshot.finishers)
        self.leasing.subscriptions.load(snapshot.queue_subscriptions)
        self.leasing.loaded(facts.leases_held_until_ms)
        self.index.restore(Index(facts.trimmed), ranges)
        self.index.needs.load(snapshot.needs)
        self.index.survivors.load(snapshot.survivors)
        self.hidden.load(snapshot.hidden, facts.cleared_ms)
        self.delays.load(snapshot.cancelled)
        self.staging.load()
        self.transactors.load(snapshot.transactors)
        self.decisions.load(snapshot.decisions)
        self.transactions.load(snapshot.transactions)
        self.ids.load(snapshot.business_ids, snapshot.shortened_windows)
        self.quotas.load(snapshot.quotas)
        self.timetable.note(0)

    def consumed_through(self, number: int) -> Offset:
        """Return up to where every group of a queue has committed; its start if one has not.

        A group is one of the queue's if it has a claim to it, members that read its topic, or,
        queue-style, reads its topic: then what it has in flight is not consumed.
        Without any nothing counts as consumed.
        """
        queue = self.queues.find(number)
        names = self.claims.groups_of(number) | self.groups.readers_of(queue.topic)
        finished = self.leasing.finished_through(queue.topic, number)
        if not names:
            return queue.start_offset if finished is None else max(queue.start_offset, finished)
        claims = (self.claims.get(name, number) for name in names)
        through = min(
            claim.committed if claim is not None and claim.committed is not None else Offset(0)
            for claim in claims
        )
        through = through if finished is None else min(through, finished)
        return max(queue.start_offset, through)

    def start_may_be(self, number: int, start: int) -> Offset:
        """Return how far up to ``start`` the start of a queue may go: messages in flight hold it.

        Raises:
            WrongQueue: There is no such queue.
        """
        queue = self.queues.find(number)
        retention_ms = self.topics.find(queue.topic).settings.retention_ms
        return Offset(
            self.leasing.holding.start_may_be(number, start, retention_ms, self.log_time_ms)
        )

    def start_of(self, number: int) -> Offset | None:
        """Return where a queue begins; None if there is no such queue."""
        queue = self.queues.get(number)
        return None if queue is None else queue.start_offset

    def store(
        self, queue: Queue, count: int, record_time_ms: int, place: tuple[Index, int, int]
    ) -> Offset:
        """Give a batch of no producer its offset, where a command other than an append has one.

        ``place``: entry, first byte in its body, and length.
        """
        self.queues.table.touch(queue.number)
        base = queue.end_offset
        queue.end_offset = Offset(base + count)
        open_range = self.index.open
        open_range.postings_of(queue.number).append(
            *(base, count, self.log_time_ms, record_time_ms), *place
        )
        open_range.count += 1
        self.touched.add(queue.number)
        return base
