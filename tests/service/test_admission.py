"""Admission: beyond a quota a batch is refused, with how long to wait; nothing is lost for it."""

import pytest

from raftlog.base.errors import QuotaExceeded, RaftlogError
from raftlog.broker.appends import Appended
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.quotas import RemoveQuota, SetQuota
from raftlog.broker.topics import TopicChanges
from raftlog.service import admission
from raftlog.service.admission import NS_PER_S, Admission
from raftlog.service.produce import ProduceService
from raftlog.service.proposing import propose_unheard
from raftlog.wire.batch import encode_columns
from tests.service.fakes import FakeReplica, FakeScheduler, topic_service


class World:
    """A leader with a topic ``orders`` and the quotas that a test sets."""

    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.machine: BrokerMachine = self.replica.machine
        self.scheduler = FakeScheduler()
        self.admission = Admission(self.machine, self.scheduler)
        topic_service(self.replica, self.machine).create(
            "orders", TopicChanges(queues=1), lambda _: None
        )
        self.replica.commit()

    def set(self, quota: SetQuota | RemoveQuota) -> None:
        """Commit a command about quotas."""
        propose_unheard(self.replica, quota)
        self.replica.commit()

    def wait_s(self, size: int, records: int = 1, client: str = "job") -> float:
        """Send; return 0 if it comes in, else how long to wait."""
        refusal = self.admission.refusal(client, "orders", size, records)
        return 0.0 if refusal is None else refusal.retry_after

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.scheduler.advance(int(seconds * NS_PER_S))


def test_a_second_s_worth_comes_in_at_once_and_the_rest_at_the_quota_s_rate() -> None:
    """Over a long time no more than the rate comes in, and no less."""
    world = World()
    world.set(SetQuota("client", "job", 1_000))
    taken = 0
    for _ in range(2_000):
        while not world.wait_s(50):
            taken += 50
        world.passes(0.01)
    assert 20_000 <= taken <= 21_100


def test_who_waits_as_long_as_it_was_told_comes_in() -> None:
    """A batch larger than a second's worth comes in, and is paid for by the next one's wait."""
    world = World()
    world.set(SetQuota("client", "job", 1_000))
    assert world.wait_s(3_000) == 0
    wait_s = world.wait_s(1)
    assert 2.0 <= wait_s < 2.1
    world.passes(wait_s - 0.01)
    assert 0 < world.wait_s(1) < 0.02
    world.passes(0.02)
    assert world.wait_s(1) == 0


def test_records_are_bounded_like_bytes_and_what_is_refused_costs_nothing() -> None:
    """Else a client that asks again and again would never come in."""
    world = World()
    world.set(SetQuota("topic", "orders", 0, 10))
    world.set(SetQuota("client", "job", 1_000_000))
    assert world.wait_s(5, 20) == 0
    for _ in range(50):
        assert world.wait_s(5) > 0
    world.passes(1.1)
    assert world.wait_s(5) == 0
    counted = world.admission.counters()
    assert (counted["quota_refused"], counted["quota_meters_size"]) == (50, 2)


def test_each_client_has_a_meter_of_its_own_under_the_star() -> None:
    """One that sends too much does not stop the others."""
    world = World()
    world.set(SetQuota("client", "*", 100))
    assert world.wait_s(500) == 0
    assert world.wait_s(1) > 0
    assert world.wait_s(1, client="other") == 0


def test_meters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are drawn by clients: a million of them must not be a million meters."""
    world = World()
    world.set(SetQuota("client", "*", 100))
    monkeypatch.setattr(admission, "METERS_MAX", 3)
    for number in range(10):
        world.wait_s(1, client=f"{number}")
    assert world.admission.counters()["quota_meters_size"] == 3


def test_an_append_beyond_the_quota_is_refused_before_it_is_in_the_log() -> None:
    """Typed, with its cause and what to do; counted by its cause; and over with the quota."""
    world = World()
    produce = ProduceService(world.replica, world.machine, world.admission)
    answers: list[Appended | RaftlogError] = []
    batch = encode_columns([b"v"], timestamp_ms=5)

    def append() -> None:
        produce.append(1, batch, answers.append, "job")
        if world.replica.proposed:
            world.replica.commit()

    append()
    world.set(SetQuota("client", "job", 0, 1))
    append()
    append()
    assert [type(answer) for answer in answers] == [Appended, Appended, QuotaExceeded]
    assert str(answers[2]).startswith("client 'job' has a quota of 1 records/s; ask again in ")
    assert produce.hindered == {"quota_exceeded": 1}
    world.set(RemoveQuota("client", "job"))
    append()
    assert type(answers[3]) is Appended
