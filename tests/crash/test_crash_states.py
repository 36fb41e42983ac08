"""What a crash can leave of a directory, recovered by the real code (storage.md 1 to 4).

A sample of what ``make crash`` makes: every workload, every moment of it, every class
of states, fewer of each.
"""

from collections import Counter
from dataclasses import replace

import pytest

from chaos.crash.__main__ import shortfalls, table
from chaos.crash.log_contract import LogPromise
from chaos.crash.states import AGAIN, CLASSES, KILL, power_cuts
from chaos.crash.suite import WORKLOADS, Examination, Examined, examine, ways_of
from chaos.sim.disk import SimDisk, Unsynced

STEPS = 12
SHARE = 0.02
SHARE_OF_CHEAP = 0.3
"""Of workloads that have few states, or cheap ones."""
SEED = 1


@pytest.fixture(scope="module")
def examined() -> list[Examined]:
    """Every workload once, a part of its states."""
    shares = dict.fromkeys(WORKLOADS, SHARE) | {"index, snapshot": SHARE_OF_CHEAP}
    return [examine((name, SEED, STEPS, share)) for name, share in shares.items()]


@pytest.mark.timeout(300)
def test_no_crash_state_breaks_the_contract(examined: list[Examined]) -> None:
    """A failure prints the line that repeats its state."""
    broken = [str(each) for one in examined for each in one.broken]

    assert not broken, "\n".join(broken[:5])


def test_the_sample_has_every_workload_and_every_class(examined: list[Examined]) -> None:
    """A suite that no longer reaches what it tests must not stay green."""
    assert shortfalls(examined, at_least=2_000) == []
    assert all(kind in table(examined) for kind in CLASSES)


def test_a_state_is_repeated_by_its_name() -> None:
    """The first, the last, and one in which recovery was cut short."""
    examination = Examination("truncate", SEED, STEPS)
    number = len(examination._moments) // 2
    labels = [way.label for way in ways_of(examination._moments[number])]
    for state in (labels[0], labels[-1], f"{labels[-1]} {AGAIN} 0 lose"):
        again = examination.run_one(number, state)
        assert again.counts.total() == 1, state
        assert again.broken == ()


def test_a_broken_contract_is_told_with_the_line_that_repeats_it() -> None:
    """Here the promise is wrong: so many entries were never written."""
    examination = Examination("append", SEED, STEPS)
    moment = examination._moments[-1]
    assert isinstance(moment.promise, LogPromise)
    wrong = replace(moment.promise, kept=10_000)
    examination._moments[-1] = moment._replace(promise=wrong)
    (broken,) = examination.run_one(len(examination._moments) - 1, KILL).broken

    assert "entries were promised" in str(broken)
    assert f"--workload 'append' --seed {SEED} --moment" in str(broken)


def unsynced(*lengths: int) -> list[Unsynced]:
    """Return writes of these lengths, and one change of names at the end."""
    writes = [Unsynced("a", "write", 100, length, n) for n, length in enumerate(lengths)]
    return [*writes, Unsynced("a", "names", 0, 0, len(writes))]


def test_every_class_of_power_cut_is_tried() -> None:
    """Two writes, one of which spans three sectors, and a name."""
    found = list(power_cuts(unsynced(10, 1_200)))

    assert Counter(cut.kind for cut in found) == {
        "lost": 1,
        "written": 1,
        "one lost": 3,
        "one kept": 3,
        "two lost": 3,
        "zeros": 2 * 2,
        "torn": 2 * 2 * 2,  # two boundaries, either half, others kept or lost
        "names first": 1,
        "data first": 1,
    }
    assert len({cut.label for cut in found}) == len(found), "a state has a name of its own"


@pytest.mark.parametrize(
    ("label", "content"),
    [
        ("lost", bytes(8)),
        ("written", b"aaBBBBaa"),
        ("lost 1", b"aaaaaaaa"),
        ("kept 1", b"\0\0BBBB\0\0"),
        ("zeros 1, others kept", b"aa\0\0\0\0aa"),
    ],
)
def test_a_power_cut_leaves_what_it_says(label: str, content: bytes) -> None:
    """Operations are performed in their order, those that are left."""
    disk = SimDisk()
    file = disk.files().open("f", create=True)
    file.pwrite([bytes(8)], 0)
    file.sync()
    disk.files().sync_directory("")
    file.pwrite([b"aaaaaaaa"], 0)
    file.pwrite([b"BBBB"], 2)
    (cut,) = [cut for cut in power_cuts(disk.unsynced()) if cut.label == label]
    disk.cut_power(cut.fate_of)

    assert disk.content("f") == content
