"""What must hold in every machine after every entry: for tests and the simulator.

Costs a walk over everything, so no running node calls it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from raftlog.base.assignors import COOPERATIVE
from raftlog.base.ids import Index, Offset
from raftlog.base.limits import BUSINESS_IDS_MAX
from raftlog.base.message_types import EVERY_BIT
from raftlog.broker.flights import BLOCKED, DEAD, PARKED, WAITING, Flight, Flights
from raftlog.broker.groups import Group
from raftlog.broker.hidden import Holder
from raftlog.broker.index import Postings
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.producers import REMEMBERED_MAX
from raftlog.broker.queues import Queue
from raftlog.broker.shares import balance
from raftlog.broker.transaction_invariants import check_transactions


def check(machine: BrokerMachine) -> None:
    """Check the machine against itself.

    Raises:
        AssertionError: Something does not hold; the text says what, with values.
    """
    check_topics(machine)
    check_offsets(machine)
    check_producers(machine)
    check_groups(machine)
    check_flights(machine)
    check_hidden(machine)
    check_survivors(machine)
    check_ids(machine)
    check_transactions(machine)


def check_topics(machine: BrokerMachine) -> None:
    """Topics and queues name each other, and numbers are not used twice."""
    named: set[int] = set()
    for topic in machine.topics:
        assert topic.settings.queues == len(topic.queues), f"{topic} has other queues"
        for place, number in enumerate(topic.queues):
            queue = machine.queues.get(number)
            assert queue is not None, f"queue {number} of {topic.name} is missing"
            assert (queue.number, queue.topic, queue.place) == (number, topic.name, place), queue
            assert queue.writable == topic.settings.writable, f"{queue} against {topic}"
            assert queue.readable == topic.settings.readable, f"{queue} against {topic}"
            assert number < machine.queues.next_number, f"queue {number} comes again"
            named.add(number)
    assert named == set(machine.queues.table.rows), "there are queues without a topic"
    check_types(machine)


def check_types(machine: BrokerMachine) -> None:
    """Topics that do not take everything are there, and their queues know it."""
    masks: dict[int, int] = {}
    for row in machine.types.table.after(None):
        assert 0 < row.types < EVERY_BIT, f"{row}"
        masks.update(dict.fromkeys(machine.topics.find(row.topic).queues, row.types))
    assert masks == machine.types.masks, f"{machine.types.masks}, not {masks}"


def check_offsets(machine: BrokerMachine) -> None:
    """What the index has of a queue is dense, in order, and ends where the queue does."""
    for number, queue in machine.queues.table.rows.items():
        assert 0 <= queue.start_offset <= queue.end_offset, f"{queue}"
        spans = [
            (span.base_offset, span.end_offset)
            for summary in machine.ranges
            for span in summary.queues
            if span.queue == number
        ]
        postings = machine.open_postings(number)
        if postings is not None:
            check_dense(postings)
            check_bodies(machine, queue, postings)
            spans.append((postings.base_offset, postings.end_offset))
        end = queue.end_offset if machine.trimmed and not spans else Offset(0)
        if machine.trimmed and spans:
            end = spans[0][0]
        through = max(queue.start_offset, machine.survivors.copied_through(number))
        assert not machine.trimmed or end <= through, f"{queue} begins before {end}"
        for base, after in spans:
            assert base == end, f"queue {number} goes on at {base} after {end}"
            end = after
        assert end == queue.end_offset, f"queue {number} ends at {end}, not {queue.end_offset}"


def check_dense(postings: Postings) -> None:
    """Batches follow one another without a gap in offsets and log time, and none lies twice."""
    end, time_ms = postings.base_offset, 0
    places: set[tuple[int, int]] = set()
    for number in range(len(postings)):
        posting = postings[number]
        assert posting.base_offset == end, f"{posting} does not begin at {end}"
        assert posting.log_time_ms >= time_ms, f"{posting} is before {time_ms}"
        assert (posting.index, posting.position) not in places, f"{posting} is there twice"
        end, time_ms = posting.end_offset, posting.log_time_ms
        places.add((posting.index, posting.position))


def check_bodies(machine: BrokerMachine, queue: Queue, postings: Postings) -> None:
    """What can be read has its body in the log, however long ago it was stored."""
    for number in range(len(postings)):
        posting = postings[number]
        if posting.end_offset > queue.start_offset:
            assert machine.trimmed < posting.index <= machine.applied, f"{posting} was trimmed"


def check_producers(machine: BrokerMachine) -> None:
    """Remembered batches are in order, unconfirmed, and end where the next begins."""
    for row in machine.producers.table.after(None):
        queue = machine.queues.get(row.queue)
        assert queue is not None, f"{row} writes to no queue"
        assert len(row.remembered) <= REMEMBERED_MAX, f"{len(row.remembered)} batches"
        assert row.known_through <= row.next_sequence, f"{row}"
        end = row.next_sequence
        for batch in reversed(row.remembered):
            assert batch.base_sequence + batch.count == end, f"{batch} does not end at {end}"
            assert end > row.known_through, f"{batch} is known to its producer"
            is_stored = batch.base_offset + batch.count <= queue.end_offset
            assert batch.hidden_id or is_stored, f"{batch} in {queue}"
            end = batch.base_sequence


def check_hidden(machine: BrokerMachine) -> None:
    """Hidden batches lie in the log, are counted where they lie, and have who holds them."""
    state = machine.state
    hidden: dict[tuple[int, int], tuple[int, int]] = {}
    timers: Counter[int] = Counter()
    staged = 0
    for row in state.hidden.table.after(None):
        is_open = machine.queues.get(row.queue) is not None
        assert row.index > machine.trimmed or not is_open, f"{row} was trimmed"
        assert row.index <= machine.applied, f"{row} is not in the log"
        if row.index > machine.trimmed:
            key = (state.index.range_of(row.index), row.queue)
            count, size = hidden.get(key, (0, 0))
            hidden[key] = (count + 1, size + row.length)
        if row.holder == Holder.TIMER:
            timers[row.queue] += 1
            assert state.delays.due_ms <= row.held, f"{row} would be late"
        if row.holder == Holder.STAGED:
            staged += 1
            assert state.staging.due_ms <= row.held, f"{row} would stay"
            assert state.timetable.due_ms <= row.held, "nobody looks at the timetable"
    counted = {
        (need.first_index, need.queue): (need.hidden, need.hidden_bytes)
        for need in state.index.needs.table.after(None)
        if need.hidden
    }
    assert counted == hidden, f"counted {counted}, hidden are {hidden}"
    assert len(state.delays) == timers.total(), f"{len(state.delays)} timers, not {timers}"
    assert len(state.staging) == staged, f"{len(state.staging)} staged, not {staged}"
    for queue in machine.queues.table.rows:
        assert state.delays.pending(queue) == timers[queue], f"timers of queue {queue}"
    for cancelled in state.delays.cancelled.table.after(None):
        assert state.hidden.get((cancelled.queue, cancelled.id)) is None, f"{cancelled} is pending"


def check_shares(machine: BrokerMachine, group: Group) -> None:
    """What members own is theirs, evenly shared out, and an heir's time comes or has an end."""
    rows = machine.groups.shares.of_group(group.name)
    if group.is_ranged or not group.members:
        assert not rows, f"{group.name} has {rows} although its assignment is no state"
        return
    for row in rows.values():
        assert row.owner in group.members, f"{row} is nobody's"
        assert 0 < row.since <= group.generation, f"{row} is not begun in {group.generation}"
        assert bool(row.heir) == bool(row.revoked), f"{row}"
        if row.heir:
            assert group.subscription.assignor == COOPERATIVE, f"{row} waits for nothing"
            assert row.heir in group.members, f"{row} waits for nobody"
            assert row.heir != row.owner, f"{row} waits for itself"
            assert row.revoked <= group.generation, f"{row}"
    counts = balance(rows, group.members)
    assert counts[-1] - counts[0] <= 1, f"{group.name} is shared out as {counts}"


def check_groups(machine: BrokerMachine) -> None:
    """Each queue of a subscribed topic has one owner, who subscribes to it; claims fit queues."""
    for group in machine.groups.table.after(None):
        expected = {
            number
            for name in group.subscription.topics
            if (topic := machine.topics.get(name)) is not None
            for number in topic.queues
            if group.members
        }
        owners = group.owners
        assert owners.keys() == expected, f"group {group.name} reads other queues"
        for number, member in owners.items():
            queue = machine.queues.get(number)
            assert queue is not None, f"{member} owns queue {number}, which is none"
            assert queue.topic in group.subscription.topics, f"{member} did not ask for {queue}"
        check_shares(machine, group)
    for claim in machine.claims.table.after(None):
        queue = machine.queues.get(claim.queue)
        assert queue is not None, f"{claim} of no queue"
        assert claim.committed is None or 0 <= claim.committed <= queue.end_offset, f"{claim}"


def check_flights(machine: BrokerMachine) -> None:
    """What is in flight was leased once, and is in the one state that its row says.

    By key, all before the last one of a line is finished: the first is out, the rest is parked.
    """
    leasing = machine.leasing
    flights = leasing.flights
    lines: dict[tuple[int, int, int], list[Flight]] = {}
    rows: dict[int, int] = {}
    blocked: dict[int, list[Flight]] = {}
    for row in flights.table.after(None):
        rows[row.group] = rows.get(row.group, 0) + 1
        if row.handle == BLOCKED:
            blocked.setdefault(row.group, []).append(row)
        assert row.handle > 0 or row.handle in (WAITING, PARKED, DEAD, BLOCKED), f"{row}"
        assert (row.attempts > 0) or row.handle in (WAITING, PARKED), f"{row} was never leased"
        cursor = leasing.groups.cursors.get((row.group, row.queue))
        if cursor is not None:  # else its queue or group has gone, and it is swept soon
            assert row.offset < cursor.next, f"{row} is not before {cursor}"
        if row.key:
            lines.setdefault((row.group, row.queue, row.key), []).append(row)
    for line in lines.values():
        states = [row.handle for row in line]
        assert states[0] != PARKED, f"nobody goes first: {line}"
        assert set(states[1:]) <= {PARKED}, f"out of order: {line}"
    for number, count in rows.items():
        assert flights.tally(number).rows == count, f"group {number} has {count} in flight"
    check_blocked(flights, blocked)
    for cursor in leasing.groups.cursors.after(None):
        queue = machine.queues.get(cursor.queue)
        assert queue is not None, f"{cursor} in no queue"
        assert 0 <= cursor.next <= queue.end_offset, f"{cursor} in {queue}"
        assert leasing.groups.numbered(cursor.group) is not None, f"{cursor} of no group"
    for subscription in leasing.subscriptions.table.after(None):
        assert leasing.groups.numbered(subscription.group) is not None, f"{subscription}"


def check_survivors(machine: BrokerMachine) -> None:
    """A queue's survivors have its first offset, follow one another, and lie in the log."""
    survivors, state = machine.survivors, machine.state
    through: dict[int, int] = {}
    copies: Counter[Index] = Counter()
    copied_bytes: Counter[Index] = Counter()
    for row in survivors.table.after(None):
        queue = machine.queues.get(row.queue)
        assert queue is not None, f"{row} is of a closed queue"
        assert row.end_offset > queue.start_offset, f"{row} lies before {queue}"
        end = through.get(row.queue)
        is_next = row.base_offset == end or (end is None and row.base_offset <= queue.start_offset)
        assert is_next, f"{row} does not follow {end} in {queue}"
        assert machine.trimmed < row.index <= machine.applied, f"{row} was trimmed"
        through[row.queue] = row.end_offset
        first = state.index.range_of(row.index)
        copies[first] += 1
        copied_bytes[first] += row.length
    for first, count in copies.items():
        assert survivors.copies_in(first) == (count, copied_bytes[first]), f"range {first}"
        assert sum(1 for _ in survivors.of_range(first)) == count, f"range {first} has others"
    for number in machine.queues.table.rows:
        assert survivors.copied_through(number) == through.get(number, 0), f"queue {number}"


def check_blocked(flights: Flights, blocked: Mapping[int, Sequence[Flight]]) -> None:
    """Who asks what is blocked is told what the rows say, also after a snapshot."""
    since_ms = {number: min(row.due_ms for row in rows) for number, rows in blocked.items()}
    assert flights.blocked.since_ms() == since_ms, f"{flights.blocked.since_ms()} for {since_ms}"
    assert len(flights.blocked) == sum(map(len, blocked.values())), f"{len(flights.blocked)}"
    for number, rows in blocked.items():
        keys = [(row.group, row.queue, row.offset) for row in rows]
        assert list(flights.blocked.after(number, (-1, -1))) == keys, f"blocked: {keys}"
        assert flights.tally(number).blocked == len(rows), f"group {number} has {len(rows)}"


def check_ids(machine: BrokerMachine) -> None:
    """An id that is remembered is of a record that was stored; each topic's leave in order."""
    ids = machine.state.ids
    assert len(ids.table) <= BUSINESS_IDS_MAX, f"{len(ids.table)} ids"
    homes: dict[int, list[tuple[int, int]]] = {}
    for row in ids.table.after(None):
        queue = machine.queues.get(row.queue)
        homes.setdefault(row.home, []).append((row.place, row.log_time_ms))
        if queue is None:
            assert ids.window_ms(row.home) is None, f"{row} of no queue of a topic"
            continue
        assert 0 <= row.base_offset < queue.end_offset, f"{row} in {queue}"
        assert machine.topics.find(queue.topic).queues[0] == row.home, f"{row} in {queue}"
    for home, rows in homes.items():
        rows.sort()
        assert ids.count(home) == len(rows), f"{ids.count(home)} of {len(rows)} ids in order"
        check_rising([log_time_ms for _, log_time_ms in rows])
        window_ms = ids.window_ms(home)
        due_ms = 0 if window_ms is None else rows[0][1] + window_ms
        assert ids.due_ms <= due_ms, f"home {home} is due at {due_ms}, looked at {ids.due_ms}"
        assert machine.state.timetable.due_ms <= ids.due_ms, "nobody looks at the timetable"
    assert ids.shortened.rows.keys() <= machine.queues.table.rows.keys(), "a topic that is gone"


def check_rising(times: Sequence[int]) -> None:
    """Log times never go back."""
    assert list(times) == sorted(times), f"{times}"
