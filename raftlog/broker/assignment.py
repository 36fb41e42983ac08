"""Which member reads which queue of a topic: the range assignment.

::

    queues 0 1 2 3 4 5 6, members a b c:   a: 0 1 2    b: 3 4    c: 5 6

A pure function of the topic's queues and the members that subscribe to it, in
the order of their ids. So an assignment is not state: whoever knows members and
topics knows it.
"""


def places_of(position: int, *, members: int, queues: int) -> range:
    """Return the places in the topic that the member at ``position`` reads."""
    assert 0 <= position < members, f"member {position} of {members}"
    each, more = divmod(queues, members)
    first = position * each + min(position, more)
    return range(first, first + each + (position < more))
