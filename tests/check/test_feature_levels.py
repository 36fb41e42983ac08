"""Feature levels: what a binary can't apply, and levels that differ or fall, are seen."""

import pytest

from chaos.check.feature_levels import FeatureLevels
from chaos.check.violation import Violation
from raftlog.base.ids import Index
from tests.check.facts import N1, N2


def test_a_level_that_rises_alike_everywhere_is_good() -> None:
    """Also where one replica was restored behind some entries."""
    levels = FeatureLevels()
    for index, level in ((1, 2), (2, 2), (3, 3)):
        levels.applies(N1, Index(index), level, 3)
    for index, level in ((2, 2), (3, 3)):
        levels.applies(N2, Index(index), level, 3)


def test_more_than_a_binary_can_apply_is_seen() -> None:
    """The node stops there."""
    with pytest.raises(Violation, match="feature_levels: n1 can apply 2"):
        FeatureLevels().applies(N1, Index(5), 3, 2)


def test_two_levels_behind_one_entry_are_seen() -> None:
    """One of the two applies the next one otherwise."""
    levels = FeatureLevels()
    levels.applies(N1, Index(5), 3, 3)
    with pytest.raises(Violation, match="another one was at 3"):
        levels.applies(N2, Index(5), 2, 3)


def test_a_level_that_falls_is_seen() -> None:
    """What was decided by the higher one is not understood any more."""
    levels = FeatureLevels()
    levels.applies(N1, Index(5), 3, 3)
    with pytest.raises(Violation, match="lowers the level from 3 to 2"):
        levels.applies(N1, Index(6), 2, 3)
