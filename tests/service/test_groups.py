"""Groups and claims: commits for what must hold, linearizable looks for people."""

import pytest

from raftlog.base.errors import (
    BadName,
    BadRequest,
    Fenced,
    GroupInUse,
    GroupNotFound,
    NotLeader,
    OffsetGoesBack,
    OffsetOutOfRange,
    RaftlogError,
    TopicNotFound,
    Unavailable,
    UnknownMember,
    WrongQueue,
)
from raftlog.broker.claims import CommitOffsets, GroupSought, OffsetsCommitted, QueueClaimed
from raftlog.broker.delays import Delay
from raftlog.broker.group_commands import (
    GroupDeleted,
    GroupLeft,
    Subscription,
)
from raftlog.broker.topics import TopicChanges
from raftlog.service import groups
from raftlog.service.delays import DelayService
from raftlog.service.groups import Described, GroupState, Page
from raftlog.wire.batch import encode_columns
from raftlog.wire.filters import EVERYTHING
from tests.service.consumers import SECOND, SESSION_MS, Answer, Consumers


@pytest.fixture
def world() -> Consumers:
    return Consumers()


def describe(world: Consumers, name: str = "billing") -> Answer:
    world.groups.describe(name, world.answers.append)
    world.replica.confirm()
    return world.told()


def described(world: Consumers, name: str = "billing") -> tuple[GroupState, int]:
    """Return a group, and what log time it was."""
    answer = describe(world, name)
    assert isinstance(answer, Described), answer
    return answer.group, answer.now_ms


def listed(
    world: Consumers, after: str = "", count: int = 0
) -> tuple[list[tuple[str, int]], bool]:
    world.groups.list(after, count, world.answers.append)
    world.replica.confirm()
    page = world.told()
    assert isinstance(page, Page)
    return [(state.name, state.lag) for state in page.groups], page.more


def test_the_queues_of_a_topic_are_shared_out_among_the_members(world: Consumers) -> None:
    """In the order of their ids; asking again changes nothing."""
    first, second = world.queues()
    alone = world.join("m1")
    assert [each.queue for each in alone.queues] == [first, second]
    shared = world.join("m0")
    assert [each.queue for each in shared.queues] == [first]
    assert shared.generation > alone.generation
    assert world.join("m0") == shared


BAD_JOINS: dict[str, tuple[str, str, tuple[str, ...], int, type[RaftlogError]]] = {
    "a group's name": ("bill ing", "m1", ("orders",), SESSION_MS, BadName),
    "a system's name": ("%billing", "m1", ("orders",), SESSION_MS, BadName),
    "a member's name": ("billing", "", ("orders",), SESSION_MS, BadName),
    "no topic": ("billing", "m1", (), SESSION_MS, BadRequest),
    "a topic twice": ("billing", "m1", ("orders", "orders"), SESSION_MS, BadRequest),
    "a short session": ("billing", "m1", ("orders",), 5, BadRequest),
    "a long session": ("billing", "m1", ("orders",), 1 << 31, BadRequest),
}


@pytest.mark.parametrize("case", BAD_JOINS)
def test_a_malformed_join_is_refused_before_it_is_proposed(world: Consumers, case: str) -> None:
    """What apply would refuse for its form alone never gets into the log."""
    group, member, topics, session_ms, expected = BAD_JOINS[case]
    world.groups.join(
        group, member, Subscription(topics), world.answers.append, session_ms=session_ms
    )
    assert isinstance(world.told(), expected)
    assert world.replica.proposed == 0


def test_a_topic_that_does_not_exist_cannot_be_subscribed_to(world: Consumers) -> None:
    """A consumer of a misspelt topic would wait for ever."""
    world.groups.join(
        "billing", "m1", Subscription(("oders",)), world.answers.append, session_ms=SESSION_MS
    )
    world.replica.commit()
    error = world.told()
    assert isinstance(error, TopicNotFound)
    assert error.nearest == "orders"


def test_a_claim_tells_where_to_begin(world: Consumers) -> None:
    """Nothing else does: so whoever reads has fenced the owner before (ruling 12)."""
    first, _ = world.queues()
    world.store(first, 5)
    generation = world.join().generation
    claimed = world.claim("m1", generation, first)
    assert isinstance(claimed, QueueClaimed)
    assert (claimed.committed, claimed.start, claimed.end) == (None, 0, 5)
    assert isinstance(world.commit("m1", generation, first, 3), OffsetsCommitted)
    again = world.claim("m1", generation, first)
    assert isinstance(again, QueueClaimed)
    assert again.committed == 3


@pytest.mark.parametrize(("member", "ahead"), [("m1", 1), ("m1", 1 << 40), ("stranger", 0)])
def test_a_claim_that_would_fence_every_member_is_refused(
    world: Consumers, member: str, ahead: int
) -> None:
    """A generation that nobody began, or a member that is none; told when that is certain."""
    first, _ = world.queues()
    generation = world.join("m1").generation
    world.claims.claim("billing", member, generation + ahead, first, world.answers.append)
    assert world.answers == []
    world.replica.confirm()
    assert isinstance(world.told(), UnknownMember)
    assert isinstance(world.claim("m1", generation, first), QueueClaimed)


def test_a_claim_of_a_member_whose_join_is_applied_meanwhile_holds(world: Consumers) -> None:
    """n1 commits the join and dies; the member claims at n2 before n2 has applied it."""
    first, _ = world.queues()
    world.claims.claim("billing", "m1", 1, first, world.answers.append)
    world.groups.join(
        "billing", "m1", Subscription(("orders",)), lambda _: None, session_ms=SESSION_MS
    )
    world.replica.commit()
    world.replica.confirm()
    world.replica.commit()
    assert isinstance(world.told(), QueueClaimed)


def test_a_zombie_s_commit_is_fenced(world: Consumers) -> None:
    """It was given up, wakes, and would take the new owner's offset back."""
    first, _ = world.queues()
    world.store(first, 5)
    old = world.join("m1").generation
    world.claim("m1", old, first)
    new = world.join("m0").generation
    world.claim("m0", new, first)
    assert isinstance(world.commit("m1", old, first, 4), Fenced)
    assert isinstance(world.claim("m1", old, first), Fenced)
    assert isinstance(world.commit("m0", new, first, 4), OffsetsCommitted)


BAD_COMMITS: dict[str, tuple[int, int, type[RaftlogError]]] = {
    "beyond the end": (0, 6, OffsetOutOfRange),
    "back": (0, 2, OffsetGoesBack),
    "a queue without a claim": (1, 0, UnknownMember),
    "a queue that does not exist": (77, 0, WrongQueue),
    "a negative offset": (0, -1, BadRequest),
}


@pytest.mark.parametrize("case", BAD_COMMITS)
def test_a_commit_that_cannot_be_true_is_refused(world: Consumers, case: str) -> None:
    """And nothing of it is noted."""
    place, offset, expected = BAD_COMMITS[case]
    queues = world.queues()
    world.store(queues[0], 5)
    generation = world.join().generation
    world.claim("m1", generation, queues[0])
    world.commit("m1", generation, queues[0], 3)
    offsets = ((queues[place] if place < 2 else place, offset),)
    world.claims.commit(
        lambda: CommitOffsets("billing", "m1", generation, offsets), world.answers.append
    )
    if world.replica.proposed:
        world.replica.commit()
    assert isinstance(world.told(), expected)
    claim = world.machine.claims.get("billing", queues[0])
    assert claim is not None
    assert claim.committed == 3


def test_a_commit_in_a_generation_that_was_not_claimed_is_of_an_unknown_member(
    world: Consumers,
) -> None:
    """It must claim first: only that tells where to begin."""
    first, _ = world.queues()
    generation = world.join().generation
    world.claim("m1", generation, first)
    assert isinstance(world.commit("m1", generation + 1, first, 0), UnknownMember)


def test_a_seek_begins_a_generation_and_fences_who_owned_the_queues(world: Consumers) -> None:
    """Otherwise the owner's next commit would undo it."""
    first, _ = world.queues()
    world.store(first, 5)
    generation = world.join().generation
    world.claim("m1", generation, first)
    world.commit("m1", generation, first, 5)
    sought = world.seek("billing", (first, 1))
    assert isinstance(sought, GroupSought)
    assert sought.generation > generation
    assert isinstance(world.commit("m1", generation, first, 5), Fenced)
    claimed = world.claim("m1", sought.generation, first)
    assert isinstance(claimed, QueueClaimed)
    assert claimed.committed == 1


def test_a_seek_that_is_refused_is_not_in_the_log(world: Consumers) -> None:
    """There others look for what was done. A misspelt name must not make a group, either."""
    first, _ = world.queues()
    world.join()
    before = len(world.replica.entries)
    for offsets, kind in (
        (((first, 1),), OffsetOutOfRange),
        (((99, 0),), WrongQueue),
        (((first, 0), (first, 0)), BadRequest),
    ):
        assert isinstance(world.seek("billing", *offsets), kind)
    assert isinstance(world.seek("biling", (first, 0)), GroupNotFound)
    world.claims.seek("billing", ((first, 0),), world.answers.append)
    world.replica.confirm(Unavailable("not now"))
    assert isinstance(world.told(), Unavailable)
    assert (len(world.replica.entries), world.replica.proposed) == (before, 0)


def test_leaving_is_harmless_for_who_is_no_member(world: Consumers) -> None:
    """A client that leaves twice, or after it expired, wants nothing else."""
    world.join("m1")
    for _ in range(2):
        world.groups.leave("billing", "m1", world.answers.append)
        world.replica.commit()
        assert isinstance(world.told(), GroupLeft)
    assert world.members() == []


def test_a_group_with_members_cannot_be_deleted(world: Consumers) -> None:
    """Its consumers would go on from nowhere."""
    world.join("m1")
    outcomes = []
    for _ in range(2):
        world.groups.delete("billing", world.answers.append)
        world.replica.commit()
        outcomes.append(type(world.told()))
        world.groups.leave("billing", "m1", lambda _: None)
        world.replica.commit()
    assert outcomes == [GroupInUse, GroupDeleted]
    assert isinstance(describe(world), GroupNotFound)


def test_a_description_tells_owners_offsets_and_lag(world: Consumers) -> None:
    """Assigned queues and those with an offset; lag is counted in records."""
    first, second = world.queues()
    world.store(first, 5)
    world.store(second, 3)
    generation = world.join("m1").generation
    world.claim("m1", generation, first)
    world.commit("m1", generation, first, 4)
    state, _ = described(world)
    assert [member.id for member in state.members] == ["m1"]
    rows = [(row.queue, row.place, row.owner, row.committed, row.lag) for row in state.queues]
    assert rows == [(first, 0, "m1", 4, 1), (second, 1, "m1", None, 3)]
    assert state.lag == 4


def test_a_group_without_members_keeps_its_offsets_and_its_lag(world: Consumers) -> None:
    """That is when somebody wants to know."""
    first, second = world.queues()
    world.store(first, 5)
    generation = world.join("m1").generation
    world.claim("m1", generation, first)
    world.commit("m1", generation, first, 4)
    world.groups.leave("billing", "m1", lambda _: None)
    world.replica.commit()
    state, _ = described(world)
    rows = [(row.queue, row.owner, row.committed) for row in state.queues]
    assert rows == [(first, "", 4), (second, "", None)]
    assert listed(world) == ([("billing", 1)], False)
    world.store(second, 2)
    assert listed(world) == ([("billing", 3)], False), "nobody has ever claimed it"
    world.topics.alter("orders", TopicChanges(queues=3), lambda _: None)
    world.replica.commit()
    world.store(world.queues()[2], 4)
    assert listed(world) == ([("billing", 7)], False), "it came while nobody was there"


def aged(world: Consumers) -> dict[str, int | None]:
    """Return by group how long its oldest unread record has been there, as the list tells it."""
    world.groups.list("", 0, world.answers.append)
    world.replica.confirm()
    page = world.told()
    assert isinstance(page, Page)
    return {
        state.name: page.now_ms - state.behind_since_ms if state.behind_since_ms else None
        for state in page.groups
    }


def test_a_lag_as_a_time_is_that_of_the_oldest_record_not_committed(world: Consumers) -> None:
    """In log time, of every group of a list; what is committed later is another record's."""
    first, second = world.queues()
    generation = world.join("m1").generation
    world.join("m1", group="audit")
    for queue, log_time_ms in ((second, 10_000), (first, 20_000), (first, 50_000)):
        world.replica.log_time_ms = log_time_ms
        world.store(queue, 2)
    for queue in (first, second):
        world.claim("m1", generation, queue)
    now_ms = world.replica.log_time_ms = world.machine.log_time_ms
    world.scheduler.time_ns += 7 * SECOND
    late_ms = now_ms - 50_000 + world.scheduler.wall_ms()
    assert aged(world) == dict.fromkeys(("audit", "billing"), 40000 + late_ms)
    world.commit("m1", generation, second, 2)
    world.commit("m1", generation, first, 3)
    assert aged(world) == {"audit": 40_000 + late_ms, "billing": late_ms}
    state, now_ms = described(world)
    assert state.unread_ms == {(first, 3): 50_000}
    assert now_ms == 50_000 + late_ms
    world.commit("m1", generation, first, 4)
    assert aged(world)["billing"] is None
    assert described(world)[0].unread_ms == {}


def test_what_is_hidden_is_no_lag_and_ages_from_when_it_can_be_read(world: Consumers) -> None:
    """A delay of an hour is the sender's wish, and nobody's lateness."""
    first, _ = world.queues()
    world.join("m1")
    world.replica.log_time_ms = 10_000
    batch = encode_columns([b"v"], timestamp_ms=5)
    delays = DelayService(world.replica, world.machine)
    delays.append(first, Delay(20_000, relative=False), batch, lambda _: None)
    world.replica.commit()
    assert (described(world)[0].lag, aged(world)) == (0, {"billing": None})
    world.replica.log_time_ms = 20_500
    world.create("something", 1)
    state, _ = described(world)
    assert (state.lag, state.unread_ms) == (1, {(first, 0): 20_500})


def test_a_topic_that_a_group_reads_no_more_is_no_lag(world: Consumers) -> None:
    """Its offsets stay, for the group may come back to it; nobody is behind there."""
    first, _ = world.queues()
    world.create("payments", 1)
    world.store(first, 5)
    generation = world.join("m1").generation
    world.claim("m1", generation, first)
    world.commit("m1", generation, first, 2)
    assert described(world)[0].lag == 3
    world.groups.subscribe("billing", ("payments",), EVERYTHING, 0, "", lambda _: None)
    world.replica.commit()
    state, _ = described(world)
    rows = [(row.topic, row.committed, row.is_read, row.lag) for row in state.queues]
    assert rows == [("orders", 2, False, 0), ("payments", None, True, 0)]
    assert (state.unread_ms, listed(world)) == ({}, ([("billing", 0)], False))


def test_a_list_has_pages(world: Consumers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded in groups and in the queues that are looked at."""
    for name in ("c", "a", "b"):
        world.join("m1", group=name)
    assert listed(world, count=2) == ([("a", 0), ("b", 0)], True)
    assert listed(world, after="b") == ([("c", 0)], False)
    monkeypatch.setattr(groups, "PAGE_QUEUES_MAX", 1)
    assert listed(world) == ([("a", 0)], True)


@pytest.mark.parametrize("ask", ["describe", "list"])
def test_an_unconfirmed_look_is_an_error(world: Consumers, ask: str) -> None:
    """A leader that was cut off must not tell old offsets (ruling 23)."""
    if ask == "describe":
        world.groups.describe("billing", world.answers.append)
    else:
        world.groups.list("", 0, world.answers.append)
    error = NotLeader()
    world.replica.confirm(error)
    assert world.told() is error
