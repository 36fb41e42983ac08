"""Quotas are configuration in the log; what is consumed by all groups may go (rulings 25, 29)."""

import pytest

from raftlog.base.errors import BadName, BadRequest, LimitReached, TopicNotFound, WrongQueue
from raftlog.broker import quotas
from raftlog.broker.claims import ClaimQueue, CommitOffsets
from raftlog.broker.codec import write_command
from raftlog.broker.group_commands import (
    Assignment,
    DeleteGroup,
    JoinGroup,
    LeaveGroup,
)
from raftlog.broker.quotas import ANY_CLIENT, Quota, QuotaRemoved, RemoveQuota, SetQuota
from raftlog.broker.topics import (
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    MoveConsumed,
    StartMoved,
    TopicChanges,
)
from tests.broker.logs import Shard, sent


def test_a_quota_is_set_replaced_and_removed() -> None:
    """Asked again after a lost answer, each has the outcome that it had."""
    shard = Shard()
    for _ in range(2):
        assert shard(SetQuota("client", "job", 1_000)) == Quota("client", "job", 1_000, 0)
    assert shard(SetQuota("client", "job", 0, 5)) == Quota("client", "job", 0, 5)
    assert len(shard.machine.state.quotas.table) == 1
    for _ in range(2):
        assert shard(RemoveQuota("client", "job")) == QuotaRemoved()
    assert len(shard.machine.state.quotas.table) == 0


def test_a_client_s_own_quota_goes_before_that_of_any_client() -> None:
    """The star is for who has none."""
    shard = Shard()
    shard.all_of(SetQuota("client", ANY_CLIENT, 10), SetQuota("client", "job", 1_000))
    of_client = shard.machine.state.quotas.of_client
    assert [of_client(name) for name in ("job", "other")] == [
        Quota("client", "job", 1_000, 0),
        Quota("client", ANY_CLIENT, 10, 0),
    ]


def test_a_topic_s_quota_needs_the_topic_and_goes_with_it() -> None:
    """A topic that is made again is another one."""
    shard = Shard()
    assert shard.refusal(SetQuota("topic", "orders", 10)) is TopicNotFound
    shard.topic("orders")
    shard(SetQuota("topic", "orders", 10))
    shard(DeleteTopic("orders"))
    assert shard.machine.state.quotas.of_topic("orders") is None


def test_what_is_no_quota_never_reaches_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing bounded, a name that nobody has, too many."""
    with pytest.raises(BadRequest, match="bounds"):
        write_command(SetQuota("client", "job"))
    with pytest.raises(BadName):
        write_command(SetQuota("topic", "*", 5))
    monkeypatch.setattr(quotas, "QUOTAS_MAX", 1)
    shard = Shard()
    shard(SetQuota("client", "job", 5))
    assert shard.refusal(SetQuota("client", "other", 5)) is LimitReached
    assert shard(SetQuota("client", "job", 6)) == Quota("client", "job", 6, 0)


# -- until consumed


def consuming() -> tuple[Shard, int]:
    """Return a shard with a topic of ten records that are kept until they are consumed."""
    shard = Shard()
    (queue,) = shard(CreateTopic("orders", TopicChanges(queues=1, until_consumed=True))).queues  # type: ignore[attr-defined]
    shard(sent(queue, 0, 0, 10))
    return shard, queue


def commit(shard: Shard, group: str, queue: int, offset: int) -> None:
    """Join a group, claim the queue and commit an offset."""
    joined = shard(JoinGroup(group, "m", ("orders",), 1_000))
    assert isinstance(joined, Assignment)
    shard(ClaimQueue(group, queue, joined.generation, "m"))
    shard(CommitOffsets(group, "m", joined.generation, ((queue, offset),)))


def test_what_every_group_has_committed_may_go_and_no_more() -> None:
    """Whatever the leader asks for, apply looks at the groups as they are at its entry."""
    shard, queue = consuming()
    commit(shard, "a", queue, 7)
    commit(shard, "b", queue, 4)
    assert shard(MoveConsumed(queue, 9)) == StartMoved(4)
    commit(shard, "b", queue, 10)
    assert shard(MoveConsumed(queue, 6)) == StartMoved(6)
    assert shard(MoveConsumed(queue, 3)) == StartMoved(6)


def test_a_group_that_came_and_committed_nothing_holds_everything() -> None:
    """It came between the leader's look and the entry: its records are still there."""
    shard, queue = consuming()
    assert shard(MoveConsumed(queue, 9)) == StartMoved(0), "nobody has read anything"
    commit(shard, "a", queue, 7)
    shard(JoinGroup("b", "m", ("orders",), 1_000))
    assert shard(MoveConsumed(queue, 9)) == StartMoved(0)
    shard(LeaveGroup("b", "m"))
    shard(DeleteGroup("b"))
    assert shard(MoveConsumed(queue, 9)) == StartMoved(7)


def test_a_group_without_members_still_holds_what_it_has_not_read() -> None:
    """It is registered by its claims; whoever wants its records gone deletes it."""
    shard, queue = consuming()
    commit(shard, "a", queue, 7)
    commit(shard, "b", queue, 2)
    shard(LeaveGroup("b", "m"))
    assert shard(MoveConsumed(queue, 9)) == StartMoved(2)


def test_other_topics_keep_their_records_as_before() -> None:
    """A late command after the setting was taken away changes nothing."""
    shard, queue = consuming()
    commit(shard, "a", queue, 7)
    shard(AlterTopic("orders", TopicChanges(until_consumed=False)))
    assert shard(MoveConsumed(queue, 9)) == StartMoved(0)
    assert shard.refusal(MoveConsumed(99, 9)) is WrongQueue


def test_until_consumed_needs_a_bound() -> None:
    """A dead group would fill the disks (ruling 29)."""
    shard = Shard()
    endless = TopicChanges(retention_ms=0, until_consumed=True)
    assert shard.refusal(CreateTopic("orders", endless)) is BadRequest
    shard(CreateTopic("orders", TopicChanges(until_consumed=True)))
    assert shard.refusal(AlterTopic("orders", TopicChanges(retention_ms=0))) is BadRequest
    bytes_alone = TopicChanges(retention_ms=0, retention_bytes=5)
    assert shard(AlterTopic("orders", bytes_alone)) is not None
