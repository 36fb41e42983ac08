"""How long sends take beside a follower that is slow: which of them count, and which don't."""

from io import StringIO
from typing import Final

import pytest
from rich.console import Console

from chaos.check.client_history import Event, Records
from chaos.live.slow_followers import KINDS, SendTimes, lines, of_runs, send_times
from chaos.live.view import _print_slow_followers
from chaos.live.world import Sight

HERE: Final = ("leader", "follower", "follower")
PAUSED: Final = ("leader", "paused", "follower")
SENDS: Final = ((1.0, 0.01), (4.0, 0.02), (4.4, 0.03), (4.9, 0.4), (8.0, 0.05), (9.9, 0.2))
"""When a record is sent, and how long it takes: fault from 4 to 5, the next one at 10."""


def sent(*sends: tuple[float, float]) -> Records:
    records = Records("orders")
    for began, took in sends:
        records.ok(records.begin(0, began), began + took, 0, 0, 1)
    return records


def seen(
    *others: tuple[float, tuple[str, ...], str, int], leader: str = "n1", term: int = 1
) -> list[Sight]:
    """Look each tenth of a second for 10 s; from the time of each of ``others`` on as it says."""
    sights = []
    roles: tuple[str, ...] = HERE
    following = sorted(others)
    for tenth in range(100):
        at = tenth / 10
        while following and following[0][0] <= at:
            _, roles, leader, term = following.pop(0)
        sights.append(Sight(at, leader, term, roles, 0))
    return sights


NEXT: Final = Event("kill", 10.0, "n3", 11.0, happened=True)


def fault(kind: str, **more: object) -> Event:
    return Event(kind, 4.0, "n2", 5.0, happened=True, **more)  # type: ignore[arg-type]


def times_of(found: SendTimes, kind: str) -> list[float]:
    return [round(took, 3) for took in found.beside[kind]]


@pytest.mark.parametrize("kind", KINDS)
def test_sends_that_began_while_a_follower_was_slow_are_told(kind: str) -> None:
    found = send_times([fault(kind), NEXT], seen(), sent(*SENDS))
    assert times_of(found, kind) == [0.02, 0.03, 0.4]
    assert found.times[kind] == 1
    assert [round(took, 3) for took in found.healthy] == [0.01, 0.05]
    assert sum(len(found.beside[other]) for other in KINDS if other != kind) == 0


def test_a_paused_node_is_not_there_and_that_is_what_it_is_about() -> None:
    sights = seen((4.0, PAUSED, "n1", 1), (5.0, HERE, "n1", 1))
    assert times_of(send_times([fault("pause"), NEXT], sights, sent(*SENDS)), "pause")


@pytest.mark.parametrize(
    ("event", "sights"),
    [
        (fault("pause", beside=True), seen()),
        (fault("pause", lost_term=1), seen()),
        (Event("pause", 4.0, "n2", 5.0, note="it answered"), seen()),
        (fault("slow-disk"), seen(leader="n2")),
        (fault("slow-disk"), seen((4.5, HERE, "n3", 2))),
        (fault("slow-disk"), seen((4.5, HERE, "n1", 2))),
        (fault("slow-disk"), seen((4.5, HERE, "", 1), (4.7, HERE, "n1", 1))),
        (fault("pause"), seen((3.0, ("leader", "follower", "silent"), "n1", 1))),
        (fault("pause"), seen((4.2, ("leader", "paused", "down"), "n1", 1))),
        (fault("kill"), seen()),
    ],
)
def test_what_else_was_wrong_says_nothing_of_a_slow_follower(
    event: Event, sights: list[Sight]
) -> None:
    found = send_times([event, NEXT], sights, sent(*SENDS))
    assert not any(found.beside.values())
    assert not any(found.times.values())


def test_time_after_a_fault_is_not_healthy_at_once_nor_is_a_slow_follower_alone() -> None:
    before = Event("kill", 3.0, "n3", 3.7, happened=True)
    sends = sent((2.0, 0.01), (3.6, 0.5), (4.1, 0.6), (4.3, 0.02), (5.4, 0.7), (5.6, 0.03))
    found = send_times([before, fault("late"), NEXT], seen(), sends)
    assert times_of(found, "late") == [0.02]
    assert [round(took, 3) for took in found.healthy] == [0.01, 0.03]


@pytest.mark.parametrize(
    "sights",
    [
        seen((6.0, ("leader", "follower", "down"), "n1", 1)),
        seen((6.0, HERE, "", 1)),
        [each for each in seen((7.95, HERE, "n1", 2)) if not 7.0 < each.at < 9.0],
    ],
)
def test_time_without_a_leader_or_a_node_is_not_healthy(sights: list[Sight]) -> None:
    found = send_times([fault("late"), NEXT], sights, sent((2.0, 0.01), (8.0, 0.9)))
    assert [round(took, 3) for took in found.healthy] == [0.01]


def test_what_was_never_acknowledged_has_no_time() -> None:
    records = sent(*SENDS)
    records.unknown(records.begin(0, 4.1), 4.9)
    records.failed(records.begin(0, 4.1), 4.9)
    assert len(send_times([fault("pause")], seen(), records).beside["pause"]) == 3


def test_several_runs_are_told_together() -> None:
    one = send_times([fault("pause"), NEXT], seen(), sent(*SENDS))
    told = dict(lines(of_runs([one, one])))
    assert told["send p99 while a follower is paused, 2 times"] == (
        "400.0 ms of 6 sends, 8.00 times the healthy 50.0 ms"
    )
    assert told["send p99 while a follower's disk is slow, 0 times"] == "-"
    nothing = of_runs([])
    assert {text for _, text in lines(nothing)} == {"-"}
    console = Console(width=200, record=True, file=StringIO())
    _print_slow_followers(one, console)
    assert "8.00 times the healthy 50.0 ms (bar: 1.5 times)" in console.export_text()
