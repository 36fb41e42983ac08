"""Random commands of queue-style groups, about things that mostly exist."""

from collections.abc import Sequence
from random import Random

from raftlog.broker.lease_commands import ReceiveMatching, ReceiveMessages
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.queue_seeks import SeekQueueGroup
from raftlog.broker.queue_subscriptions import By, SubscribeQueueGroup
from raftlog.wire.filters import EVERYTHING, RecordFilter

WANTED = (None, EVERYTHING, RecordFilter(("a",)), RecordFilter((), "x = 1"))


def some_changes(random: Random) -> QueueGroupChanges:
    return QueueGroupChanges(
        lease_ms=random.choice((None, 1_000, 60_000)),
        attempts_max=random.choice((None, 1, 2)),
        retry_ms=random.choice((None, (0,), (5, 50))),
        in_flight_max=random.choice((None, 3, 20)),
        fifo=random.choice((None, None, None, True, False)),
        poison=random.choice((None, 0, 0, 1, 2)),
    )


def some_opening(random: Random, group: str, names: Sequence[str]) -> OpenQueueGroup:
    topics = random.sample(names, random.randrange(3))
    return OpenQueueGroup(group, tuple(topics), some_changes(random), random.random() < 0.2)


def some_subscribing(
    random: Random, machine: BrokerMachine, group: str, names: Sequence[str]
) -> SubscribeQueueGroup:
    by = random.choice((By.CONSUMER, By.CONSUMER, By.CHANGE, By.REPLACE))
    topics = random.sample(names, random.randrange(by == By.REPLACE, 3))
    row = machine.leasing.groups.get(group)
    version = 0 if row is None else machine.leasing.subscriptions.of(row).version
    return SubscribeQueueGroup(
        *(group, tuple(topics)),
        some_changes(random) if random.random() < 0.3 else QueueGroupChanges(),
        *(random.random() < 0.2, random.choice(WANTED)),
        *(max(0, version + random.choice((-1, 0, 1))), by),
    )


def some_receive(
    random: Random, machine: BrokerMachine, group: str
) -> ReceiveMessages | ReceiveMatching:
    """Keys of all there is; and of half of it that it matches, where there is a filter."""
    keys = tuple(
        (number, first, tuple(random.randrange(3) for _ in range(6)))
        for number, queue in machine.queues.table.rows.items()
        for first in range(queue.start_offset, queue.end_offset, 6)
    )
    handles = [row.handle for row in machine.leasing.flights.table.rows.values()]
    known = [handle for handle in handles if handle > 0]
    again = known and random.random() < 0.2
    handle = random.choice(known) if again else random.randrange(1, 1 << 40)
    count, lease_ms = random.randrange(1, 6), random.choice((None, 1_000, 100_000))
    row = machine.leasing.groups.get(group)
    subscription = None if row is None else machine.leasing.subscriptions.of(row)
    if row is None or subscription is None or not subscription.wanted or random.random() < 0.1:
        return ReceiveMessages(group, handle, count, lease_ms, keys)
    stretches = []
    for queue, at in machine.leasing.unread.queues(row):
        first = max(0, at - random.choice((0, 0, 0, 2, -1)))
        end = min(queue.end_offset + random.choice((0, 0, 1)), first + random.randrange(20))
        matching = [offset for offset in range(first, end) if random.random() < 0.5]
        if first <= end:
            stretches.append((queue.number, first, end, tuple(matching)))
    version = subscription.version - (random.random() < 0.1)
    return ReceiveMatching(group, handle, count, lease_ms, keys, version, tuple(stretches))


def some_seek(random: Random, machine: BrokerMachine, group: str) -> SeekQueueGroup:
    """In some queues, mostly of its topics, and mostly to where it can."""
    queues = list(machine.queues.table.rows.values())
    row = machine.leasing.groups.get(group)
    if row is not None and random.random() < 0.9:
        queues = [queue for queue in queues if queue.topic in row.topics] or queues
    chosen = random.sample(queues, min(len(queues), random.randrange(1, 3)))
    offsets = [
        (queue.number, random.randrange(queue.start_offset, queue.end_offset + 1))
        for queue in chosen
    ]
    return SeekQueueGroup(group, tuple(offsets) or ((99, 0),))
