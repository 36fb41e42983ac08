"""Half messages: begin a transactor, stage, decide, list what is open, decide it by hand.

Many halves are one request and many decisions one command: who sends them waits for
a whole turn's worth at once, and each has an outcome of its own. What apply says is
what the caller is told (ruling 22); a copy of a request is answered like the first one.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, BadRequest, RaftlogError
from raftlog.base.limits import DECISIONS_PER_COMMAND_MAX
from raftlog.base.space import DiskLevel
from raftlog.broker.commands import CommandType
from raftlog.broker.decisions import Decided
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.transactions import (
    Decide,
    DecisionsMade,
    HalfStaged,
    PagePlace,
    ResolveTransaction,
    Transaction,
    half_parts,
)
from raftlog.broker.transactors import InitTransactor, Transactor, TransactorBegun, number_of
from raftlog.service.admission import Admission
from raftlog.service.atomic import AtomicService
from raftlog.service.ports import ShardReplica
from raftlog.service.produce import check_batch, is_with_id, look_again
from raftlog.service.proposing import Reply, look, propose, propose_parts
from raftlog.service.refusing import disk_full
from raftlog.wire.batch import ANONYMOUS
from raftlog.wire.batch_header import BatchHeader

PAGE_MAX: Final = 1_000
EPOCH_MAX: Final = (1 << 32) - 1


class HalfToStage(msgspec.Struct, frozen=True, gc=False):
    """One half message of a request."""

    queue: int
    number: int
    batch: Buffer


class OpenRow(msgspec.Struct, frozen=True, gc=False):
    """An open transaction, and what else is known of it."""

    row: Transaction
    owner: Transactor
    topic: str
    place: int
    records: int
    bytes: int

    @property
    def number(self) -> int:
        """Its number in its transactor."""
        return number_of(self.row.handle)


class OpenPage(msgspec.Struct, frozen=True):
    """Some of them, and where to go on; None: there are no more."""

    rows: list[OpenRow]
    after: PagePlace | None


class TransactionService:
    """The half messages of one shard. ``atomic``: its other transactions."""

    def __init__(
        self, replica: ShardReplica, machine: BrokerMachine, admission: Admission | None = None
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._admission: Final = admission
        self.atomic: Final = AtomicService(replica, machine, admission)

    def init(self, name: str, group: str, reply: Reply[TransactorBegun]) -> None:
        """Begin a transactor, or take it over: who had it before is fenced from then on."""
        propose(self._replica, lambda: InitTransactor(name, group), TransactorBegun, reply)

    def stage(
        self,
        owner: tuple[int, int],
        halves: Sequence[HalfToStage],
        reply: Callable[[Sequence[HalfStaged | RaftlogError]], None],
        client: str = "",
    ) -> None:
        """Store half messages of a transactor (id and epoch); each has its own outcome.

        The batches stay unchanged until the reply.
        """
        outcomes: list[HalfStaged | RaftlogError | None] = [None] * len(halves)
        left = len(halves)

        def told(number: int, outcome: HalfStaged | RaftlogError) -> None:
            nonlocal left
            outcomes[number] = outcome
            left -= 1
            if not left:
                reply([each for each in outcomes if each is not None])

        if not halves:
            reply([])
        for number, half in enumerate(halves):
            self._stage(owner, half, _telling(told, number), client)

    def _stage(
        self, owner: tuple[int, int], half: HalfToStage, reply: Reply[HalfStaged], client: str
    ) -> None:
        found = self._machine.queues.get(half.queue)
        if found is None:
            look_again(
                *(self._replica, self._machine, half.queue),
                lambda: self._stage(owner, half, reply, client),
                reply,
            )
            return
        if self._replica.disk_level is DiskLevel.FULL:
            reply(disk_full("records"))
            return
        header = check_batch(half.batch, found)
        if isinstance(header, RaftlogError):
            reply(header)
            return
        error = _refusal(half.batch, header)
        if error is None and self._admission is not None:
            error = self._admission.refusal(client, found.topic, header.length, header.count)
        if error is not None:
            reply(error)
            return

        transactor, epoch = owner
        if epoch > EPOCH_MAX:
            reply(BadRequest(f"no transactor has reached epoch {epoch}"))
            return
        parts = half_parts(transactor, half.number, epoch, half.queue, half.batch)
        propose_parts(self._replica, (CommandType.STAGE_HALF, parts), HalfStaged, reply)

    def decide(
        self,
        owner: tuple[int, int],
        items: Sequence[tuple[int, int]],
        reply: Reply[DecisionsMade],
    ) -> None:
        """Commit or roll back transactions of a transactor: numbers and verdicts, in one command.

        ``reply`` gets ``UnknownTransactor``, ``Fenced`` or ``BadRequest`` if nothing was decided.
        """
        if len(items) > DECISIONS_PER_COMMAND_MAX:
            reply(
                BadRequest(f"{len(items)} decisions; {DECISIONS_PER_COMMAND_MAX} at once at most")
            )
            return
        propose(self._replica, lambda: Decide(*owner, tuple(items)), DecisionsMade, reply)

    def resolve(self, transactor: int, number: int, verdict: int, reply: Reply[Decided]) -> None:
        """Decide by hand what is open, parked or not."""
        propose(
            *(self._replica, lambda: ResolveTransaction(transactor, number, verdict)),
            *(Decided, reply),
        )

    def open(self, after: PagePlace, count: int, reply: Reply[OpenPage], *, parked: bool) -> None:
        """Tell what is open behind ``after``, the parked ones first; linearizable."""

        def answer() -> OpenPage:
            transactions = self._machine.state.transactions
            rows, place = transactions.page(after, min(count or PAGE_MAX, PAGE_MAX))
            if parked:
                rows = [row for row in rows if row.parked]
                place = None if place is None or place.which else place
            return OpenPage([open_row(self._machine, row) for row in rows], place)

        look(self._replica, answer, reply)


def open_row(machine: BrokerMachine, row: Transaction) -> OpenRow:
    """Return what is told of an open transaction."""
    hidden = machine.hidden.get((row.queue, row.id))
    assert hidden is not None, f"an open transaction has no message: {row}"
    topic, place = "", 0
    queue = machine.queues.get(row.queue)
    if queue is not None:  # else its topic was deleted just now
        topic = queue.topic
        place = machine.topics.find(topic).queues.index(row.queue)
    owner = machine.state.transactors.of(row.handle)
    return OpenRow(row, owner, topic, place, hidden.count, hidden.length)


def _telling(
    told: Callable[[int, HalfStaged | RaftlogError], None], number: int
) -> Reply[HalfStaged]:
    return lambda outcome: told(number, outcome)


def _refusal(batch: Buffer, header: BatchHeader) -> RaftlogError | None:
    """Return why a batch is no half message, whatever apply would say of it."""
    if header.producer is not ANONYMOUS:
        return BadBatch("the number of its transaction is a half message's only sequence")
    if is_with_id(batch, header):
        return BadRequest("a half message has no business id; leave one of the two out")
    return None
