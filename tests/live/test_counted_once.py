"""The judgement of read-process-write: what is whole and there once is good, all else is told."""

from typing import Any

import pytest

from chaos.check.client_history import Records
from chaos.check.counted_once import Counted

Log = dict[int, list[bytes]]


class Story:
    """Three inputs, and two transactions that have counted them."""

    def __init__(self) -> None:
        self.records = Records("entries")
        for number in range(3):
            self.records.begin(0, 0.0)
            self.records.ok(number, 1.0, 0, number, 1)
        values = [self.records.value(number) for number in range(3)]
        self.inputs: Log = {0: values}
        self.counted = Counted("sums", self.records, 2)
        self.first = self.counted.begin(values[:2])
        self.second = self.counted.begin(values[2:])
        outputs = self.counted.outputs(self.first) + self.counted.outputs(self.second)
        self.outputs: Log = {0: [], 1: []}
        for queue, value in outputs:
            self.outputs[queue].append(value)
        self.counted.ok(self.first, [(0, 0), (1, 0), (0, 1), (1, 1)])

    def told(self) -> list[str]:
        return [anomaly.text for anomaly in self.counted.check(self.inputs, self.outputs)]


def test_what_is_counted_once_is_good() -> None:
    """Also a transaction of which nobody knows, and one that is not there at all."""
    story = Story()
    story.counted.failed(story.counted.begin([story.records.value(0)]))
    story.counted.begin([story.records.value(1)])
    assert story.told() == []
    assert story.counted.done == 1


def torn(story: Story) -> None:
    story.outputs[1].pop()


def denied(story: Story) -> None:
    story.counted.failed(story.second)


def lost(story: Story) -> None:
    story.counted.ok(story.counted.begin([story.records.value(0)]), [(0, 9), (1, 9)])


def moved(story: Story) -> None:
    story.counted.ok(story.second, [(0, 2), (1, 3)])


def doubled(story: Story) -> None:
    again = story.counted.begin([story.records.value(1)])
    for queue, value in story.counted.outputs(again):
        story.outputs[queue].append(value)


def written_twice(story: Story) -> None:
    story.outputs[0].append(story.outputs[0][-1])


def invented(story: Story) -> None:
    story.outputs[0].append(b"sums 7 7")


def uncounted(story: Story) -> None:
    story.inputs[0].append(story.records.value(story.records.begin(0, 2.0)))


def handed_out_of_nothing(story: Story) -> None:
    story.counted.begin([b"rubbish"])


def not_there(story: Story) -> None:
    story.inputs[0].pop()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (torn, "torn"),
        (denied, "denied"),
        (lost, "lost or moved"),
        (moved, "lost or moved"),
        (doubled, "doubled: counted"),
        (written_twice, "doubled: written"),
        (invented, "invented: nobody has written"),
        (uncounted, "uncounted"),
        (handed_out_of_nothing, "invented: handed out"),
        (not_there, "invented: counted"),
    ],
)
def test_what_is_wrong_is_told(harm: Any, words: str) -> None:
    """In its own words."""
    story = Story()
    harm(story)
    assert any(words in text for text in story.told()), story.told()
