"""The checkers of the live suite see what they are for: every anomaly, and nothing else."""

import pytest

from chaos.check.client_history import Event, Outcome, Records
from chaos.check.faults_happened import check_happened
from chaos.check.handed_order import HandedOrder
from chaos.check.kept_records import check_kept
from chaos.check.leaderless_time import BESIDE, leaderless_times, quantile
from chaos.check.seen_records import Seen
from chaos.check.violation import Violation


def sent(*outcomes: Outcome, lane: int = 0) -> Records:
    """Records 0, 1, .. of one lane; those that were acked are told offsets from 0 on."""
    records = Records("orders")
    offset = 0
    for outcome in outcomes:
        number = records.begin(lane, 1.0)
        if outcome == Outcome.OK:
            records.ok(number, 2.0, 0, offset, 1)
            offset += 1
        elif outcome == Outcome.FAILED:
            records.failed(number, 2.0)
        else:
            records.unknown(number, 2.0)
    return records


OK, FAILED, UNKNOWN = Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN


def log_of(records: Records, *numbers: int) -> dict[int, list[bytes]]:
    return {0: [records.value(number) for number in numbers]}


def test_a_good_run_has_no_anomaly() -> None:
    records = sent(OK, OK, UNKNOWN, FAILED, UNKNOWN)
    assert check_kept(records, log_of(records, 0, 1)) == []
    assert check_kept(records, log_of(records, 0, 1, 2, 4)) == []


@pytest.mark.parametrize(
    ("outcomes", "stored", "text"),
    [
        ((OK, OK), (0,), "1 x orders: lost"),
        ((OK, OK), (), "2 x orders: lost"),
        ((OK, UNKNOWN), (1, 0), "1 x orders: lost"),
        ((OK, UNKNOWN), (0, 0), "1 x orders: doubled"),
        ((OK, FAILED), (0, 1), "1 x orders: denied"),
        ((UNKNOWN, UNKNOWN), (1, 0), "1 x orders: reordered"),
    ],
)
def test_what_is_wrong_with_records_is_seen(
    outcomes: tuple[Outcome, ...], stored: tuple[int, ...], text: str
) -> None:
    records = sent(*outcomes)
    found = check_kept(records, log_of(records, *stored))
    assert any(each.text.startswith(text) for each in found), found
    assert all(each.evidence for each in found)


@pytest.mark.parametrize("value", [b"", b"x", b"orders 0 7 .", b"orders 0 0 changed"])
def test_what_nobody_sent_is_invented(value: bytes) -> None:
    records = sent(OK)
    (found,) = check_kept(records, {0: [records.value(0), value]})
    assert found.text.startswith("1 x orders: invented")


def test_keys_are_ordered_each_by_itself() -> None:
    records = Records("orders")
    for lane in (0, 1):
        records.begin(lane, 0.0)
    assert check_kept(records, log_of(records, 1, 0)) == []


def test_one_key_in_two_queues_is_scattered() -> None:
    records = sent(UNKNOWN, UNKNOWN, UNKNOWN)
    (found,) = check_kept(records, {0: [records.value(0)], 1: [records.value(1)]})
    assert found.text.startswith("1 x orders: scattered")
    assert "others of its key are in queue 0" in found.evidence[0]
    other = Records("orders")
    for lane in (0, 1):
        other.begin(lane, 0.0)
    assert check_kept(other, {0: [other.value(0)], 1: [other.value(1)]}) == []


@pytest.mark.parametrize(
    ("offsets", "text"),
    [
        ((3, 4, 6), "6 was handed out, and 5 was due"),
        ((3, 4, 3), "3 was handed out, and 5 was due"),
        ((3, 4, 4), "4 was handed out, and 5 was due"),
        ((4,), "4 was handed out, and 3 was due"),
        ((2,), "2 was handed out, and 3 was due"),
    ],
)
def test_a_member_that_is_handed_records_out_of_order_is_seen(
    offsets: tuple[int, ...], text: str
) -> None:
    """Also if everything is seen at last, since it comes again or to another member."""
    order = HandedOrder()
    *before, last = offsets
    for offset in before:
        order.take("claim", "queue 1, generation 2", 3, offset)
    with pytest.raises(Violation, match=f"queue 1, generation 2: {text}"):
        order.take("claim", "queue 1, generation 2", 3, last)


def test_each_claim_begins_where_the_group_stands() -> None:
    order = HandedOrder()
    for claim, start, offset in ((1, 3, 3), (1, 3, 4), (2, 0, 0), (1, 5, 5), (3, 4, 4), (2, 1, 1)):
        order.take(claim, "queue 0", start, offset)


def test_readers_that_saw_another_record_are_seen() -> None:
    records = sent(OK, OK)
    seen = Seen("readers")
    seen.take(records, 0, 0, records.value(0))
    seen.take(records, 0, 0, records.value(0))
    assert (seen.count, seen.again) == (2, 1)
    assert seen.check(records, log_of(records, 0, 1), all_of_it=False) == []
    (changed,) = seen.check(records, log_of(records, 1, 0), all_of_it=False)
    assert "read what is not there now" in changed.text
    (gone,) = seen.check(records, {0: []}, all_of_it=False)
    assert "is gone" in gone.evidence[0]
    seen.take(records, 0, 0, records.value(1))
    (twice,) = seen.check(records, log_of(records, 1), all_of_it=False)
    assert "first 0, then 1" in twice.evidence[0]


def test_a_reader_of_what_nobody_sent_is_seen() -> None:
    records = sent(OK)
    seen = Seen("readers")
    seen.take(records, 0, 0, b"strange")
    assert seen.check(records, log_of(records, 0), all_of_it=False)


def test_what_a_group_never_got_is_unseen() -> None:
    records = sent(OK, OK, OK)
    seen = Seen("group g")
    seen.take(records, 0, 0, records.value(0))
    seen.take(records, 0, 2, records.value(2))
    (found,) = seen.check(records, log_of(records, 0, 1, 2), all_of_it=True)
    assert found.text == "1 x group g: never handed out"


def test_a_run_without_its_faults_or_without_success_fails() -> None:
    done = Event("kill", 1.0, happened=True)
    tried = Event("pause", 2.0, note="it answered")
    assert check_happened(["kill"], [done], {"readers": 1}) == []
    (idle,) = check_happened(["kill", "pause"], [done, tried], {"readers": 1})
    assert (idle.text, idle.evidence) == ("pause was planned and never happened", ("it answered",))
    (untried,) = check_happened(["kill", "power"], [done], {})
    assert untried.evidence == ("it was not even tried",)
    (nothing,) = check_happened(["kill"], [done], {"readers": 0})
    assert "nothing succeeded" in nothing.text


def test_a_run_in_which_no_fault_happened_at_all_fails() -> None:
    """Also if none was demanded, as its time was too short for any."""
    for events in ([], [Event("pause", 2.0, note="it answered")]):
        (idle,) = check_happened([], events, {"readers": 1})
        assert idle.text.startswith("no fault happened")


def test_time_without_a_leader_ends_with_a_receipt_of_a_later_term() -> None:
    records = Records("orders")
    for ended, term in ((1.0, 1), (2.1, 1), (2.5, 2), (9.5, 3)):  # sent long before
        records.ok(records.begin(0, 0.5), ended, 0, 0, term)
    events = [
        Event("kill", 2.0, lost_term=1, kills=True),
        Event("pause", 9.0, lost_term=2),
        Event("pause", 9.2),
        Event("kill", 9.9, lost_term=3, kills=True),
    ]
    assert leaderless_times(events, records) == {"kill": [0.5], "cut": [0.5], BESIDE: []}
    assert [event.leaderless_s for event in events] == [0.5, 0.5, None, None]
    beside = [Event("kill", 2.0, lost_term=1, kills=True, beside=True)]
    assert leaderless_times(beside, records) == {"kill": [], "cut": [], BESIDE: [0.5]}
    records.ok(records.begin(0, 9.6), 9.7, 0, 1, 3)
    still = Event("pause", 9.55, lost_term=3)  # it leads on: the next term has another cause
    records.ok(records.begin(0, 9.8), 20.0, 0, 2, 4)
    assert leaderless_times([still], records) == {"kill": [], "cut": [], BESIDE: []}
    assert [quantile([1.0, 3.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
