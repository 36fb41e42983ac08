"""Schedules are drawn from a seed, and what is asked for exists."""

from itertools import islice
from pathlib import Path

import pytest

from chaos.__main__ import main, seconds_of
from chaos.check.client_history import Anomaly, Event
from chaos.live.faults import FAULTS
from chaos.live.page import GROUPS, page
from chaos.live.schedule import SCENARIOS, draw, kinds_of
from chaos.live.verdict import Plan, Pulse, Verdict
from chaos.live.world import Sight

ROOT = Path(__file__).parents[2]


def test_one_seed_is_one_schedule() -> None:
    kinds = tuple(FAULTS)
    first = list(islice(draw(7, kinds), 200))
    assert first == list(islice(draw(7, kinds), 200))
    assert first != list(islice(draw(8, kinds), 200))


def test_every_kind_comes_before_any_comes_again() -> None:
    kinds = tuple(FAULTS)
    assert {step.kind for step in islice(draw(1, kinds), len(kinds))} == set(kinds)


def test_scenarios_name_faults_that_exist_and_leave_none_out() -> None:
    named = {kind for scenario in SCENARIOS.values() for kind in scenario.kinds}
    assert named == set(FAULTS)
    assert {fault.group for fault in FAULTS.values()} == set(GROUPS)


def test_faults_are_named_by_kind_or_by_group() -> None:
    assert kinds_of(["kill", "power", "kill"]) == ("kill", "power")
    assert kinds_of(["network"]) == SCENARIOS["network"].kinds
    with pytest.raises(ValueError, match="groups are disk, members"):
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
    [["run", "nothing"], ["run", "all", "--faults", "x"], ["run", "all", "--mutant", "x"], []],
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


def test_the_page_of_a_run_has_all_of_it_and_needs_nothing_else() -> None:
    plan = Plan("all", 3, 10.0, 3, ("kill", "power"))
    verdict = Verdict(
        plan=plan,
        seconds=10.0,
        acked=1234,
        failed=1,
        unknown=2,
        stored=1235,
        done={"readers": 5},
        notes={},
        events=(Event("kill", 1.0, "n1", 2.0, happened=True, note="<SIGKILL>"),),
        sights=(Sight(0.1, "n1", 1, (), 0), Sight(1.2, "", 1, (), 0), Sight(1.5, "n2", 2, (), 9)),
        pulses=(Pulse(0.0, 10, 1.0, 2.0), Pulse(5.0, 20, 1.0, 9.0)),
        leaderless_s={"kill": [0.3], "cut": []},
        entries_compared=77,
        anomalies=(Anomaly("kept_records", "1 x lost & gone", ("offset <7>",)),),
    )
    text = page(verdict)
    for part in ("1,234", plan.line, "lost &amp; gone", "offset &lt;7&gt;", "n2, term 2", "<svg"):
        assert part in text
    assert "&lt;SIGKILL&gt;" in text
    assert not [each for each in ("http:", "https:", "src=", "href=", "@import") if each in text]
