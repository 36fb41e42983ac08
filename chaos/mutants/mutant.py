"""What a mutant is."""

from typing import Final

import msgspec

Changes = tuple[tuple[str, str], ...]
"""Texts that occur once in a module, and what stands in their places."""

_OF_LEASES = frozenset(
    f"raftlog.{name}"
    for name in (
        *("broker.leasing", "broker.flights", "broker.queue_groups", "broker.dead_letters"),
        *("broker.held", "broker.holding", "broker.finishers", "broker.sweeping"),
        *("broker.first_leases", "broker.opening", "broker.queue_subscriptions"),
        "broker.queue_seeks",
        *("service.receiving", "service.receive_lines", "service.leased_bodies"),
        *("service.fifo_keys", "service.matching"),
    )
)

_OF_HALVES = frozenset(
    f"raftlog.{name}"
    for name in (
        *("broker.transactions", "broker.transactors", "broker.decisions"),
        *("service.transactions", "service.checks"),
    )
)

_OF_LETTERS: Final = frozenset({"raftlog.client.dead_letters", "raftlog.service.burying"})
_OF_QUOTAS: Final = frozenset({"raftlog.broker.quotas", "raftlog.service.quotas"})


class Mutant(msgspec.Struct, frozen=True):
    """A bug: in which module, which text becomes which, and who sees it.

    Without ``tests`` the simulator is the catcher.

    Attributes:
        needs: Kinds of faults (names of ``chaos.sim.swarm.Fault``) without which the bug
            does nothing: seeds without them are passed over.
        works: Parts of the workload (names of ``chaos.mutants.child.WORKS``), likewise.
        known: Its numbers in ``raft_anchors`` 4.9, the bugs of other systems.
        rulings: Whose schedule it turns round.
        elsewhere: Changes of other modules, where one alone does no harm: what protects
            twice must be broken twice.
    """

    name: str
    module: str
    changes: Changes
    tests: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    works: tuple[str, ...] = ()
    known: tuple[int, ...] = ()
    rulings: tuple[int, ...] = ()
    elsewhere: tuple[tuple[str, Changes], ...] = ()

    @property
    def parts(self) -> dict[str, Changes]:
        """All its changes, by module."""
        return {self.module: self.changes, **dict(self.elsewhere)}

    @property
    def is_of_leases(self) -> bool:
        """Whether it does nothing in a run without queue-style groups."""
        return self.module in _OF_LEASES

    @property
    def is_of_halves(self) -> bool:
        """Whether it does nothing in a run without half messages."""
        return self.module in _OF_HALVES

    @property
    def is_of_letters(self) -> bool:
        """Whether it does nothing in a run in which no dead letter is sent again."""
        return self.module in _OF_LETTERS

    @property
    def is_of_quotas(self) -> bool:
        """Whether it does nothing in a run without quotas."""
        return self.module in _OF_QUOTAS

    @property
    def is_of_broker(self) -> bool:
        """Whether it does nothing in a run with raw entries: which have no such works, too."""
        layers = ("raftlog.broker.", "raftlog.service.", "raftlog.client.")
        return self.module.startswith(layers) or bool(self.works)
