"""Queue-style groups with a filter, and who may say what such a group reads."""

import pytest

from raftlog.base.errors import (
    BadRequest,
    GroupInUse,
    GroupNotFound,
    SubscriptionConflict,
    TopicNotFound,
)
from raftlog.base.ids import Offset
from raftlog.broker.group_commands import DeleteGroup
from raftlog.broker.invariants import check
from raftlog.broker.lease_commands import Leased, ReceiveMatching, ReceiveMessages, Settled
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroup, QueueGroupChanges
from raftlog.broker.queue_subscriptions import By, QueueSubscription, SubscribeQueueGroup
from raftlog.broker.topics import AlterTopic, MoveConsumed, MoveStart, StartMoved, TopicChanges
from raftlog.wire.filters import EVERYTHING, RecordFilter
from raftlog.wire.record_table import key_hash
from tests.broker.leases import GROUP, A, B, C, Queue
from tests.broker.logs import FIRST, Shard

PAID = RecordFilter(("paid",))
OPEN = RecordFilter((), "state = 'open'")
NO_CHANGES = QueueGroupChanges()


class Filtered(Queue):
    """A queue whose group has a filter."""

    def __init__(self, records: int = 8, **changes: object) -> None:
        super().__init__(records, **changes)
        self.say(by=By.REPLACE)

    def say(self, wanted: RecordFilter | None = PAID, by: By = By.CONSUMER, **more: int) -> object:
        command = SubscribeQueueGroup(
            GROUP, ("orders",), NO_CHANGES, wanted=wanted, by=by, version=more.get("version", 0)
        )
        outcome = self(command)
        check(self.machine)
        return outcome

    @property
    def subscription(self) -> QueueSubscription:
        return self.machine.leasing.subscriptions.of(self.row)

    def matching(
        self,
        handle: int,
        count: int,
        *offsets: int,
        first: int = 0,
        end: int = 8,
        keys: tuple[bytes, ...] = (),
        version: int | None = None,
    ) -> list[int]:
        """Return what is leased, where these match from ``first`` to ``end``."""
        told = tuple((FIRST, at, (key_hash(key),)) for at, key in zip(offsets, keys, strict=False))
        at = self.subscription.version if version is None else version
        outcome = self(
            ReceiveMatching(GROUP, handle, count, None, told, at, ((FIRST, first, end, offsets),))
        )
        assert isinstance(outcome, Leased), outcome
        check(self.machine)
        return [offset for _, offset, _ in outcome.messages]

    @property
    def cursor(self) -> int:
        cursor = self.machine.leasing.groups.cursor(self.row, FIRST)
        return -1 if cursor is None else cursor.next


# -- what is leased


def test_what_does_not_match_is_passed_over_and_never_leased() -> None:
    """It is finished for the group, as if it had been acknowledged."""
    queue = Filtered()
    assert queue.matching(A, 2, 1, 4, 6) == [1, 4]
    assert queue.cursor == 6, "at the next that matches: it was not asked for"
    assert queue.matching(B, 5, 6, first=6) == [6]
    assert queue.cursor == 8, "and over what follows it"
    assert queue.subscription.passed == 5
    assert queue.in_flight == 3


def test_a_stretch_without_a_match_is_passed_over() -> None:
    """Else a group whose messages are rare would never come to them."""
    queue = Filtered()
    assert queue.matching(A, 1) == []
    assert (queue.cursor, queue.in_flight, queue.subscription.passed) == (8, 0, 8)


def test_nothing_is_leased_of_what_was_not_told() -> None:
    """It is not known whether it matches: a leader that has not looked leases nothing new."""
    queue = Filtered()
    assert queue.lease(A, 5) == []
    assert queue.matching(A, 5, 3, end=4) == [3]
    assert queue.matching(B, 5, 7, first=5) == [], "4 lies between: nobody has looked at it"
    assert queue.cursor == 4


def test_what_is_told_of_another_version_does_not_count() -> None:
    """The filter was changed after the leader had looked: what it found is not what is wanted."""
    queue = Filtered()
    before = queue.subscription.version
    queue.say(OPEN, By.REPLACE)
    assert queue.matching(A, 5, 1, 4, version=before) == []
    assert queue.cursor == 0, "nothing is passed over by a filter that does not hold"
    assert queue.matching(A, 5, 2) == [2]


def test_a_leader_that_looked_before_another_one_leased_does_no_harm() -> None:
    """What it tells is true still: it begins at the cursor."""
    queue = Filtered()
    assert queue.matching(A, 1, 1, 4, 6) == [1]
    assert queue.matching(B, 1, 1, 4, 6) == [4]
    assert queue.matching(C, 9, 1, 4, 6) == [6]


def test_asked_again_it_is_the_same_messages() -> None:
    """Whatever is told the second time."""
    queue = Filtered()
    assert queue.matching(A, 2, 1, 4) == queue.matching(A, 2, 5, 6, first=5) == [1, 4]
    assert queue.lease(A, 2) == [1, 4]


def test_what_was_leased_comes_again_whatever_the_filter_is_by_then() -> None:
    """It is in flight: to drop it would be to lose it in the middle of an attempt."""
    queue = Filtered(retry_ms=(0,))
    assert queue.matching(A, 1, 1) == [1]
    queue.say(OPEN, By.REPLACE)
    queue.give(A, 1)
    assert queue.lease(B, 1) == [1]


def test_in_order_by_key_what_does_not_match_stands_in_nobody_s_way() -> None:
    """1 and 4 are of one key, and so is 2, which is not wanted."""
    queue = Filtered(fifo=True)
    keys = (b"a", b"a", b"b")
    assert queue.matching(A, 5, 1, 4, 6, keys=keys) == [1, 6]
    assert queue.state_of(2) is None
    queue.ack(A, 1)
    assert queue.lease(B, 5) == [4]


def test_in_order_by_key_a_match_whose_key_is_not_told_ends_what_is_leased() -> None:
    """It could be of a key that is in flight."""
    queue = Filtered(fifo=True)
    assert queue.matching(A, 5, 1, 4, keys=(b"a",)) == [1]
    assert queue.cursor == 4


def test_no_more_are_in_flight_than_may_be() -> None:
    """What is passed over needs no room."""
    queue = Filtered(in_flight_max=2)
    assert queue.matching(A, 5, 1, 4, 6) == [1, 4]
    assert (queue.cursor, queue.in_flight) == (6, 2)


def test_what_is_passed_over_counts_as_consumed() -> None:
    """Else retention until consumed would keep for ever what nobody wants."""
    queue = Filtered()
    queue(AlterTopic("orders", TopicChanges(until_consumed=True)))
    assert queue.matching(A, 1, 5) == [5]
    assert queue(MoveConsumed(FIRST, 8)) == StartMoved(Offset(5))
    queue.ack(A, 5)
    assert queue(MoveConsumed(FIRST, 8)) == StartMoved(Offset(8))


def test_retention_may_be_faster_than_who_looks() -> None:
    """What was told of what is gone is passed by."""
    queue = Filtered()
    queue(MoveStart(FIRST, 3))
    assert queue.matching(A, 5, 1, 4) == [4]
    assert (queue.row.expired, queue.subscription.passed) == (3, 4)


def test_an_acknowledgement_of_what_was_passed_over_changes_nothing() -> None:
    """It is finished already, and nobody else ever had it."""
    queue = Filtered()
    queue.matching(A, 1, 5)
    assert queue.ack(A, 2) == Settled()


# -- who may say what it reads


def test_who_expects_something_else_is_refused_and_shown_both() -> None:
    """Two that disagree would each get what the other one wants."""
    queue = Queue()
    queue(DeleteGroup(GROUP))
    queue(SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES, wanted=PAID))
    assert isinstance(
        queue(SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES, wanted=PAID)), QueueGroup
    )
    assert isinstance(queue(SubscribeQueueGroup(GROUP, (), NO_CHANGES)), QueueGroup)
    error = queue(SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES))
    assert isinstance(error, SubscriptionConflict)
    assert "reads orders (tags paid), version 1" in str(error)
    assert "wants orders (no filter)" in str(error)
    assert "above 1" in str(error)


def test_settings_are_a_part_of_it() -> None:
    """Else who comes last has said how long the leases of the others are."""
    queue = Queue(lease_ms=5_000)
    longer = QueueGroupChanges(lease_ms=9_000)
    error = queue(SubscribeQueueGroup(GROUP, ("orders",), longer))
    assert isinstance(error, SubscriptionConflict)
    assert "lease_ms 5000" in str(error)
    assert "lease_ms 9000" in str(error)
    same = QueueGroupChanges(lease_ms=5_000)
    assert isinstance(queue(SubscribeQueueGroup(GROUP, ("orders",), same)), QueueGroup)


def test_topics_are_not_added_by_who_consumes() -> None:
    """Nor left out."""
    queue = Queue()
    queue.topic("bills")
    for topics in (("orders", "bills"), ("bills",)):
        assert (
            queue.refusal(SubscribeQueueGroup(GROUP, topics, NO_CHANGES)) is SubscriptionConflict
        )
    assert queue.row.topics == ("orders",)


def test_a_higher_version_replaces_it_for_all() -> None:
    """As a new version of a program says it; the one before is refused from then on."""
    queue = Queue()
    queue(DeleteGroup(GROUP))
    queue(SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES, wanted=PAID))
    newer = SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES, wanted=OPEN, version=2)
    for _ in range(2):
        assert isinstance(queue(newer), QueueGroup)
    row = queue.machine.leasing.subscriptions.of(queue.row)
    assert (row.wanted, row.version, row.by_hand) == (OPEN, 2, False)
    for version in (0, 1, 2):
        older = SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES, wanted=PAID, version=version)
        assert queue.refusal(older) is SubscriptionConflict


def test_what_was_said_by_hand_stays_until_it_is_changed_by_hand() -> None:
    """As with groups that have members."""
    queue = Filtered()
    assert queue.subscription.by_hand
    assert (
        queue.refusal(SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES, wanted=OPEN, version=99))
        is SubscriptionConflict
    )
    version = queue.subscription.version
    assert (
        queue.refusal(
            SubscribeQueueGroup(
                GROUP, ("orders",), NO_CHANGES, wanted=OPEN, version=version + 1, by=By.REPLACE
            )
        )
        is SubscriptionConflict
    ), "another version is to be replaced than there is"
    queue.say(OPEN, By.REPLACE, version=version)
    assert queue.subscription.version == version + 1
    queue.say(OPEN, By.REPLACE, version=version)
    assert queue.subscription.version == version + 1, "asked again, nothing changes"


def test_by_hand_what_is_named_is_changed_and_the_rest_stays() -> None:
    """``queue-group open`` of an administrator."""
    queue = Filtered()
    queue.topic("bills")
    queue(SubscribeQueueGroup(GROUP, ("bills",), NO_CHANGES, by=By.CHANGE))
    assert queue.row.topics == ("bills", "orders")
    assert queue.subscription.wanted == PAID
    queue(SubscribeQueueGroup(GROUP, (), QueueGroupChanges(lease_ms=7_000), by=By.CHANGE))
    queue(SubscribeQueueGroup(GROUP, (), NO_CHANGES, wanted=EVERYTHING, by=By.CHANGE))
    assert (queue.row.settings.lease_ms, queue.subscription.wanted) == (7_000, EVERYTHING)
    assert queue.subscription.version == 4


def test_a_topic_that_is_read_no_more_holds_nothing() -> None:
    """What is in flight of it is; where the group was there stays, for when it comes back."""
    queue = Queue()
    queue.topic("bills")
    queue.lease(A, 2)
    queue(AlterTopic("orders", TopicChanges(until_consumed=True)))
    queue(SubscribeQueueGroup(GROUP, ("bills",), NO_CHANGES, by=By.REPLACE))
    assert queue.lease(B, 9) == []
    assert queue.machine.leasing.finished_through("orders", FIRST) == 0
    queue.ack(A, 0, 1)
    assert queue.machine.leasing.finished_through("orders", FIRST) is None
    queue(SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES, by=By.REPLACE))
    assert queue.lease(B, 9) == [2, 3, 4]


def test_what_can_not_be_is_refused() -> None:
    """Each with its own error, and nothing is changed."""
    queue = Filtered(fifo=True)
    queue.matching(A, 1, 1, keys=(b"a",))
    cases = {
        GroupInUse: (GROUP, (), QueueGroupChanges(fifo=False)),
        GroupNotFound: ("other", ("orders",), NO_CHANGES),
        TopicNotFound: (GROUP, ("nothing",), NO_CHANGES),
    }
    for error, (group, topics, changes) in cases.items():
        by = By.REPLACE if error is not GroupInUse else By.CHANGE
        assert queue.refusal(SubscribeQueueGroup(group, topics, changes, by=by)) is error
    with pytest.raises(BadRequest, match="no topic"):
        SubscribeQueueGroup(GROUP, (), NO_CHANGES, by=By.REPLACE)


def test_a_deleted_group_begins_anew() -> None:
    """With the first version of what it reads."""
    queue = Filtered()
    queue(DeleteGroup(GROUP))
    queue(SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES))
    assert queue.subscription.version == 1
    assert not queue.subscription.wanted
    assert len(queue.machine.leasing.subscriptions.table) == 1


# -- levels


def test_a_group_of_level_3_has_a_subscription_without_a_version() -> None:
    """It was never said: who agrees with what it reads is let in, and a version replaces it."""
    shard = Shard(3)
    shard.topic("orders")
    shard(OpenQueueGroup(GROUP, ("orders",), NO_CHANGES))
    assert shard.refusal(SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES)) is BadRequest
    assert shard.machine.leasing.subscriptions.table.rows == {}
    shard.level = 4
    assert isinstance(shard(SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES)), QueueGroup)
    filtered = SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES, wanted=PAID)
    assert shard.refusal(filtered) is SubscriptionConflict
    newer = SubscribeQueueGroup(GROUP, ("orders",), NO_CHANGES, wanted=PAID, version=1)
    assert isinstance(shard(newer), QueueGroup)
    assert isinstance(shard(ReceiveMessages(GROUP, A, 1)), Leased)
