"""Which member reads which queue: the pure part.

``range`` is a function of a topic's queues and the members, in the order of their ids. So
such an assignment is not state: whoever knows members and topics knows it::

    queues 0 1 2 3 4 5 6, members a b c:   a: 0 1 2    b: 3 4    c: 5 6

``sticky`` and ``cooperative`` look at who has what now, and move as little as a balance
allows; so what they decide is state (``shares``)::

    a: 0 1 2   b: 3 4 5   and c comes:     a: 0 1      b: 3 4    c: 2 5
    range instead moves 2, 3, 4 and 5:     a: 0 1      b: 2 3    c: 4 5
"""

from collections.abc import Iterator, Mapping, Sequence


def places_of(position: int, *, members: int, queues: int) -> range:
    """Return the places in the topic that the member at ``position`` reads."""
    assert 0 <= position < members, f"member {position} of {members}"
    each, more = divmod(queues, members)
    first = position * each + min(position, more)
    return range(first, first + each + (position < more))


def spread(
    queues: Sequence[int], members: Sequence[str], owners: Mapping[int, str]
) -> dict[int, str]:
    """Return who is to read each queue: as evenly as can be, and with as few moves.

    Nobody has two queues more than another. Whoever has most keeps one more, where the
    queues can't be divided evenly: so as many queues stay as can.

    Args:
        queues: What is shared out, in order.
        members: Who takes part, at least one, in order.
        owners: Who reads which queue now, as far as somebody does.
    """
    held: dict[str, list[int]] = {member: [] for member in members}
    free: list[int] = []
    for position, queue in enumerate(queues):
        held.get(owners.get(queue, ""), free).append(position)
    each, more = divmod(len(queues), len(members))
    targets: dict[int, str] = {}
    missing: dict[str, int] = {}
    most_first = sorted(members, key=lambda member: (-len(held[member]), member))
    for rank, member in enumerate(most_first):
        quota = each + (rank < more)
        targets.update((queues[position], member) for position in held[member][:quota])
        free.extend(held[member][quota:])
        missing[member] = max(0, quota - len(held[member]))
    left: Iterator[int] = iter(sorted(free))
    for member in members:
        targets.update((queues[next(left)], member) for _ in range(missing[member]))
    return targets
