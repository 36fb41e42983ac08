"""The invariant of business ids sees what it is for."""

import pytest

from chaos.check.business_ids import BusinessIds
from chaos.check.violation import Violation


def test_an_id_is_stored_once_in_its_window_and_again_after_it() -> None:
    """At the very millisecond where the window is over it is free."""
    ids = BusinessIds()
    ids.stored(1, "a", 0, 100, 50)
    ids.passes(149, {1: 50})
    ids.answered(1, "a", 0, 50)
    with pytest.raises(Violation, match="stored in queue 1"):
        ids.stored(1, "a", 5, 149, 50)
    ids.passes(150, {1: 50})
    with pytest.raises(Violation, match="not stored"):
        ids.answered(1, "a", 0, 50)
    ids.stored(1, "a", 5, 150, 50)
    ids.told(1, "a", 0)
    with pytest.raises(Violation, match="acked"):
        ids.told(1, "a", 3)


def test_without_a_window_or_in_another_queue_ids_are_free() -> None:
    """Nothing is remembered there."""
    ids = BusinessIds()
    ids.stored(1, "a", 0, 100, 50)
    ids.stored(2, "a", 0, 100, 50)
    ids.stored(1, "a", 1, 100, 0)
    with pytest.raises(Violation, match="acked"):
        ids.told(3, "a", None)
