"""The invariant of what is kept until it is consumed sees what it is for."""

import pytest

from chaos.check.until_consumed import check_consumed
from chaos.check.violation import Violation


def test_the_slowest_group_decides() -> None:
    """A start that stays is nobody's loss."""
    check_consumed(1, 3, 5, {"a": 5, "b": 9})
    check_consumed(1, 3, 3, {})
    with pytest.raises(Violation, match="b has committed 4"):
        check_consumed(1, 3, 5, {"a": 5, "b": 4})
    with pytest.raises(Violation, match="nobody"):
        check_consumed(1, 3, 5, {})
