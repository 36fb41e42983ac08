"""Random transactions for histories: mostly good ones, of the producers that a machine knows."""

from collections.abc import Iterable, Sequence
from random import Random

from raftlog.broker.claims import CommitOffsets
from raftlog.broker.commands import Command
from raftlog.broker.hidden import Holder
from raftlog.broker.lease_commands import AckMessages
from raftlog.broker.machine import BrokerMachine
from raftlog.wire.batch import Producer
from tests.broker.logs import atomic, staged


def some_atomic(
    random: Random,
    machine: BrokerMachine,
    producer: int,
    queues: Iterable[int],
    offsets: Sequence[CommitOffsets],
    acks: Sequence[AckMessages],
) -> Command:
    """One or two queues, mostly in sequence; sometimes again, sometimes with what was read."""
    parts = []
    for queue in queues:
        row = machine.producers.table.get((queue, producer))
        epoch, sequence, count = 1, 0, random.randrange(1, 4)
        if row is not None:
            epoch, sequence = row.epoch, row.next_sequence
            if row.remembered and random.random() < 0.3:
                again = random.choice(row.remembered)
                sequence, count = again.base_sequence, again.count
        parts.append((queue, Producer(producer, epoch, sequence), count))
    return atomic(*parts, offsets=offsets, acks=acks)


def some_stage(random: Random, machine: BrokerMachine, producer: int, queue: int) -> Command:
    """Mostly the next batch of its producer; sometimes one that was stored before."""
    row = machine.producers.table.get((queue, producer))
    if row is None:
        return staged(queue, Producer(producer, 1, random.choice((0, 0, 0, 1))))
    if row.remembered and random.random() < 0.3:
        again = random.choice(row.remembered)
        return staged(queue, Producer(producer, row.epoch, again.base_sequence), again.count)
    epoch = max(0, row.epoch + random.choice((0, 0, 0, 0, -1, 1)))
    return staged(queue, Producer(producer, epoch, row.next_sequence), random.randrange(1, 4))


def some_commit(random: Random, machine: BrokerMachine, producer: int) -> Command | None:
    """What a producer has staged, in one queue or more; sometimes a part of that."""
    parts, names = [], []
    for row in machine.producers.table.rows.values():
        hidden = [machine.hidden.get((row.queue, each.hidden_id)) for each in row.remembered]
        held = [each.id for each in hidden if each is not None and each.holder == Holder.STAGED]
        if row.producer == producer and (held or random.random() < 0.2):
            by = Producer(producer, row.epoch, row.next_sequence)
            parts.append((row.queue, by, random.randrange(1, 3)))
            names += [(row.queue, id_) for id_ in held[random.choice((0, 0, 0, -1)) :]]
    return atomic(*parts, staged=names) if parts else None
