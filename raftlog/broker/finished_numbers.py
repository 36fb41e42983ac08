"""Numbers that are finished, as intervals: what a transactor has behind it, in little space.

::

    1 2 3 5 6 9   -->   [1, 4, 5, 7, 9, 10]      first, end, first, end, ...

A list that is full closes its lowest gap: the numbers in it count as finished though they
never were. So a late copy is refused rather than done twice, and a number that was skipped
is lost to whoever comes back to it a thousand numbers later.
"""

from bisect import bisect_right

from raftlog.base.limits import FINISHED_INTERVALS_MAX


def is_finished(intervals: list[int], number: int) -> bool:
    """Whether ``number`` lies in one of the intervals."""
    return bisect_right(intervals, number) % 2 == 1


def finish(intervals: list[int], number: int) -> None:
    """Add a number that may be there already."""
    at = bisect_right(intervals, number)
    if at % 2:
        return
    joins_before = at > 0 and intervals[at - 1] == number
    joins_after = at < len(intervals) and intervals[at] == number + 1
    if joins_before and joins_after:
        del intervals[at - 1 : at + 1]
    elif joins_before:
        intervals[at - 1] = number + 1
    elif joins_after:
        intervals[at] = number
    else:
        intervals[at:at] = [number, number + 1]
        if len(intervals) > 2 * FINISHED_INTERVALS_MAX:
            del intervals[1:3]
