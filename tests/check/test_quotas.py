"""Quotas are seen as they are."""

import pytest

from chaos.check.quotas_kept import Quotas
from chaos.check.violation import Violation

ORDERS = ("topic", "orders")
ALL = ("client", "*")


@pytest.fixture
def quotas() -> Quotas:
    """Set, set, changed, one gone."""
    found = Quotas()
    found.is_set(ORDERS, (0, 1))
    found.is_set(ALL, (5, 0))
    found.is_set(ORDERS, (0, 2))
    assert found.is_gone(ALL)
    return found


def test_what_was_so_since_the_question_may_be_told(quotas: Quotas) -> None:
    """Each state is, not one before."""
    quotas.seen(2, {ORDERS: (0, 1), ALL: (5, 0)})
    quotas.seen(2, {ORDERS: (0, 2), ALL: (5, 0)})
    quotas.seen(quotas.version, {ORDERS: (0, 2)})
    with pytest.raises(Violation, match="quotas_kept"):
        quotas.seen(2, {ORDERS: (0, 1)})
    with pytest.raises(Violation, match="quotas_kept"):
        quotas.seen(0, {ORDERS: (0, 2), ALL: (5, 1)})


def test_what_is_gone_is_gone_once(quotas: Quotas) -> None:
    """A topic takes its quota with it."""
    assert quotas.is_gone(ORDERS)
    assert not quotas.is_gone(ORDERS)
    quotas.seen(quotas.version, {})
    with pytest.raises(Violation):
        quotas.seen(quotas.version, {ORDERS: (0, 2)})
