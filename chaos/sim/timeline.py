"""The last things that happened on each node, for somebody who reads a failure.

Watches a run from outside and changes nothing in it: a seed has one digest,
watched or not. Costs time, so only a seed that is told about is watched::

       14.203 117  n2       writes 31..33 of term 6, truncating to 30 (write 77)
       14.203 951  n2 > n3  AppendRequest(term 6, after 5/30, 3 entries, commit 30)
       14.204 310  n3       killed, disk: torn
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from chaos.sim.events import MS_NS
from chaos.sim.lost_writes import LostWrites
from raftlog.base.ids import NodeId, WriteNumber
from raftlog.base.writes import ResetLog, SaveHardState, Write, WriteEntries
from raftlog.node.replica import Replica
from raftlog.raft.effects import Effects
from raftlog.raft.rpcs import AppendRequest, Heartbeat, HeartbeatReply, PeerMessage
from raftlog.storage.plan import StorePlan

if TYPE_CHECKING:
    from chaos.sim.disk import CrashKind
    from chaos.sim.process import Machine
    from chaos.sim.run import Run

LINES_EACH: Final = 60
HEARTBEATS_EACH: Final = 6
"""They come all the time and say little: kept apart, or they would push the rest out."""
_NS: Final = 1_000
_NOBODY: Final = "faults"


class Timeline:
    """What happened, most recent last; so many lines for each node."""

    def __init__(self, run: "Run") -> None:
        self._queue = run.cluster.queue
        self._count = 0
        self._lines: dict[str, deque[tuple[int, int, str]]] = {}
        self._watch_processes(run)
        self._watch_disks(run)
        self._watch_messages(run)
        self._watch_faults(run)

    def lines(self) -> list[str]:
        """Return all lines that were kept, in the order in which things happened."""
        merged = sorted(line for lines in self._lines.values() for line in lines)
        return [f"{_moment(now_ns)}  {text}" for now_ns, _, text in merged]

    def note(self, node: str, text: str, *, heartbeat: bool = False) -> None:
        """``text`` happened on ``node`` now."""
        kept = HEARTBEATS_EACH if heartbeat else LINES_EACH
        name = f"{node} heartbeats" if heartbeat else node
        lines = self._lines.setdefault(name, deque(maxlen=kept))
        self._count += 1
        lines.append((self._queue.now_ns, self._count, text))

    # -- what is watched

    def _watch_processes(self, run: "Run") -> None:
        observer, cluster = run.cluster.observer, run.cluster
        restarts, end = observer.restarts, cluster.end

        def noted_start(node: NodeId, replica: Replica, *rest: object) -> None:
            store = replica.store
            self.note(
                node,
                f"{node}       starts: log to {store.end.term}/{store.end.index}, "
                f"applied {replica.applied}, {_text(store.hard_state)}",
            )
            restarts(node, replica, *rest)  # type: ignore[arg-type]  # passed on as it came
            step = replica.core.step

            def noted_step(event: object, *rest: object) -> Effects:
                effects = step(event, *rest)  # type: ignore[arg-type]  # passed on as it came
                self._stepped(node, replica, effects)
                return effects

            replica.core.step = noted_step  # type: ignore[method-assign, assignment]

        def noted_end(machine: "Machine", kind: "CrashKind", *rest: object) -> None:
            if machine.process is not None:
                self.note(machine.node, f"{machine.node}       ends, disk: {kind.name.lower()}")
            end(machine, kind, *rest)  # type: ignore[arg-type]  # passed on as it came

        observer.restarts = noted_start  # type: ignore[method-assign, assignment]
        cluster.end = noted_end  # type: ignore[method-assign, assignment]

    def _watch_disks(self, run: "Run") -> None:
        observer, cluster = run.cluster.observer, run.cluster
        performed, told = observer.performed, cluster._performed

        def noted(node: NodeId, write: WriteNumber) -> None:
            what = f"durable to write {write}" if write else "durable mark synced"
            self.note(node, f"{node}       {what}")
            performed(node, write)

        def noted_error(machine: "Machine", plan: StorePlan, error: Exception | None) -> None:
            if error is not None:
                self.note(machine.node, f"{machine.node}       its disk fails: {error}")
            told(machine, plan, error)

        observer.performed = noted  # type: ignore[method-assign]
        cluster._performed = noted_error  # type: ignore[method-assign]

    def _watch_messages(self, run: "Run") -> None:
        observer, network = run.cluster.observer, run.cluster.network
        sends, deliver = observer.sends, network._deliver

        def noted(node: NodeId, to: NodeId, message: PeerMessage) -> None:
            self._note_message(node, f"{node} > {to}", message)
            sends(node, to, message)

        def noted_arrival(sender: NodeId, to: NodeId, message: PeerMessage) -> None:
            self._note_message(to, f"{to} < {sender}", message)
            deliver(sender, to, message)

        observer.sends = noted  # type: ignore[method-assign]
        network._deliver = noted_arrival

    def _note_message(self, node: NodeId, way: str, message: PeerMessage) -> None:
        heartbeat = isinstance(message, Heartbeat | HeartbeatReply)
        self.note(node, f"{way}  {_message(message)}", heartbeat=heartbeat)

    def _watch_faults(self, run: "Run") -> None:
        acts = run.nemesis._acts
        for fault, act in list(acts.items()):
            acts[fault] = self._noted_fault(fault.value, act)
        heal = run._heal

        def noted_heal() -> None:
            self.note(_NOBODY, "-------  faults end, all heals")
            heal()

        for striker in run.nemesis._strikers:
            if isinstance(striker, LostWrites):
                # Beside the strikes: a node's own events would push it out.
                striker.tell = lambda node, text: self.note(_NOBODY, f"{node}       {text}")
        run._heal = noted_heal  # type: ignore[method-assign]

    def _noted_fault(self, name: str, act: Callable[[], None]) -> Callable[[], None]:
        def noted() -> None:
            self.note(_NOBODY, f"-------  {name}")
            act()

        return noted

    def _stepped(self, node: NodeId, replica: Replica, effects: Effects) -> None:
        for write in effects.writes:
            self.note(node, f"{node}       {_write(write)}")
        if effects.role is not None:
            role = effects.role
            leader = f", follows {role.leader}" if role.leader else ""
            self.note(node, f"{node}       {role.role.value} of term {role.term}{leader}")
        if effects.commit is not None:
            self.note(
                node, f"{node}       commits to {effects.commit} in term {replica.core.term}"
            )


def _moment(now_ns: int) -> str:
    return f"{now_ns // MS_NS / 1_000:9.3f} {now_ns % MS_NS // _NS:03d}"


def _write(write: Write) -> str:
    match write:
        case WriteEntries(number, truncate_to, entries):
            first, last = entries[0], entries[-1]
            cut = "" if truncate_to is None else f", truncating to {truncate_to}"
            return f"writes {first.index}..{last.index} of term {last.term}{cut} (write {number})"
        case ResetLog(number, base):
            return f"begins its log anew behind {base.index} (write {number})"
        case SaveHardState(number, state):
            return f"writes {_text(state)} (write {number})"


def _message(message: PeerMessage) -> str:
    if isinstance(message, AppendRequest):
        entries: Sequence[object] = message.entries
        return (
            f"AppendRequest(term {message.term}, after {message.previous_term}/"
            f"{message.previous_index}, {len(entries)} entries, commit {message.commit})"
        )
    return _text(message)


def _text(value: msgspec.Struct) -> str:
    fields = ", ".join(
        f"{name} {_short(field)}" for name, field in msgspec.structs.asdict(value).items()
    )
    return f"{type(value).__name__}({fields})"


def _short(field: object) -> str:
    text = str(field)
    return text if len(text) <= 40 else f"{text[:37]}..."
