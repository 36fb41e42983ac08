"""Schedules are drawn from a seed, and what is asked for exists."""

import re
from io import StringIO
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from chaos.__main__ import main, seconds_of
from chaos.check.client_history import Anomaly, Event
from chaos.live.comparing import Compared
from chaos.live.faults import FAULTS, MISSING, SHIM
from chaos.live.page import page, series_page
from chaos.live.picture import GROUPS
from chaos.live.schedule import SCENARIOS, draw, kinds_of, within
from chaos.live.slow_followers import KINDS, SendTimes
from chaos.live.totals import (
    HOUR_S,
    INSTALLS,
    RECORDS,
    SCHEDULES,
    TOTALS,
    TRIMS,
    check_bars,
    happened,
    planned,
)
from chaos.live.verdict import Plan, Pulse, Series, Told, Verdict, plans_of
from chaos.live.view import print_summary
from chaos.live.world import Sight
from chaos.seeds import code

ROOT = Path(__file__).parents[2]


def test_one_seed_is_one_schedule() -> None:
    kinds = tuple(FAULTS)
    first = list(islice(draw(7, kinds), 200))
    assert first == list(islice(draw(7, kinds), 200))
    assert first != list(islice(draw(8, kinds), 200))


def test_every_kind_comes_before_any_comes_again() -> None:
    kinds = tuple(FAULTS)
    steps = within(draw(1, kinds), 1e6)
    assert {step.kind for step in islice(steps, len(kinds))} == set(kinds)


def test_what_needs_the_cluster_whole_comes_alone() -> None:
    for step in islice(draw(2, tuple(FAULTS)), 500):
        if step.beside is not None:
            assert not FAULTS[step.kind].alone
            assert not FAULTS[step.beside.kind].alone
            assert step.beside.beside is None


def test_every_schedule_of_six_minutes_plans_its_share_of_an_hour_and_more() -> None:
    for seed in range(200):
        steps = within(draw(seed, tuple(FAULTS)), HOUR_S / SCHEDULES)
        counts = planned(steps, 3)
        for total in TOTALS:
            assert counts[total.name] * SCHEDULES >= total.bar, (seed, total.name)


def event(kind: str, target: str = "n1") -> Event:
    return Event(kind, 1.0, target, 2.0, happened=True)


def test_an_hour_that_had_too_little_of_something_is_not_good() -> None:
    events = [event("kill")] * 197 + [event("kill-most")] + [event("cut-off")] * 60
    events += [event("pause")] * 60 + [event("power")] * 30 + [event("power-all")] * 10
    events += [event("bit-flip")] * 20 + [event("demote")] * 6
    counts = {**happened(events, 3), RECORDS: 1_000_000, TRIMS: 300, INSTALLS: 5}
    assert counts["kills"] == 199
    (wrong,) = check_bars(counts)
    assert wrong.text == "199 kills, and 200 are due in an hour"
    assert check_bars({**counts, **happened([*events, event("kill")], 3)}) == []
    less = {**counts, RECORDS: 999_999, TRIMS: 299, INSTALLS: 4}
    assert len(check_bars(less)) == 4


def test_a_plan_is_divided_into_schedules_with_seeds_of_their_own() -> None:
    plan = Plan("all", 5, 3600.0, 3, tuple(FAULTS))
    plans = plans_of(plan, 10)
    assert [each.seed for each in plans] == list(range(5, 15))
    series = Series(tuple(plans), ())
    assert series.line == "python -m chaos run all --seed 5 --time 3600s --schedules 10 --nodes 3"
    assert series.is_held_to_bars
    assert series.is_interrupted
    named = msgspec.structs.replace(plan, faults=("kill",))
    assert not Series(tuple(plans_of(named, 10)), ()).is_held_to_bars


def test_scenarios_name_faults_that_exist_and_leave_none_out() -> None:
    named = {kind for scenario in SCENARIOS.values() for kind in scenario.kinds}
    assert named == set(FAULTS)
    assert {fault.group for fault in FAULTS.values()} == set(GROUPS)


def test_faults_are_named_by_kind_or_by_group() -> None:
    assert kinds_of(["kill", "power", "kill"]) == ("kill", "power")
    assert kinds_of(["network"]) == SCENARIOS["network"].kinds
    with pytest.raises(ValueError, match="groups are clock, disk, members"):
        kinds_of(["earthquake"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("5h", 18000)]
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0s", "x", "-5m"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        seconds_of(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "nothing"],
        ["run", "all", "--faults", "x"],
        ["run", "all", "--mutant", "x"],
        ["run", "all", "--schedules", "0"],
        [],
    ],
)
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_the_list_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*SCENARIOS, *FAULTS))


def test_the_page_of_the_suite_names_every_scenario_and_fault() -> None:
    text = (ROOT / "docs/how-to/break-a-cluster.md").read_text("utf-8")
    assert all(f"| `{name}` |" in text for name in (*SCENARIOS, *FAULTS))


def test_every_bug_that_live_runs_have_found_has_a_test_that_exists() -> None:
    text = (ROOT / "docs/how-to/break-a-cluster.md").read_text("utf-8")
    section = text.partition("## Bugs found")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 4
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert tests, row
        for path, name in tests:
            assert f"def {name}(" in (ROOT / path).read_text("utf-8"), row


def a_verdict() -> Verdict:
    plan = Plan("all", 3, 10.0, 3, ("kill", "power"), commit="abc12")
    return Verdict(
        plan=plan,
        seconds=10.0,
        told={
            "orders": Told(1200, 1, 2),
            "notes": Told(0, 0, 500),
            "jobs": Told(34, 0, 1),
        },
        stored=1235,
        done={"readers": 5},
        notes={},
        events=(Event("kill", 1.0, "n1", 2.0, happened=True, note="<SIGKILL>", leaderless_s=0.5),),
        sights=(Sight(0.1, "n1", 1, (), 0), Sight(1.2, "", 1, (), 0), Sight(1.5, "n2", 2, (), 9)),
        pulses=(Pulse(0.0, 10, 1.0, 2.0), Pulse(5.0, 20, 3.0, 9.0)),
        leaderless_s={"kill": [0.3], "cut": []},
        send_times=SendTimes(
            [0.010] * 99, {**dict.fromkeys(KINDS, ()), "pause": [0.012]}, dict.fromkeys(KINDS, 1)
        ),
        compared=Compared(77, 5, 2),
        anomalies=(Anomaly("kept_records", "1 x lost & gone", ("offset <7>",)),),
    )


def test_the_page_of_a_run_has_all_of_it_and_needs_nothing_else() -> None:
    verdict = a_verdict()
    text = page(verdict)
    for part in (
        "1,234",
        verdict.plan.line,
        "lost &amp; gone",
        "offset &lt;7&gt;",
        "n2, term 2",
        "no leader for 0.50 s<",
        "<svg",
        "commit abc12",
        "alike on two nodes, at least<td class=n>77",
        "ranges alike on two nodes, at least<td class=n>5",
        "snapshots alike on two nodes, at least<td class=n>2",
        "a follower is paused, 1 times<td class=n>12.0 ms of 1 sends, 1.20 times the healthy",
        "10.0 ms\n<td>of at most 1.5 times",
        "<td>jobs<td class=n>34<td class=n>0<td class=n>1",
        "orders acked/s",
    ):
        assert part in text
    assert "&lt;SIGKILL&gt;" in text
    assert not [each for each in ("http:", "https:", "src=", "href=", "@import") if each in text]


def test_what_did_not_happen_is_listed_with_nought() -> None:
    text = page(a_verdict())
    row = "<tr><td>{}<td>{}<td class=n>0\n<td class=n>0<td>{}"
    assert row.format("power", FAULTS["power"].text, "\n") in text
    assert row.format("wipe", FAULTS["wipe"].text, "not planned") in text
    assert all(f"<tr><td>{kind}<td>" in text for kind in MISSING)


@pytest.mark.parametrize(
    ("changed", "told"), [("", "0123456789ab"), (" M raftlog/x.py", "0123456789ab with changes")]
)
def test_the_commit_is_told_and_whether_files_differ_from_it(
    monkeypatch: pytest.MonkeyPatch, changed: str, told: str
) -> None:
    answers = {"rev-parse": "0123456789abcdef", "status": changed}
    monkeypatch.setattr(code, "_git", lambda what, *_: answers[what])
    assert code.told_commit() == told


def test_without_git_no_commit_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(code, "ROOT", tmp_path)
    assert code.told_commit() == "no known commit"


def test_what_nobody_is_told_of_is_not_unknown_to_senders_with_receipts() -> None:
    verdict = a_verdict()
    assert (verdict.acked, verdict.refused, verdict.unknown) == (1234, 1, 3)
    assert "whose sender knows nothing<td class=n>3" in page(verdict)


def test_a_leader_that_came_later_has_a_colour_of_its_own() -> None:
    verdict = a_verdict()
    sights = (*verdict.sights, Sight(5.0, "n4", 3, (), 9))
    text = page(msgspec.structs.replace(verdict, sights=sights))
    (bar,) = re.findall(r'fill="(#\w+)"><title>n4, term 3', text)
    (key,) = re.findall(r"color:(#\w+)[^ ]* n4 leads", text)
    (nobody,) = re.findall(r'fill="(#\w+)"><title>nobody, term 1', text)
    assert bar == key != nobody


def test_p50_is_drawn_below_p99() -> None:
    """On the same scale, in its own colour."""
    curves = [line for line in page(a_verdict()).splitlines() if "<polyline" in line]
    points = [re.findall(r"[\d.]+,([\d.]+)", line) for line in curves]
    assert len(curves) == 3
    assert len({re.findall(r'stroke="([^"]+)"', line)[0] for line in curves[1:]}) == 2
    assert all(float(p99) < float(p50) for p99, p50 in zip(*points[1:], strict=True))


def test_power_beneath_the_file_layer_that_was_not_lost_is_tried_and_did_not_happen() -> None:
    verdict = a_verdict()
    events = (event("power"), Event("power", 3.0, "n2", 4.0), event("kill"))
    plan = msgspec.structs.replace(verdict.plan, shim=True)
    shim = msgspec.structs.replace(verdict, plan=plan, events=events)
    assert f"<tr><td>{SHIM[0]}<td>{SHIM[1]}<td class=n>2<td class=n>1\n" in page(shim)
    console = Console(width=200, record=True, file=StringIO())
    print_summary(shim, console)
    assert re.search(rf"{SHIM[0]} +2 +1 *\n", console.export_text())
    assert f"<tr><td>{SHIM[0]}<td>{SHIM[1]}<td class=n>0<td class=n>0\n" in page(verdict)


def test_the_page_of_several_runs_sums_them_up_and_has_each() -> None:
    verdict = a_verdict()
    other = msgspec.structs.replace(
        verdict,
        plan=msgspec.structs.replace(verdict.plan, seed=4),
        told={"orders": Told(6, 0, 0)},
    )
    text = series_page(Series((verdict.plan, other.plan), (verdict, other)))
    for part in ("1,240", "--schedules 2", verdict.plan.line, other.plan.line, "2 anomalies"):
        assert part in text
    assert text.count("<svg") == 2


def test_a_schedule_of_one_kind_goes_on_and_on() -> None:
    """Also of a kind that comes no more often than others."""
    for kind in FAULTS:
        assert [step.kind for step in islice(draw(1, [kind]), 3)] == [kind] * 3
