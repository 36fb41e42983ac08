"""Topics: changed by commits, looked at linearizably, listed in pages."""

import pytest

from raftlog.base.errors import (
    BadName,
    BadRequest,
    DiskFull,
    LimitReached,
    NotLeader,
    RaftlogError,
    TopicExists,
    TopicNotFound,
)
from raftlog.base.limits import TOPIC_QUEUES_MAX
from raftlog.base.space import DiskLevel
from raftlog.broker.topics import DEFAULT_QUEUES, Topic, TopicChanges, TopicSettings
from raftlog.service import topics
from raftlog.service.produce import ProduceService
from raftlog.service.topics import Page, TopicState
from raftlog.wire.batch import encode_columns
from tests.service.fakes import FakeReplica, topic_service


class World:
    """A shard, and what questions about its topics were told."""

    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.service = topic_service(self.replica, self.replica.machine)
        self.answers: list[TopicState | Topic | Page | RaftlogError] = []

    def create(self, name: str, **changes: int) -> TopicState | RaftlogError:
        """Make a topic; return what was told."""
        self.service.create(name, TopicChanges(**changes), self.answers.append)
        self.replica.commit()
        return self.state()

    def alter(self, name: str, **changes: int) -> TopicState | RaftlogError:
        """Change a topic; return what was told."""
        self.service.alter(name, TopicChanges(**changes), self.answers.append)
        self.replica.commit()
        return self.state()

    def describe(self, name: str) -> TopicState | RaftlogError:
        """Describe a topic; return what was told."""
        self.service.describe(name, self.answers.append)
        self.replica.confirm()
        return self.state()

    def list(self, after: str = "", count: int = 0) -> tuple[list[str], bool]:
        """List topics; return their names and whether there are more."""
        self.service.list(after, count, self.answers.append)
        self.replica.confirm()
        page = self.answers.pop()
        assert isinstance(page, Page)
        return [state.topic.name for state in page.topics], page.more

    def state(self) -> TopicState | RaftlogError:
        """Return the last answer."""
        answer = self.answers.pop()
        assert isinstance(answer, TopicState | RaftlogError), answer
        return answer


@pytest.fixture
def world() -> World:
    return World()


def test_the_system_s_own_topics_are_in_no_list(world: World) -> None:
    """Users can't make one: it is put there, as a later version may."""
    world.create("orders", queues=1)
    table = world.replica.machine.topics.table
    for name in ("%mine", "__mine"):
        table.put(name, Topic(name, TopicSettings(1), ()))
    world.create("payments", queues=1)
    assert world.list() == (["orders", "payments"], False)
    assert world.list(count=1) == (["orders"], True)
    assert world.list(after="orders") == (["payments"], False)


def test_a_new_topic_is_told_with_its_empty_queues(world: World) -> None:
    """Whoever made it can send at once."""
    made = world.create("orders")
    assert isinstance(made, TopicState)
    assert len(made.queues) == made.topic.settings.queues == DEFAULT_QUEUES
    assert {(row.start_offset, row.end_offset) for row in made.queues} == {(0, 0)}


BAD: dict[str, tuple[str, dict[str, int], type[RaftlogError]]] = {
    "a system name": ("%mine", {}, BadName),
    "a bad letter": ("or ders", {}, BadName),
    "no name": ("", {}, BadName),
    "a long name": ("x" * 128, {}, BadName),
    "no queue": ("orders", {"queues": 0}, BadRequest),
    "a negative time": ("orders", {"retention_ms": -1}, BadRequest),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_topic_is_refused_before_it_is_proposed(world: World, case: str) -> None:
    """What apply would refuse for its form alone never gets into the log (ruling 15)."""
    name, changes, expected = BAD[case]
    world.service.create(name, TopicChanges(**changes), world.answers.append)
    assert [type(answer) for answer in world.answers] == [expected]
    assert world.replica.proposed == 0


def test_what_only_the_state_knows_is_refused_by_apply(world: World) -> None:
    """Too many queues, a name that is taken, fewer queues, nothing there to change."""
    world.create("orders", queues=3)
    assert isinstance(world.create("orders"), TopicExists)
    assert isinstance(world.create("many", queues=TOPIC_QUEUES_MAX + 1), LimitReached)
    assert isinstance(world.alter("orders", queues=2), BadRequest)
    error = world.alter("oders", queues=5)
    assert isinstance(error, TopicNotFound)
    assert error.nearest == "orders"


def test_an_altered_topic_keeps_what_was_not_named(world: World) -> None:
    """And gets new queues behind the old ones."""
    made = world.create("orders", queues=1, retention_ms=5_000)
    altered = world.alter("orders", queues=2)
    assert isinstance(made, TopicState)
    assert isinstance(altered, TopicState)
    assert altered.topic.settings.retention_ms == 5_000
    assert altered.queues[:1] == made.queues


def test_a_description_has_the_ends_of_the_queues(world: World) -> None:
    """A reader begins there."""
    made = world.create("orders", queues=2)
    assert isinstance(made, TopicState)
    produce = ProduceService(world.replica, world.replica.machine)
    batch = encode_columns([b"a", b"b"], timestamp_ms=5)
    produce.append(made.queues[1].queue, batch, lambda _: None)
    world.replica.commit()
    described = world.describe("orders")
    assert isinstance(described, TopicState)
    assert [row.end_offset for row in described.queues] == [0, 2]
    assert described.records == 2


def test_a_topic_that_does_not_exist_is_answered_with_the_nearest_name(world: World) -> None:
    """Most of them are slips of a key."""
    world.create("orders")
    error = world.describe("ordres")
    assert isinstance(error, TopicNotFound)
    assert (error.topic, error.nearest) == ("ordres", "orders")


def test_a_deleted_topic_is_gone_with_its_queues(world: World) -> None:
    """And another one of its name has other queues."""
    made = world.create("orders")
    world.service.delete("orders", world.answers.append)
    world.service.delete("orders", world.answers.append)
    world.replica.commit()
    assert [type(answer) for answer in world.answers] == [Topic, TopicNotFound]
    again = world.create("orders")
    assert isinstance(made, TopicState)
    assert isinstance(again, TopicState)
    assert {row.queue for row in made.queues}.isdisjoint(row.queue for row in again.queues)


def test_a_topic_that_the_same_entry_deletes_again_is_told_with_empty_queues(world: World) -> None:
    """Outcomes are told when the whole entry is applied; the answer is of its own moment."""
    world.service.create("orders", TopicChanges(queues=1), world.answers.append)
    world.service.delete("orders", lambda _: None)
    world.replica.commit()
    made = world.state()
    assert isinstance(made, TopicState)
    assert made.records == 0


def test_a_list_has_pages_in_the_order_of_names(world: World) -> None:
    """A page goes on after the last name of the one before, and says whether more follow."""
    for name in ("b", "d", "a", "c"):
        world.create(name)
    assert world.list() == (["a", "b", "c", "d"], False)
    assert world.list(count=3) == (["a", "b", "c"], True)
    assert world.list(after="c", count=3) == (["d"], False)
    assert world.list(after="d") == ([], False)


def test_a_page_ends_with_the_work_that_one_turn_may_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five hundred topics of a thousand queues would hold up heartbeats."""
    monkeypatch.setattr(topics, "PAGE_QUEUES_MAX", 5)
    for name in ("a", "b", "c"):
        world.create(name, queues=4)
    assert world.list() == (["a"], True)
    assert world.list(after="b") == (["c"], False)


@pytest.mark.parametrize("ask", ["describe", "list"])
def test_an_unconfirmed_look_is_an_error(world: World, ask: str) -> None:
    """A leader that was cut off must not tell old settings (ruling 23)."""
    if ask == "describe":
        world.service.describe("orders", world.answers.append)
    else:
        world.service.list("", 0, world.answers.append)
    error = NotLeader()
    world.replica.confirm(error)
    assert world.answers == [error]


@pytest.mark.parametrize("level", [DiskLevel.SCARCE, DiskLevel.FULL])
def test_no_topic_is_made_on_a_disk_that_fills_up(world: World, level: DiskLevel) -> None:
    """Ruling 25: from 85 % on. What exists is altered and deleted as ever: that makes room."""
    world.replica.disk_level = level
    told: list[object] = []
    world.service.create("later", TopicChanges(), told.append)

    assert [type(answer) for answer in told] == [DiskFull]
    assert not world.replica.proposed
