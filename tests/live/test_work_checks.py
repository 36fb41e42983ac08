"""What queue-style groups and half messages must not do is seen, and nothing else is."""

import pytest

from chaos.check.client_history import Records
from chaos.check.halves_kept import Halves
from chaos.check.work_done import Handed, WorkDone

ATTEMPTS = 4


def jobs(*lanes: int) -> Records:
    records = Records("jobs")
    for lane in lanes:
        records.begin(lane, 0.0)
    return records


def log_of(records: Records) -> dict[int, list[bytes]]:
    return {0: [records.value(number) for number in range(len(records))]}


class Work:
    """One message of one key, or two of them, and what members do with it."""

    def __init__(self, *lanes: int) -> None:
        self.records = jobs(*lanes)
        self.done = WorkDone(self.records, ATTEMPTS)

    def handed(self, number: int, attempts: int, asked: float) -> Handed:
        """Give it to a member, half a second after that has asked."""
        return self.done.handed(self.records.value(number), attempts, asked, asked + 0.5)

    def acked(self, number: int, attempts: int, asked: float, said: float) -> None:
        """Give it to a member that acknowledges it."""
        handed = self.handed(number, attempts, asked)
        handed.said = said
        self.done.finished(handed, said + 0.1)

    def letter(self, number: int, attempts: int = ATTEMPTS) -> None:
        self.done.letter(self.records.value(number), attempts)

    @property
    def told(self) -> list[str]:
        return [each.text.split(": ")[1] for each in self.done.check(log_of(self.records))]


@pytest.fixture
def work() -> Work:
    """One message."""
    return Work(0)


def test_work_that_is_finished_once_is_good(work: Work) -> None:
    late = work.handed(0, 1, 1.0)  # its lease ends, and its late acknowledgement is refused
    late.said = 9.0
    work.acked(0, 2, 3.0, 4.0)
    assert work.told == []


def test_an_answer_that_was_lost_is_finished_or_not(work: Work) -> None:
    unknown = work.handed(0, 1, 1.0)
    unknown.said, unknown.open = 2.0, True
    assert work.told == []
    work.letter(0)  # so it was not
    assert work.told == []


def test_an_answer_that_comes_late_is_no_lease_after_the_end(work: Work) -> None:
    work.handed(0, 1, 1.0).at = 9.0  # asked before, there after
    work.acked(0, 2, 3.0, 4.0)
    assert work.told == []


def test_work_that_nobody_has_finished(work: Work) -> None:
    work.handed(0, 1, 1.0)
    assert work.told == ["lost"]


def test_work_that_nobody_ever_got(work: Work) -> None:
    assert work.told == ["lost"]


def test_work_that_is_finished_twice(work: Work) -> None:
    work.acked(0, 1, 1.0, 2.0)
    work.letter(0)
    assert work.told == ["acknowledged with confirmation, and a dead letter all the same"]
    work.letter(0)
    assert "doubled" in work.told


def test_work_that_is_leased_again_after_its_end(work: Work) -> None:
    work.acked(0, 1, 1.0, 2.0)
    assert not work.done.leased_after_end(0)
    work.handed(0, 1, 2.5)
    assert work.done.leased_after_end(0)
    assert work.told == ["again"]


def test_work_whose_old_lease_ends_it(work: Work) -> None:
    work.handed(0, 2, 1.5)
    work.acked(0, 1, 1.0, 5.0)
    assert work.told == ["again"]


def test_work_that_two_end(work: Work) -> None:
    work.acked(0, 1, 1.0, 2.0)
    work.acked(0, 1, 1.0, 2.0)
    assert work.told == ["acknowledged more than once, each confirmed"]


def test_dead_letters_come_after_the_last_attempt(work: Work) -> None:
    handed = work.handed(0, 1, 1.0)
    work.letter(0, 1)
    assert work.told == ["a dead letter before its attempts were used up"]
    rejected = Work(0)
    handed = rejected.handed(0, 1, 1.0)
    handed.rejected = True
    rejected.letter(0, 1)
    assert rejected.told == []


def test_attempts_have_an_end(work: Work) -> None:
    work.acked(0, ATTEMPTS + 1, 1.0, 2.0)
    assert work.told == [f"leased more often than the {ATTEMPTS} attempts"]


def test_what_nobody_has_sent(work: Work) -> None:
    work.acked(0, 1, 1.0, 2.0)
    work.done.handed(b"?", 1, 0.0, 0.0)
    work.done.letter(b"?", 1)
    (found,) = work.done.check(log_of(work.records))
    assert "2 x jobs: invented" in found.text
    assert "not in the topic" in work.done.check({})[1].text


def test_the_messages_of_a_key_come_one_after_the_other() -> None:
    work = Work(7, 7, 8)
    work.acked(2, 1, 0.0, 9.0)  # of another key
    work.acked(0, 1, 1.0, 2.0)
    work.acked(1, 1, 1.8, 3.0)
    assert work.told == []


@pytest.mark.parametrize("said", [4.0, 6.0])
def test_a_message_that_overtakes_the_one_before_of_its_key(said: float) -> None:
    work = Work(7, 7)
    work.acked(1, 1, 1.0, 2.0)  # there at 1.5
    work.acked(0, 1, 1.0 if said < 5 else 5.0, said)
    assert work.told == ["overtaken"]


def test_a_message_that_fails_on_after_the_next_one_of_its_key_is_leased() -> None:
    work = Work(7, 7)
    work.acked(1, 1, 1.0, 2.0)
    work.handed(0, 4, 3.0)
    work.letter(0)
    assert work.told == ["overtaken"]


@pytest.fixture
def halves() -> tuple[Halves, Records]:
    """Four half messages: committed and rolled back by their owners, left undecided, refused."""
    records = jobs(0, 0, 0, 0)
    records.ok(0, 1.0, 0, 0, 1)
    records.failed(3, 1.0)
    made = Halves(records)
    assert made.decide(0, commit=True)
    assert not made.decide(1, commit=False)
    return made, records


def test_half_messages_that_are_there_once_are_good(halves: tuple[Halves, Records]) -> None:
    made, records = halves
    assert made.decide(0, commit=False), "the first word stands"
    made.seen(0, 0, records.value(0))
    assert made.asked(records.value(2)) == 2
    assert made.check({0: [records.value(0)]}) == []


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((), "lost"),
        ((0, 0), "doubled"),
        ((1, 0), "visible although rolled back"),
        ((0, 2), "visible although undecided"),
        ((0, 3), "denied"),
    ],
)
def test_half_messages_that_are_not_where_they_must_be(
    halves: tuple[Halves, Records], numbers: tuple[int, ...], words: str
) -> None:
    made, records = halves
    found = made.check({0: [records.value(number) for number in numbers]})
    assert words in found[0].text


def test_half_messages_elsewhere_and_of_nobody(halves: tuple[Halves, Records]) -> None:
    made, records = halves
    assert made.asked(b"?") is None
    made.told_otherwise(0, "it was rolled back")
    texts = " ".join(each.text for each in made.check({1: [records.value(0), b"?"]}))
    for words in ("moved", "invented: nobody", "a checker is asked", "otherwise"):
        assert words in texts


def test_a_half_message_that_is_seen_early(halves: tuple[Halves, Records]) -> None:
    made, records = halves
    made.seen(0, 1, records.value(2))
    made.decide(2, commit=True)
    (found,) = made.check({0: [records.value(0), records.value(2)]})
    assert "early" in found.text
