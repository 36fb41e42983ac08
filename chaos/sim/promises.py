"""A promise against the bytes: what would the node remember if the power failed now?

The observer's cheap check believes that a performed plan is durable. This one
believes nothing: it copies the disk, loses everything that was not synced,
recovers with the real code, and looks for what the message promises.
"""

from random import Random

from chaos.check.promises_durable import NAME, DurableState, check_promise
from chaos.check.violation import Violation
from chaos.sim.disk import CrashKind, SimDisk
from raftlog.base.errors import DamagedLog
from raftlog.base.ids import NodeId
from raftlog.raft.rpcs import AppendAccepted, PeerMessage, VoteReply
from raftlog.storage.log_store import LogStore, StoreOptions


def check_disk_behind(
    disk: SimDisk,
    shard: str,
    options: StoreOptions,
    message: PeerMessage,
    sender: NodeId,
    durable: DurableState,
) -> None:
    """Check one promise by recovering a copy of the sender's disk.

    Raises:
        Violation: The recovered node would not remember what ``message`` says.
    """
    if not isinstance(message, VoteReply | AppendAccepted):
        return
    copy = disk.fork()
    copy.crash(Random(0), CrashKind.LOSE)
    try:
        store = LogStore.open(copy.files(), shard, options)
    except DamagedLog:
        return  # damage that was done on purpose; the node would stop, not forget
    state = DurableState(store.hard_state, durable.log)
    if isinstance(message, VoteReply) and message.granted:
        vote = durable.votes.get(message.term)
        if vote is not None and store.hard_state.term == message.term:
            check_promise(sender, vote, message, state, None)
        if store.hard_state.term < message.term:
            raise Violation(NAME, f"{sender} votes in {message.term}; disk: {store.hard_state}")
    if isinstance(message, AppendAccepted) and store.end.index < message.matched:
        raise Violation(
            NAME,
            f"{sender} acknowledges {message.matched}; after a power cut its log would end at "
            f"{store.end.index}",
        )
