"""Looks at every replica that runs, now and then, between two events.

What changes with each message is checked with each message, by the observer. Here
is what costs more to see and does not go away by itself: an order that is broken,
a bound that is passed, a file that nobody closes.
"""

from typing import Final

from chaos.check.bounded_resources import Use, check_resources
from chaos.check.state_order import StateOrder, check_state_order
from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.events import MS_NS
from chaos.sim.process import Machine
from chaos.sim.staged_look import look_at_staged
from raftlog.base.ids import Index
from raftlog.node.replica import Replica

EVERY_NS: Final = 97 * MS_NS
FILES_BESIDE_SEGMENTS: Final = 40
"""Open at once: the shard's own, one for each read that is under way, ranges of the index."""
LARGEST_BYTES: Final = 1 << 20
"""The most that is put into one entry (ruling 32)."""


class Patrol:
    """Looks as long as the run lasts."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def start(self) -> None:
        """Begin."""
        self._cluster.queue.after(EVERY_NS, self._look)

    def _look(self) -> None:
        for machine in self._cluster.up():
            if machine.process is not None and not machine.process.replica.stopped:
                replica = machine.process.replica
                check_state_order(machine.node, _order_of(machine, replica))
                check_resources(machine.node, _uses_of(machine, replica))
                facts = self._cluster.observer.facts
                if facts is not None:
                    look_at_staged(machine.node, machine.process, facts)
        self.start()


def _order_of(machine: Machine, replica: Replica) -> StateOrder:
    core = replica.core
    trimmed = core.log.start.index
    return StateOrder(
        trimmed=trimmed,
        snapshot=_snapshot_of(machine) if trimmed else Index(0),
        applied=replica.applied,
        commit=core.commit,
        durable=core.durable,
        last=core.log.last_index,
        lacks_state=replica.keeping.lacks_state,
    )


def _snapshot_of(machine: Machine) -> Index:
    """Return what the newest state on this disk is of, whole or not."""
    names = [path for path in machine.disk.paths() if path.startswith(f"{SHARD}/snapshot/")]
    stems = [name.rpartition("/")[2].partition(".")[0] for name in names if "." in name]
    return Index(max((int(stem) for stem in stems if stem.isdigit()), default=0))


def _uses_of(machine: Machine, replica: Replica) -> dict[str, Use]:
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
            FILES_BESIDE_SEGMENTS
            + 2 * sum(path.startswith(f"{SHARD}/log/") for path in machine.disk.paths()),
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
