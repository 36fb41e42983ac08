"""What processes say to each other first, and whom the real gate turns away (ruling 16).

Only in runs in which a directory may be older than its promises: elsewhere no hello is ever
refused. Each process has a gate, which forgets with it; a process says hello to another one
before its first message, and what it acknowledges later is remembered, too.
"""

from typing import Final

from chaos.sim.process import Machine, Process
from raftlog.base.ids import ClusterId, NodeId, ShardId
from raftlog.raft.rpcs import AppendAccepted, PeerMessage
from raftlog.transport.gate import PEERS, Gate
from raftlog.wire.greeting import Promise, Sender, peer_hello
from raftlog.wire.schema import hello

_SHARD: Final = ShardId(0)


class _Door:
    """The gate of one process, and which processes it has let in."""

    def __init__(self, process: Process, gate: Gate) -> None:
        self.process = process
        self.gate = gate
        self.said: dict[int, hello.Hello] = {}
        """The hello of each process that it has let in."""


class Hellos:
    """The gates of all processes of one run."""

    def __init__(self, cluster: ClusterId) -> None:
        self._cluster = cluster
        self._doors: dict[NodeId, _Door] = {}

    def admit(self, sender: Machine, receiver: Machine, message: PeerMessage) -> None:
        """Let a message in, behind a hello if it is the first of its process.

        Raises:
            RolledBack: Its sender's directory is older than its promises.
        """
        door = self._door_of(receiver)
        speaks = sender.process
        if door is None or speaks is None:  # an ended process said hello before its last words
            return
        gate = door.gate
        gate.follow((door.process.replica.membership,))
        said = door.said.get(speaks.run)
        if said is None:
            said = self._hello(sender, speaks, receiver)
            gate.admit(said, PEERS)
            door.said[speaks.run] = said
        if sender.id not in gate.promised:
            gate.remember(sender.id, said)
        if isinstance(message, AppendAccepted):
            gate.note_unit(sender.id, _SHARD, message.unit)

    def _door_of(self, receiver: Machine) -> _Door | None:
        process = receiver.process
        if process is None:
            return None
        door = self._doors.get(receiver.node)
        if door is None or door.process is not process:
            door = self._doors[receiver.node] = _Door(process, Gate(self._cluster, receiver.id))
        return door

    def _hello(self, sender: Machine, speaks: Process, receiver: Machine) -> hello.Hello:
        said = peer_hello(
            Sender(self._cluster, sender.id, speaks.run),
            hello.PURPOSE_CONTROL,
            (receiver.id.node, receiver.id.directory),
            (Promise(_SHARD, *speaks.replica.store.durable_promises),),
        )
        return hello.Hello.FromString(said)
