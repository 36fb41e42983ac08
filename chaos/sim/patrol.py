"""Looks at every replica that runs, now and then, between two events.

What changes with each message is checked with each message, by the observer. Here
is what costs more to see and does not go away by itself: an order that is broken,
a bound that is passed, a file that nobody closes.
"""

from collections.abc import Sequence
from typing import Final

from chaos.check.bounded_resources import Use, check_resources
from chaos.check.state_order import StateOrder, check_state_order
from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.events import MS_NS
from chaos.sim.process import Machine, Process
from chaos.sim.snapshot_names import OF_A_PEER, OF_THE_LOG, snapshots_named
from chaos.sim.staged_look import look_at_staged
from chaos.sim.told_look import look_at_told
from raftlog.base.ids import Index
from raftlog.node.replica import Replica

EVERY_NS: Final = 97 * MS_NS
ROWS_EVERY: Final = 4
"""At each look of so many, rows of state are compared, too."""
FILES_BESIDE_SEGMENTS: Final = 40
"""Open at once: the shard's own, one for each read that is under way, ranges of the index."""
LARGEST_BYTES: Final = 1 << 20
"""The most that is put into one entry (ruling 32)."""


class Patrol:
    """Looks as long as the run lasts."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._looks = 0

    def start(self) -> None:
        """Begin."""
        self._cluster.queue.after(EVERY_NS, self._look)

    def _look(self) -> None:
        self._looks += 1
        for machine in self._cluster.up():
            if machine.process is not None and not machine.process.replica.stopped:
                paths = machine.disk.paths()
                known = self._cluster.observer.committed.end
                order = _order_of(machine, machine.process, paths, known)
                check_state_order(machine.node, order)
                uses = _uses_of(machine.process.replica, paths)
                check_resources(machine.node, uses)
                facts = self._cluster.observer.facts
                if facts is not None:
                    look_at_staged(machine.node, machine.process, facts)
                    if not self._looks % ROWS_EVERY:
                        look_at_told(machine.node, machine.process, facts)
        self.start()


def _order_of(
    machine: Machine, process: Process, paths: Sequence[str], known: Index
) -> StateOrder:
    replica = process.replica
    core = replica.core
    passed_over = process.state.passed_over
    own = snapshots_named(paths, OF_THE_LOG) - passed_over
    return StateOrder(
        trimmed=core.log.start.index,
        snapshot=max(own, default=Index(0)),
        applied=replica.applied,
        commit=core.commit,
        durable=core.durable,
        last=core.log.last_index,
        fetched=max(snapshots_named(paths, OF_A_PEER), default=Index(0)),
        passed_over=max(passed_over, default=Index(0)),
        known=known,
        lacks_state=replica.keeping.lacks_state,
        is_stuck=replica.keeping.stuck_at is not None,
        is_damaged=machine.victim,
    )


def _uses_of(replica: Replica, paths: Sequence[str]) -> dict[str, Use]:
    core = replica.core
    config = core.config
    unsettled = core.log.bytes_after(core.applied, core.durable)
    uses = {
        "bytes of entries in memory": Use(
            core.log.tail_bytes,
            config.tail_bytes_max + config.tail_bytes_max // 4 + unsettled + LARGEST_BYTES,
        ),
        "open files": Use(
            replica.store.files.open_count,  # type: ignore[attr-defined]  # the simulated ones
            FILES_BESIDE_SEGMENTS + 2 * sum(path.startswith(f"{SHARD}/log/") for path in paths),
        ),
    }
    leadership = core.leadership
    if leadership is not None:
        uses["messages in flight"] = Use(
            max((each.in_flight for each in leadership.followers.values()), default=0),
            config.window_messages_max,
        )
        uses["uncommitted bytes"] = Use(
            core.log.bytes_after(core.commit),
            config.uncommitted_bytes_max + LARGEST_BYTES,
        )
    return uses
