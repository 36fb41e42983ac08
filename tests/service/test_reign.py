"""A reign begins and ends with the leadership, once each."""

import pytest

from raftlog.base.ids import NodeId, Term
from raftlog.raft.effects import Role, RoleChanged
from raftlog.service.burying import Burying
from raftlog.service.checks import CheckService
from raftlog.service.copying_forward import CopyingForward
from raftlog.service.filtering import FilterService
from raftlog.service.levelling import Levelling
from raftlog.service.passing_time import PassingTime
from raftlog.service.receiving import ReceiveService
from raftlog.service.reign import Reign
from raftlog.service.relocating import Relocating
from raftlog.service.retention import RetentionService
from tests.service.consumers import Consumers
from tests.service.fakes import FakeReader
from tests.service.test_read import FakeBodies, FakeRanges, read_service


class World:
    """A replica that has not led yet, with one member in a group."""

    def __init__(self) -> None:
        self.consumers = Consumers()
        self.consumers.join("m1")
        self.consumers.sessions.end()
        replica, machine = self.consumers.replica, self.consumers.machine
        retention = RetentionService(replica, machine, FakeRanges(), self.consumers.scheduler)
        passing = PassingTime(replica, machine, self.consumers.scheduler)
        bodies, scheduler = FakeBodies(replica), self.consumers.scheduler
        relocating = Relocating(replica, machine, bodies, scheduler)
        copying = CopyingForward(replica, machine, FakeRanges(), bodies, scheduler)
        checks = CheckService(replica, machine, bodies, passing, scheduler)
        read = read_service(replica, self.consumers.scheduler)
        filters = FilterService(read, FakeReader())
        self.reign = Reign(
            *(self.consumers.sessions, self.consumers.heartbeats, retention, passing, relocating),
            *(copying, checks, ReceiveService(read, FakeReader(), filters)),
            Burying(read, FakeReader()),
            Levelling(replica, machine, scheduler, lambda _: 0, lambda _: True),
        )

    def role(self, role: Role, term: int, leader: str | None = "n1") -> tuple[int, int]:
        """Change the role; return how many sessions and how many timers there are."""
        named = NodeId(leader) if leader else None
        self.reign.role_changed(RoleChanged(role, Term(term), named))
        return len(self.consumers.sessions), self.consumers.scheduler.armed


@pytest.fixture
def world() -> World:
    return World()


def test_a_leader_keeps_sessions_and_looks_at_retention(world: World) -> None:
    """One timer for each."""
    assert world.role(Role.LEADER, 3) == (1, 5)


def test_what_is_said_twice_begins_nothing_anew(world: World) -> None:
    """Sessions that begin again and again would never end."""
    world.role(Role.LEADER, 3)
    timers = list(world.consumers.scheduler.timers)
    assert world.role(Role.LEADER, 3) == (1, 5)
    assert world.consumers.scheduler.timers == timers


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE])
def test_who_leads_no_more_has_neither(world: World, role: Role) -> None:
    """No timer is left to fire."""
    world.role(Role.LEADER, 3)
    assert world.role(role, 4, None) == (0, 0)
    assert world.role(role, 5, "n2") == (0, 0)


def test_a_leader_of_a_later_term_begins_anew(world: World) -> None:
    """Somebody else may have led in between."""
    world.role(Role.LEADER, 3)
    world.consumers.scheduler.advance(1_000)
    assert world.role(Role.LEADER, 5) == (1, 5)


def test_a_stop_ends_it(world: World) -> None:
    """The node goes down; nothing of the service lives on."""
    world.role(Role.LEADER, 3)
    world.reign.stop()
    assert (len(world.consumers.sessions), world.consumers.scheduler.armed) == (0, 0)
