"""What a crash can leave of a client's spool: nothing acknowledged is lost, nothing sent twice.

A larger sample of one workload of ``make crash``.
"""

from dataclasses import replace

import pytest

from chaos.crash.recording import ContractBroken
from chaos.crash.spool_contract import Sent, SpoolPromise
from chaos.crash.states import KILL
from chaos.crash.suite import WORKLOADS, Examination, examine
from chaos.sim.disk import SimDisk

STEPS = 12
SHARE = 0.2
SEEDS = (1, 8)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_crash_state_of_a_spool_breaks_its_contract(seed: int) -> None:
    """A failure prints the line that repeats its state."""
    found = examine(("spool", seed, STEPS, SHARE))

    assert not found.broken, "\n".join(map(str, found.broken[:5]))
    assert found.counts.total() > 300


def promises(seed: int) -> list[SpoolPromise]:
    """Return what was promised at each moment of a workload."""
    found = [each.promise for each in WORKLOADS["spool"](seed, STEPS)]
    return [each for each in found if isinstance(each, SpoolPromise)]


def test_the_workload_does_what_it_is_for() -> None:
    """Records wait, reach the cluster, are taken out; what was sent comes late."""
    found = [promise for seed in SEEDS for promise in promises(seed)]

    assert any(each.begun for each in found)
    assert any(each.handed for each in found)
    assert any(each.taken for each in found)
    assert any(each.durable and not each.cluster.stored for each in found)
    assert any(len(each.cluster.stored) == 3 for each in found), "in every queue"
    assert any(each.cluster.late for each in found)


def test_files_go_and_the_reserve_is_given_up() -> None:
    """Both change what is on the disk besides what was appended."""
    paths = [set(each.disk.paths()) for each in WORKLOADS["spool"](SEEDS[-1], STEPS)]
    first, reserve = f"spool/{1:020d}.spool", "spool/reserve"

    for path in (first, reserve):
        begun = next(number for number, names in enumerate(paths) if path in names)
        assert not all(path in names for names in paths[begun:]), path


def test_a_workload_is_the_same_each_time() -> None:
    """Or no state could be repeated by its name."""
    one, other = ([each.disk.fingerprint() for each in WORKLOADS["spool"](3, 8)] for _ in "12")
    assert one == other


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"durable": (Sent("orders", b"a", b"x"),)}, "acknowledged, and gone"),
        ({"durable": (), "begun": ()}, "nobody has sent it"),
        ({"taken": frozenset({b"v"})}, "nobody has sent it"),
    ],
)
def test_a_promise_that_was_not_kept_is_told(changes: dict[str, object], what: str) -> None:
    """Here it is the promise that is wrong."""
    examination = Examination("spool", SEEDS[0], STEPS)
    number = next(
        number
        for number, moment in enumerate(examination._moments)
        if isinstance(moment.promise, SpoolPromise)
        and moment.promise.durable
        and not moment.promise.cluster.stored
    )
    moment = examination._moments[number]
    assert isinstance(moment.promise, SpoolPromise)
    (sent, *_) = moment.promise.durable
    changes = {"taken": frozenset({sent.value})} if "taken" in changes else changes
    wrong = replace(moment.promise, **changes)  # type: ignore[arg-type]
    examination._moments[number] = moment._replace(promise=wrong)
    (broken,) = examination.run_one(number, KILL).broken

    assert what in str(broken)
    assert "--workload 'spool' --seed 1 --moment" in str(broken)


def test_a_spool_that_forgets_its_records_is_seen() -> None:
    """All files of an earlier moment, under the promise of a later one."""
    moments = WORKLOADS["spool"](SEEDS[0], STEPS)
    last = moments[-1].promise
    with pytest.raises(ContractBroken):
        last.check(SimDisk())
