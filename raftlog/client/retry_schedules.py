"""Schedules of waits between attempts, for ``retry=`` of queue-style groups.

A group keeps a list, and repeats its last wait. So a schedule that grows is a list that ends
where it has grown to its limit::

    exponential_retry(1, limit=60)    1 s, 2 s, 4 s, 8 s, 16 s, 32 s, 60 s (again and again)
"""

from datetime import timedelta

from raftlog.base.errors import BadDelay, BadRequest
from raftlog.base.limits import RETRY_DELAY_MS_MAX, RETRY_DELAYS_MAX
from raftlog.client.durations import Duration
from raftlog.client.queue_message import delay_ms


def exponential_retry(
    first: Duration,
    *,
    factor: float = 2.0,
    limit: Duration = timedelta(milliseconds=RETRY_DELAY_MS_MAX),
    count: int = RETRY_DELAYS_MAX,
) -> list[timedelta]:
    """Return waits that grow by a factor, for the ``retry`` of a queue-style group.

    The list ends with the first wait that is as long as ``limit``, or that can't grow: the
    group repeats its last one. It says nothing of how many attempts there are: ``attempts`` does.

    Args:
        first: Seconds to wait after the first attempt, 1 ms to 24 h; in whole milliseconds.
        factor: How many times longer each wait is than the one before, 1 or more.
        limit: No wait is longer, ``first`` to 24 h.
        count: So many waits at most, 1 to 64.

    Raises:
        BadDelay: ``first`` or ``limit`` is none of these.
        BadRequest: A factor below 1, or a count that is none of these.
    """
    first_ms, limit_ms = delay_ms(first) or 0, delay_ms(limit) or 0
    if not 0 < first_ms <= limit_ms:
        raise BadDelay(
            f"waits from {first!r} to {limit!r}; the first is 1 ms or more, to the limit"
        )
    if not factor >= 1:
        raise BadRequest(f"waits that grow by a factor of {factor}; it is 1 or more")
    if not 1 <= count <= RETRY_DELAYS_MAX:
        raise BadRequest(f"a schedule of {count} waits; it is 1 to {RETRY_DELAYS_MAX}")
    waits = [first_ms]
    exact = float(first_ms)
    while len(waits) < count and waits[-1] < limit_ms and factor > 1:
        exact = min(exact * factor, limit_ms)
        waits.append(round(exact))
    return [timedelta(milliseconds=wait) for wait in waits]
