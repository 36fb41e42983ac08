"""An orderly stop of one node, step by step as the node's shell does it (ruling 33).

::

    drain         no new proposals; leadership is handed over, for two seconds at most
    wait          until nothing is in flight
    stop, close   what is open is synced, the durable mark too
    end           the process is gone; whoever cuts the power now takes nothing back
"""

from collections.abc import Callable
from typing import Final

from chaos.sim.cluster import Cluster
from chaos.sim.disk import CrashKind
from chaos.sim.events import MS_NS, SECOND_NS
from chaos.sim.process import Machine
from raftlog.node.replica import Replica

POLL_NS: Final = 10 * MS_NS
STEP_NS: Final = 2 * SECOND_NS
"""The longest that each step is waited for."""


class Stopping:
    """Stops the process that runs on a machine now."""

    def __init__(self, cluster: Cluster, machine: Machine, kind: CrashKind) -> None:
        assert machine.process is not None, f"nothing runs on {machine.node}"
        self._cluster = cluster
        self._machine = machine
        self._process = machine.process
        self._kind = kind

    def begin(self) -> None:
        """Ask it to stop; once is enough."""
        if not self._process.is_stopping:
            self._process.is_stopping = True
            self._process.life.call_soon(self._drain)

    def _drain(self) -> None:
        replica = self._process.replica
        replica.drain()
        alone = len(replica.membership.voters) == 1
        self._wait(lambda: replica.stopped or not replica.leads or alone, self._finish)

    def _finish(self) -> None:
        replica = self._process.replica
        self._wait(lambda: replica.quiet or replica.stopped, self._stop)

    def _stop(self) -> None:
        replica = self._process.replica
        if replica.failure is None:
            replica.stop()
        self._wait(lambda: replica.writing_ended, lambda: self._close(replica))

    def _close(self, replica: Replica) -> None:
        if replica.failure or replica.write_error or not replica.writing_ended:
            self._end(CrashKind.KEEP)  # what hung is killed, as by a supervisor
            return
        plan = replica.store.plan_close()

        def closed(error: Exception | None) -> None:
            if error is None:
                replica.store.complete(plan)
                self._cluster.marks["orderly stops"] += 1
            self._end(self._kind if error is None else CrashKind.KEEP)

        self._process.writer.submit(plan, closed)

    def _end(self, kind: CrashKind) -> None:
        self._cluster.end(self._machine, kind)
        self._cluster.restart_later(self._machine)

    def _wait(self, ready: Callable[[], bool], then: Callable[[], None]) -> None:
        """Look now and then, as long as the process lives; a paused one does not look."""
        life = self._process.life
        deadline_ns = life.now_ns() + STEP_NS

        def look() -> None:
            if ready() or life.now_ns() >= deadline_ns:
                then()
            else:
                life.call_later(POLL_NS, look)

        look()
