"""What delayed messages and business ids must not do is seen, and nothing else is."""

import pytest

from chaos.check.client_history import Records
from chaos.check.later_kept import Fate, LaterMessages
from chaos.check.stored_once import check_stored_once

DUE_MS = 10_000


@pytest.fixture
def records() -> Records:
    """Three records: one acknowledged, one unknown, one refused."""
    records = Records("reminders")
    for lane in range(3):
        records.begin(lane, 1.0)
    records.ok(0, 2.0, 1, -1, 1)
    records.unknown(1, 2.0)
    records.failed(2, 2.0)
    return records


def told(records: Records, log: dict[int, list[bytes]], *fates: tuple[int, Fate]) -> list[str]:
    messages = LaterMessages(records)
    for number, fate in fates:
        messages.cancelled(number, fate)
    return [each.text.split(": ")[1] for each in messages.check(log)]


def test_delayed_messages_that_are_there_once_are_good(records: Records) -> None:
    assert told(records, {1: [records.value(0)]}) == []
    assert told(records, {0: [records.value(1)], 1: [records.value(0)]}) == []
    assert told(records, {}, (0, Fate.CANCELLED)) == []
    assert told(records, {}, (0, Fate.NOTHING)) == []
    assert told(records, {1: [records.value(0)]}, (0, Fate.NOTHING)) == []


def test_delayed_messages_that_are_not_where_they_must_be(records: Records) -> None:
    value = records.value(0)
    assert told(records, {}) == ["lost"]
    assert told(records, {}, (0, Fate.DELIVERED)) == ["lost"]
    assert told(records, {1: [value, value]}) == ["doubled"]
    assert told(records, {0: [value]}) == ["moved"]
    assert told(records, {1: [value, b"?"]}) == ["invented"]
    assert told(records, {1: [value, records.value(2)]}) == ["denied"]
    (cancelled,) = told(records, {1: [value]}, (0, Fate.CANCELLED))
    assert "to be cancelled" in cancelled


def test_a_delayed_message_that_is_seen_early(records: Records) -> None:
    messages = LaterMessages(records)
    messages.due(0, DUE_MS)
    log = {1: [records.value(0)]}
    messages.seen(1, 0, records.value(0), DUE_MS - 900)
    assert messages.check(log) == []
    messages.seen(1, 0, records.value(0), DUE_MS - 1_100)
    assert "early" in messages.check(log)[0].text
    assert messages.seen_count == 2


def payments() -> Records:
    """Two records with one id, both acknowledged at one place; one of another id, unknown."""
    records = Records("payments")
    for id_ in (0, 0, 1):
        records.begin(id_, 1.0)
    records.ok(0, 2.0, 0, 0, 1)
    records.ok(1, 2.0, 0, 0, 1)
    return records


def test_an_id_that_is_stored_once_is_good() -> None:
    records = payments()
    assert check_stored_once(records, {0: [records.value(1)]}) == []
    assert check_stored_once(records, {0: [records.value(0), records.value(2)]}) == []


def test_an_id_that_is_stored_twice_or_not_at_all() -> None:
    records = payments()
    first, second = records.value(0), records.value(1)

    def found(log: dict[int, list[bytes]]) -> list[str]:
        return [each.text.split(": ")[1] for each in check_stored_once(records, log)]

    assert found({0: [first], 1: [second]}) == ["doubled"]
    assert found({}) == ["lost"]
    assert found({1: [first]}) == ["lost"]
    assert found({0: [first, b"?"]}) == ["invented"]
    records.failed(2, 2.0)
    assert found({0: [first, records.value(2)]}) == ["denied"]
