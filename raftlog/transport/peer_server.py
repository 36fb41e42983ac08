"""The address that peers connect to: their messages, as their hello proved them.

Messages are one-way; nothing is ever answered here. Replies travel over this
node's own link to the peer (links.py).
"""

from collections.abc import Callable
from typing import Final

from raftlog.base.ids import ReplicaId, ShardId
from raftlog.raft.rpcs import AppendAccepted, PeerMessage
from raftlog.transport.gate import PEERS, Gate
from raftlog.transport.listener import AcceptedConnection, Listener, ListenerLimits
from raftlog.transport.peer_codec import decode_message
from raftlog.wire.frame import BULK_METHODS, Frame

OnMessage = Callable[[ReplicaId, ShardId, PeerMessage], None]
"""Called on the loop for each message."""

OnHeard = Callable[[ReplicaId, ShardId], None]
"""Called on the loop when bytes of entries arrive that are no whole message yet (ruling 32)."""


class _PeerConnection(AcceptedConnection):
    """What one peer sends, on one of its two connections."""

    def __init__(self, server: "PeerServer") -> None:
        super().__init__(server)
        self._server = server

    def proven_frame_received(self, frame: Frame) -> None:
        """Pass a message on."""
        assert self.sender is not None, "a peer without a name"
        assert self.said is not None, "a peer without a hello"
        gate = self._server.gate
        if self.sender not in gate.promised:
            gate.remember(self.sender, self.said)
        message = decode_message(frame)
        shard = ShardId(frame.shard)
        if isinstance(message, AppendAccepted):
            gate.note_unit(self.sender, shard, message.unit)
        self._server.messages += 1
        self._server.on_message(self.sender, shard, message)

    def partial_received(self) -> None:
        """Pass on that entries are arriving."""
        if self.decoder.partial_method in BULK_METHODS and self.sender is not None:
            self._server.on_heard(self.sender, ShardId(self.decoder.partial_shard))


class PeerServer(Listener):
    """Accepts the connections of peers."""

    def __init__(
        self,
        gate: Gate,
        on_message: OnMessage,
        on_heard: OnHeard,
        *,
        limits: ListenerLimits | None = None,
    ) -> None:
        super().__init__(gate, PEERS, limits or ListenerLimits())
        self.on_message: Final = on_message
        self.on_heard: Final = on_heard
        self.messages = 0

    def accept(self) -> AcceptedConnection:
        """Return the protocol of a new connection."""
        return _PeerConnection(self)
