"""Hello: what two processes must agree on before anything else is said.

A hello names the cluster, the sender with its directory, and whom the sender
believes it talks to. It is refused with a typed error, as a frame, before the
connection closes, so that the other side can say what is wrong.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from raftlog.base.errors import PeerRefused, ProtocolError, WrongCluster, WrongIdentity
from raftlog.base.ids import ClusterId, NodeId, ReplicaId, ShardId
from raftlog.wire.frame import (
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    Flag,
    Frame,
    Method,
    encode_frame,
)
from raftlog.wire.requests import parse_header
from raftlog.wire.schema import hello
from raftlog.wire.status import decode_error, encode_error

REFUSED: Final = int(Flag.REPLY | Flag.ERROR)


class Promise(msgspec.Struct, frozen=True, gc=False):
    """How far a replica's durable promises go: its hard state's sequence, its last unit."""

    shard: ShardId
    hard_state_sequence: int
    unit: int


class Sender(msgspec.Struct, frozen=True):
    """Who says hello to a peer.

    ``incarnation`` is drawn when the process starts; ``feature_level`` is the highest that it
    can apply (ruling 15), 0 if that is not said.
    """

    cluster: ClusterId
    replica: ReplicaId
    incarnation: int
    feature_level: int = 0


def peer_hello(
    sender: Sender,
    purpose: "hello.Purpose.ValueType",
    target: tuple[NodeId, str],
    promises: Sequence[Promise],
) -> bytes:
    """Return the hello of a replica to ``target``: a node and its directory ("" if unknown)."""
    return hello.Hello(
        magic=PROTOCOL_MAGIC,
        protocol=PROTOCOL_VERSION,
        purpose=purpose,
        cluster=sender.cluster,
        node=sender.replica.node,
        directory=sender.replica.directory,
        target_node=target[0],
        target_directory=target[1],
        incarnation=sender.incarnation,
        feature_level=sender.feature_level,
        promises=[
            hello.Promises(
                shard=promise.shard,
                hard_state_sequence=promise.hard_state_sequence,
                unit=promise.unit,
            )
            for promise in promises
        ],
    ).SerializeToString()


def client_hello(cluster: str = "") -> bytes:
    """Return the hello of a client, which takes any cluster if it names none."""
    return hello.Hello(
        magic=PROTOCOL_MAGIC,
        protocol=PROTOCOL_VERSION,
        purpose=hello.PURPOSE_CLIENT,
        cluster=cluster,
    ).SerializeToString()


def hello_frame(header: bytes) -> bytes:
    """Return the first frame of a connection."""
    return b"".join(encode_frame(Method.HELLO, header))


def accepted_frame(cluster: ClusterId, replica: ReplicaId) -> bytes:
    """Return the answer to a hello that is accepted by ``replica``."""
    answer = hello.HelloAccepted(
        protocol=PROTOCOL_VERSION,
        cluster=cluster,
        node=replica.node,
        directory=replica.directory,
    )
    header = answer.SerializeToString()
    return b"".join(encode_frame(Method.HELLO, header, flags=Flag.REPLY))


def refusal_frame(error: PeerRefused) -> bytes:
    """Return the last frame of a connection that is refused."""
    return b"".join(encode_frame(Method.HELLO, encode_error(error), flags=REFUSED))


def read_answer(
    frame: Frame, cluster: str = "", target: tuple[NodeId, str] | None = None
) -> hello.HelloAccepted:
    """Return the other side's acceptance, if it is who was meant.

    Raises:
        PeerRefused: It refused, or is somebody else.
        RaftlogError: It refused for another reason (too many connections).
    """
    if frame.method != Method.HELLO or not frame.flags & Flag.REPLY:
        raise ProtocolError(f"the answer to a hello has method {frame.method}")
    if frame.flags & Flag.ERROR:
        raise decode_error(frame.header)
    answer = parse_header(hello.HelloAccepted, frame.header)
    if cluster and answer.cluster != cluster:
        raise WrongCluster(f"that is cluster {answer.cluster!r}, not {cluster!r}")
    if target is not None and not _is_target(answer, target):
        raise WrongIdentity(
            f"that is {answer.node}/{answer.directory[:8]}, not {target[0]}/{target[1][:8]}; "
            "correct the addresses, or see whether its directory was replaced"
        )
    return answer


def _is_target(answer: hello.HelloAccepted, target: tuple[NodeId, str]) -> bool:
    return answer.node == target[0] and target[1] in ("", answer.directory)
