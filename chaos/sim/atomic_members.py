"""Members that read, make something of it, and commit both in one transaction.

::

    claim --> read [first, after) --> commit { results: a batch each, offsets: after }
                 ^                        |
                 |    stored: after       |  no answer, or refused: until somebody knows
                 +---- never: first ------+  (``atomic_sending``)
"""

from collections.abc import Sequence
from typing import Final

from chaos.check.atomic_visibility import Intent
from chaos.sim.atomic_sending import Seat, Transaction, TransactionSender
from chaos.sim.atomic_work import GROUP, RESULTS
from chaos.sim.client_world import ClientWorld
from chaos.sim.group_members import GroupMember, Held, Identity
from raftlog.base.errors import Fenced, RaftlogError
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups

ASTRAY_SHARE: Final = 0.2
"""Results that go where somebody reads them, or where a topic may be gone."""


class AtomicMember(GroupMember):
    """A member of ``GROUP``."""

    several_share = 0.0  # what else was read is committed with what is made of it

    def __init__(self, world: ClientWorld, name: str, topics: Sequence[str]) -> None:
        super().__init__(world, name, GROUP, topics)
        self._wanted = None
        self._sender: Final = TransactionSender(self)
        self._seats: dict[int, Seat] = {}
        """Those that are free, by the queue that is read."""

    def start(self) -> None:
        """Join; what an earlier life had on its way is for its queue's next owner."""
        self._seats = {}
        super().start()

    def _consume(self, life: int, since: int, queue: int) -> None:
        offset = self._held[queue].position
        identity = self.identity

        def done(after: int) -> None:
            if not self._owns(life, since, queue):
                return
            if after > offset:
                self.world.facts.groups.gives(self.group, queue, offset, after)
                self._settle(life, since, queue, (identity, offset, after))
            else:
                self._go_on(life, since, queue, after)

        self.read(queue, offset, done)

    def _go_on(
        self, life: int, since: int, queue: int, position: int, *, is_committed: bool = False
    ) -> None:
        if self._owns(life, since, queue):
            committed = position if is_committed else self._held[queue].committed
            self._held[queue] = Held(since, position, committed)
            self.world.soon(
                lambda: (
                    self._consume(life, since, queue) if self._owns(life, since, queue) else None
                )
            )

    # -- a transaction

    def _settle(self, life: int, since: int, queue: int, read: tuple[Identity, int, int]) -> None:
        """Make something of what was read, under an identity that is free."""
        if any(name not in self.world.topics for name in RESULTS):
            self._go_on(life, since, queue, read[1])
            return
        seat = self._seats.pop(queue, None)
        if seat is not None:
            self._commit_all(life, since, queue, self._made(seat, queue, since, read), read)
            return

        def begun(seat: Seat | None) -> None:
            if self._owns(life, since, queue):
                if seat is not None:
                    self._seats[queue] = seat
                self._go_on(life, since, queue, read[1])

        self._sender.begin(begun)

    def _made(
        self, seat: Seat, queue: int, since: int, read: tuple[Identity, int, int]
    ) -> Transaction:
        identity, first, after = read
        offsets = groups.CommitOffsets(
            group=self.group,
            member=identity.member,
            generation=since,
            life=identity.life,
            offsets=[
                groups.QueueOffset(
                    queue=queue, offset=after, read_from=self._held[queue].committed
                )
            ],
        )
        targets = self._targets()
        results = self._sender.results(seat, targets, self._parts(len(targets)))
        made = Transaction(seat, results, self._sender.now_ms(), [offsets])
        self.world.facts.atomic.begins(Intent(made.values, (self.group, queue), first, after))
        return made

    def _targets(self) -> list[int]:
        """Return one or two queues to write to; the first one stays."""
        world = self.world
        own = [each.queue for name in RESULTS for each in world.topics[name].queues]
        found = [world.random.choice(own)]
        astray = None if world.stopped else world.some_queue()
        is_astray = astray is not None and world.random.random() < ASTRAY_SHARE
        other = astray if is_astray and astray is not None else world.random.choice(own)
        return found if other in found else [*found, other]

    def _parts(self, queues: int) -> list[int] | None:
        """Return how many batches are staged for each queue; None: for none."""
        world = self.world
        work = world.config.staged
        # In the end there is no time for what is dropped after moments.
        if work is None or world.stopped or world.random.random() >= work.large:
            return None
        parts = [world.random.randint(0, work.parts_max) for _ in range(queues)]
        return parts if any(parts) else [1] * queues

    def _commit_all(
        self,
        life: int,
        since: int,
        queue: int,
        it: Transaction,
        read: tuple[Identity, int, int],
    ) -> None:
        told = self.world.facts.told
        asks = (told.asks_for(Method.GROUP_COMMIT, offsets) for offsets in it.offsets)
        asked = [each for changes in asks for each in changes]

        def ended(is_stored: bool, error: RaftlogError | None) -> None:  # noqa: FBT001
            (told.done if is_stored else told.failed)(asked)
            if error is None:
                self.world.facts.groups.acked(self.group, queue, read[2])
            if error is None or it.is_behind:
                self._seats[queue] = it.seat
            if is_stored:
                self._go_on(life, since, queue, read[2], is_committed=True)
            else:
                assert error is not None, "what is not stored has a reason"
                self._go_back(life, since, queue, read[1], error)

        self._sender.send(it, lambda: self._owns(life, since, queue), ended)

    def _go_back(
        self, life: int, since: int, queue: int, position: int, error: RaftlogError
    ) -> None:
        """It was not stored; if it was fenced, ask what is committed and whose the queue is."""
        if isinstance(error, Fenced) and self._owns(life, since, queue):
            self.world.marks["transactions fenced"] += 1
            self._claim(life, since, queue)
        else:
            self._go_on(life, since, queue, position)
