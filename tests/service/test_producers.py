"""Producers: ids are unique, and what became of an epoch is told by a commit."""

from raftlog.base.errors import BadRequest, Fenced, RaftlogError, WrongQueue
from raftlog.broker.producers import ProducerBegun, ProducerFenced
from raftlog.service.producers import ProducerService
from tests.service.test_produce import World


def fence(world: World, producer: int, epoch: int, queue: int) -> ProducerFenced | RaftlogError:
    answers: list[ProducerFenced | RaftlogError] = []
    world.producers.fence(queue, producer, epoch, answers.append)
    world.replica.commit()
    (answer,) = answers
    return answer


def test_every_producer_gets_an_id_of_its_own() -> None:
    """Also those that begin with one entry."""
    world = World()
    answers: list[ProducerBegun | RaftlogError] = []
    service = ProducerService(world.replica)
    for _ in range(3):
        service.init(answers.append)
    world.replica.commit()
    ids = {answer.producer for answer in answers if isinstance(answer, ProducerBegun)}
    assert len(ids) == 3
    assert 0 not in ids


def test_a_fence_tells_how_far_the_epoch_before_had_come() -> None:
    """That is what ``resolve`` answers with: the receipt, or not stored (ruling 10)."""
    world = World()
    producer = world.begin()
    world.send(producer, 0, count=2)
    world.send(producer, 2)
    first = fence(world, producer, 1, world.queue)
    assert isinstance(first, ProducerFenced)
    assert first.next_sequence == 3
    assert [(batch.base_sequence, batch.base_offset) for batch in first.remembered] == [
        *((0, 0), (2, 2))
    ]
    assert fence(world, producer, 1, world.queue) == first


def test_a_fence_of_an_old_epoch_is_fenced_itself() -> None:
    """Two that resolve at once: the later epoch wins."""
    world = World()
    producer = world.begin()
    world.send(producer, 0)
    fence(world, producer, 2, world.queue)
    assert isinstance(fence(world, producer, 1, world.queue), Fenced)


def test_a_fence_in_a_queue_that_does_not_exist_is_refused() -> None:
    """There is nothing to keep out."""
    world = World()
    assert isinstance(fence(world, world.begin(), 1, 77), WrongQueue)


def test_a_fence_out_of_bounds_is_refused_before_it_is_proposed() -> None:
    """Producer 0 is nobody."""
    world = World()
    answers: list[ProducerFenced | RaftlogError] = []
    world.producers.fence(world.queue, 0, 1, answers.append)
    assert [type(answer) for answer in answers] == [BadRequest]
    assert world.replica.proposed == 0
