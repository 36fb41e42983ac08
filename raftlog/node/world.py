"""What one replica is given: its ports, and how it is to behave."""

from random import Random

import msgspec

from raftlog.base.limits import PENDING_PROPOSALS_MAX
from raftlog.node.ports import Peers, Reader, Scheduler, Writer
from raftlog.node.space import NodeSpace
from raftlog.raft.config import CoreConfig


class World(msgspec.Struct, frozen=True):
    """The ports of one replica."""

    scheduler: Scheduler
    writer: Writer
    reader: Reader
    peers: Peers
    random: Random
    space: NodeSpace = msgspec.field(default_factory=NodeSpace)


class ReplicaOptions(msgspec.Struct, frozen=True):
    """How a replica behaves, apart from Raft itself."""

    core: CoreConfig = CoreConfig()
    coalesce: bool = True
    """Whether commands share entries; without it each command has an index of its own."""
    pending_max: int = PENDING_PROPOSALS_MAX
    """Commands that may wait for their outcome; beyond it they are refused as throttled."""
