"""Who was told that a message is finished, and who is given it later."""

import pytest

from chaos.check.told_acks import ToldAcks
from chaos.check.violation import Violation

GROUP, QUEUE = 1, 3


def test_nobody_who_asks_later_is_given_it() -> None:
    acks = ToldAcks()
    acks.told(GROUP, (QUEUE, 5))
    acks.told(GROUP, (QUEUE, 5))
    assert acks.count == 1
    acks.given(GROUP, (QUEUE, 5), asked=0)
    acks.given(GROUP, (QUEUE, 6), asked=1)
    acks.given(2, (QUEUE, 5), asked=1)
    with pytest.raises(Violation, match="asked after"):
        acks.given(GROUP, (QUEUE, 5), asked=1)


def test_after_a_seek_he_is_and_the_count_goes_on() -> None:
    acks = ToldAcks()
    for offset in range(3):
        acks.told(GROUP, (QUEUE, offset))
    acks.sought(GROUP, QUEUE, 1)
    acks.given(GROUP, (QUEUE, 1), asked=3)
    with pytest.raises(Violation, match="asked after"):
        acks.given(GROUP, (QUEUE, 0), asked=3)
    acks.told(GROUP, (QUEUE, 1))
    assert acks.count == 4
    acks.given(GROUP, (QUEUE, 1), asked=3)
