"""Requests about topics, producers and groups: each field arrives, each answer fits a frame."""

from typing import TypeVar

import pytest
from google.protobuf.message import Message

from raftlog.base.errors import (
    BadRequest,
    Fenced,
    GroupNotFound,
    LimitReached,
    RaftlogError,
    TopicNotFound,
)
from raftlog.base.ids import Index, Offset
from raftlog.base.limits import (
    FRAME_HEADER_BYTES_MAX,
    NAME_CHARACTERS_MAX,
    OFFSETS_PER_COMMAND_MAX,
    TOPIC_QUEUES_MAX,
)
from raftlog.broker.topics import Topic, TopicSettings
from raftlog.service import topic_handlers
from raftlog.service.answers import ROW_OVERHEAD_BYTES, ROWS_BYTES_MAX, that_fit
from raftlog.service.footprint import LogHold
from raftlog.service.topics import QueueEnds, TopicState
from raftlog.wire.batch import Producer, encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.requests import EXCHANGES
from raftlog.wire.schema import client, groups, producers, topics
from tests.service.test_handlers import FakeRequest, served

M = TypeVar("M", bound=Message)


class World:
    """A shard behind its handlers; a request is committed and confirmed at once."""

    def __init__(self) -> None:
        self.shard, self.handlers, _ = served()

    def ask(
        self, method: Method, message: Message, payload: bytes = b""
    ) -> Message | RaftlogError:
        """Ask; return the one answer."""
        exchange = EXCHANGES[method]
        assert isinstance(message, exchange.request)
        request = FakeRequest(message, payload)
        self.handlers.by_method[method](request)
        if self.shard.replica.proposed:
            self.shard.replica.commit()
        self.shard.replica.confirm()
        if self.shard.replica.proposed:  # it was looked at before it was proposed
            self.shard.replica.commit()
        (answer,) = request.answers
        assert isinstance(answer, exchange.reply | RaftlogError)
        return answer

    def get(self, method: Method, message: Message, kind: type[M], payload: bytes = b"") -> M:
        """Ask; return the answer, which is no error."""
        answer = self.ask(method, message, payload)
        assert isinstance(answer, kind), answer
        return answer

    def create(self, name: str, queues: int = 2) -> list[int]:
        """Make a topic; return its queues."""
        asked = topics.CreateTopic(name=name, settings=topics.TopicSettings(queues=queues))
        made = self.get(Method.TOPIC_CREATE, asked, topics.TopicDescription)
        return [row.queue for row in made.queues]

    def append(self, queue: int, producer: Producer) -> Message | RaftlogError:
        """Append a record of a producer."""
        batch = encode_columns([b"v"], timestamp_ms=5, producer=producer)
        return self.ask(Method.APPEND, client.AppendBatch(queue=queue), batch)

    def join(self, member: str, *names: str) -> groups.GroupAssignment:
        """Join the group ``billing``."""
        asked = groups.JoinGroup(
            group="billing", member=member, topics=names, session_ms=10_000, client="test"
        )
        return self.get(Method.GROUP_JOIN, asked, groups.GroupAssignment)


@pytest.fixture
def world() -> World:
    return World()


def test_settings_that_are_not_set_take_their_defaults_and_stay(world: World) -> None:
    """0 is a setting: for ever, no bound, not readable."""
    settings = topics.TopicSettings(queues=1, retention_ms=0, readable=False)
    asked = topics.CreateTopic(name="orders", settings=settings)
    made = world.get(Method.TOPIC_CREATE, asked, topics.TopicDescription)
    assert (made.name, made.settings.queues, made.settings.retention_ms) == ("orders", 1, 0)
    assert (made.settings.readable, made.settings.writable) == (False, True)
    altered = world.get(
        Method.TOPIC_ALTER,
        topics.AlterTopic(name="orders", settings=topics.TopicSettings(retention_bytes=9)),
        topics.TopicDescription,
    )
    expected = topics.TopicSettings()
    expected.CopyFrom(made.settings)
    expected.retention_bytes = 9
    assert altered.settings == expected


def test_topics_are_described_listed_and_deleted(world: World) -> None:
    """With where their queues begin and end."""
    first, second = world.create("orders")
    world.append(second, Producer())
    asked = topics.DescribeTopic(name="orders")
    described = world.get(Method.TOPIC_DESCRIBE, asked, topics.TopicDescription)
    rows = [(row.queue, row.start_offset, row.end_offset) for row in described.queues]
    assert rows == [(first, 0, 0), (second, 0, 1)]
    listed = world.get(Method.TOPIC_LIST, topics.ListTopics(), topics.TopicsListed)
    rows = [(row.name, row.queues, row.records) for row in listed.topics]
    assert rows == [("first", 1, 0), ("orders", 2, 1)]
    assert not listed.more
    gone = topics.DeleteTopic(name="orders")
    assert world.ask(Method.TOPIC_DELETE, gone) == topics.TopicDeleted()
    assert isinstance(world.ask(Method.TOPIC_DELETE, gone), TopicNotFound)


def test_a_list_has_pages_that_fit_a_frame(world: World) -> None:
    """And says that there is more; following it finds every topic once."""
    names = [f"{number:04d}" + "x" * (NAME_CHARACTERS_MAX - 4) for number in range(600)]
    for name in names:
        world.create(name, queues=1)
    found: list[str] = []
    more = True
    while more:
        asked = topics.ListTopics(after=found[-1] if found else "", count_max=10_000)
        listed = world.get(Method.TOPIC_LIST, asked, topics.TopicsListed)
        assert 0 < len(listed.topics) <= 500
        assert listed.ByteSize() <= FRAME_HEADER_BYTES_MAX
        found += [row.name for row in listed.topics]
        more = listed.more
    assert found == [*names, "first"]


def test_rows_that_do_not_fit_are_left_for_the_next_page() -> None:
    """The last one that does is the last; an overflow is said."""
    row = topics.TopicSummary(name="x" * NAME_CHARACTERS_MAX)
    each = row.ByteSize() + ROW_OVERHEAD_BYTES
    fits = ROWS_BYTES_MAX // each
    assert len(that_fit([row] * fits)[0]) == fits
    rows, cut = that_fit([row] * (fits + 1))
    assert (len(rows), cut) == (fits, True)
    assert topics.TopicsListed(topics=rows, more=True).ByteSize() <= FRAME_HEADER_BYTES_MAX


def test_a_description_of_the_largest_topic_fits_a_frame() -> None:
    """A thousand queues with the largest numbers and offsets."""
    largest = Offset((1 << 63) - 1)
    numbers = tuple((1 << 32) - 1 - place for place in range(TOPIC_QUEUES_MAX))
    settings = TopicSettings(TOPIC_QUEUES_MAX, (1 << 63) - 1, (1 << 63) - 1)
    name, index = "x" * NAME_CHARACTERS_MAX, Index((1 << 64) - 1)
    hold = LogHold(
        *(index, index, (1 << 32) - 1, name, (1 << 32) - 1, settings, (1 << 63) - 1),
        frozenset(numbers),
    )
    state = TopicState(
        Topic(name, settings, numbers),
        tuple(QueueEnds(number, largest, largest, largest) for number in numbers),
        hold,
    )
    assert topic_handlers._description(state).ByteSize() < FRAME_HEADER_BYTES_MAX


def test_a_producer_is_begun_and_fenced(world: World) -> None:
    """The answer to a fence has what became of every batch that is remembered."""
    (queue,) = world.create("orders", queues=1)
    begun = world.get(Method.PRODUCER_INIT, producers.InitProducer(), producers.ProducerBegun)
    stored = world.append(queue, Producer(begun.producer))
    assert isinstance(stored, client.BatchAppended)
    asked = producers.FenceProducer(queue=queue, producer=begun.producer, epoch=1)
    fenced = world.get(Method.PRODUCER_FENCE, asked, producers.ProducerFenced)
    (batch,) = fenced.remembered
    assert (fenced.next_sequence, fenced.durability) == (1, "fsync")
    assert (batch.base_sequence, batch.count, batch.base_offset) == (0, 1, stored.base_offset)
    assert (batch.term, batch.index) == (stored.term, stored.index)
    assert isinstance(world.append(queue, Producer(begun.producer, base_sequence=1)), Fenced)


def test_a_retry_is_told_that_it_is_a_duplicate(world: World) -> None:
    """With everything else as in the first answer."""
    (queue,) = world.create("orders", queues=1)
    begun = world.get(Method.PRODUCER_INIT, producers.InitProducer(), producers.ProducerBegun)
    first = world.append(queue, Producer(begun.producer))
    again = world.append(queue, Producer(begun.producer))
    assert isinstance(first, client.BatchAppended)
    expected = client.BatchAppended()
    expected.CopyFrom(first)
    expected.duplicate = True
    assert again == expected


def test_a_group_s_life(world: World) -> None:
    """Join, beat, claim, commit, describe, list, seek, leave, delete: every field arrives."""
    first, second = world.create("orders")
    world.append(first, Producer())
    joined = world.join("m1", "orders")
    assert [(row.queue, row.topic, row.place) for row in joined.queues] == [
        *((first, "orders", 0), (second, "orders", 1))
    ]
    name = {"group": "billing", "member": "m1"}
    at = {**name, "generation": joined.generation}
    beat = groups.HeartbeatGroup(**at)
    assert world.ask(Method.GROUP_HEARTBEAT, beat) == joined
    claim = groups.ClaimQueue(**at, queue=first)
    assert world.ask(Method.GROUP_CLAIM, claim) == groups.QueueClaimed(committed=-1, end_offset=1)
    offsets = [groups.QueueOffset(queue=first, offset=1)]
    commit = groups.CommitOffsets(**at, offsets=offsets)
    assert world.ask(Method.GROUP_COMMIT, commit) == groups.OffsetsCommitted()
    assert world.ask(Method.GROUP_CLAIM, claim) == groups.QueueClaimed(committed=1, end_offset=1)
    offsets[0].read_from = -1
    commit = groups.CommitOffsets(**at, offsets=offsets)
    assert isinstance(world.ask(Method.GROUP_COMMIT, commit), Fenced), "1 is committed"

    described = world.get(
        Method.GROUP_DESCRIBE, groups.DescribeGroup(group="billing"), groups.GroupDescription
    )
    (member,) = described.members
    assert (member.member, member.client, list(member.topics)) == ("m1", "test", ["orders"])
    assert member.session_ms == 10_000
    rows = [(row.queue, row.topic, row.place, row.owner) for row in described.queues]
    assert rows == [(first, "orders", 0, "m1"), (second, "orders", 1, "m1")]
    assert [(row.committed, row.end_offset) for row in described.queues] == [(1, 1), (-1, 0)]
    assert [row.unread_ms for row in described.queues] == [0, 0]
    world.append(first, Producer())
    described = world.get(
        Method.GROUP_DESCRIBE, groups.DescribeGroup(group="billing"), groups.GroupDescription
    )
    stored_ms = world.shard.replica.log_time_ms
    assert [row.unread_ms for row in described.queues] == [stored_ms, 0]
    assert described.now_ms >= stored_ms
    listed = world.get(Method.GROUP_LIST, groups.ListGroups(), groups.GroupsListed)
    row = groups.GroupSummary(
        group="billing", generation=joined.generation, members=1, lag=1, unread_ms=stored_ms
    )
    assert (list(listed.groups), listed.more) == ([row], False)
    assert listed.now_ms >= stored_ms

    seek = groups.SeekGroup(group="billing", offsets=[groups.QueueOffset(queue=first)])
    seek.offsets[0].read_from = 0
    assert isinstance(world.ask(Method.GROUP_SEEK, seek), BadRequest)
    seek.offsets[0].ClearField("read_from")
    sought = world.get(Method.GROUP_SEEK, seek, groups.GroupSought)
    assert sought.generation == joined.generation + 1
    assert world.ask(Method.GROUP_LEAVE, groups.LeaveGroup(**name)) == groups.GroupLeft()
    gone = groups.DeleteGroup(group="billing")
    assert world.ask(Method.GROUP_DELETE, gone) == groups.GroupDeleted()
    assert isinstance(world.ask(Method.GROUP_DELETE, gone), GroupNotFound)


def test_a_waiting_heartbeat_is_cancelled_with_its_request(world: World) -> None:
    """Otherwise those of lost connections pile up."""
    world.create("orders")
    generation = world.join("m1", "orders").generation
    request = FakeRequest(
        groups.HeartbeatGroup(group="billing", member="m1", generation=generation, wait_ms=1_000)
    )
    world.handlers.by_method[Method.GROUP_HEARTBEAT](request)
    assert request.on_cancelled is not None
    request.on_cancelled()
    world.join("m2", "orders")
    assert request.answers == []


def test_a_group_that_reads_the_largest_topic_is_told_and_described(world: World) -> None:
    """A thousand queues under the longest name, all of them one member's."""
    name = "x" * NAME_CHARACTERS_MAX
    world.create(name, queues=TOPIC_QUEUES_MAX)
    assert len(world.join("m1", name).queues) == TOPIC_QUEUES_MAX
    asked = groups.DescribeGroup(group="billing")
    described = world.get(Method.GROUP_DESCRIBE, asked, groups.GroupDescription)
    assert len(described.queues) == TOPIC_QUEUES_MAX


def test_as_many_offsets_as_a_command_may_have_fit_a_frame() -> None:
    """A limit that no request can reach is none."""
    largest = groups.QueueOffset(queue=(1 << 32) - 1, offset=(1 << 63) - 1)
    asked = groups.SeekGroup(group="x" * NAME_CHARACTERS_MAX)
    asked.offsets.extend([largest] * OFFSETS_PER_COMMAND_MAX)
    assert asked.ByteSize() < FRAME_HEADER_BYTES_MAX
    largest.read_from = (1 << 63) - 1
    commit = groups.CommitOffsets(group=asked.group, member=asked.group, life=1 << 63)
    commit.offsets.extend([largest] * OFFSETS_PER_COMMAND_MAX)
    assert commit.ByteSize() < FRAME_HEADER_BYTES_MAX


def test_an_answer_that_does_not_fit_a_frame_is_refused_and_not_cut(world: World) -> None:
    """Half an assignment would leave queues that nobody reads."""
    names = [f"{number}" * NAME_CHARACTERS_MAX for number in range(4)]
    for name in names:
        world.create(name, queues=TOPIC_QUEUES_MAX)
    asked = groups.JoinGroup(group="billing", member="m1", topics=names, session_ms=10_000)
    assert isinstance(world.ask(Method.GROUP_JOIN, asked), LimitReached)


def test_an_offset_is_found_by_time(world: World) -> None:
    """The first one that was stored then or later."""
    (queue,) = world.create("orders", queues=1)
    world.append(queue, Producer())
    time_ms = world.shard.replica.machine.log_time_ms
    for at_ms, offset in ((time_ms, 0), (time_ms + 1, 1)):
        asked = client.FindOffset(queue=queue, log_time_ms=at_ms)
        assert world.ask(Method.FIND_OFFSET, asked) == client.OffsetFound(offset=offset)
