"""Find an offset by log time: where a reader begins that wants "since nine o'clock".

Log time is what the leader stamps on every entry, and never goes back (ruling
8). So the first batch of a queue that was stored at or after a time divides the
queue, and everybody finds the same one. A record's own timestamp is its
producer's word and divides nothing.

Linearizable (ruling 23): what was acknowledged before the question is looked at.
"""

from bisect import bisect_left
from typing import Final

from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Offset
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.service.ports import ShardReplica, StoredRanges
from raftlog.service.proposing import Reply
from raftlog.service.read import no_queue


class FindService:
    """Finds offsets in the queues of one shard."""

    def __init__(
        self, replica: ShardReplica, machine: BrokerMachine, ranges: StoredRanges
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._ranges: Final = ranges

    def by_time(self, queue: int, log_time_ms: int, reply: Reply[Offset]) -> None:
        """Tell the first offset whose batch was stored at or after ``log_time_ms``.

        The queue's end if none was; never below its start. ``reply`` gets
        ``WrongQueue`` for a queue that does not exist.
        """

        def loaded(postings: Postings | None, error: RaftlogError | None) -> None:
            if postings is None:
                assert error is not None, "neither postings nor an error"
                reply(error)
            else:
                reply(self._within(queue, first_at(postings, log_time_ms)))

        def ready(error: RaftlogError | None) -> None:
            if error is not None:
                reply(error)
                return
            row = self._machine.queues.get(queue)
            if row is None:
                reply(no_queue(queue))
                return
            found = self._machine.find_time(queue, log_time_ms)
            if found is None:
                reply(row.end_offset)
            elif isinstance(found, RangeSummary):
                self._ranges.load(found, queue, loaded)
            else:
                loaded(found, None)

        self._replica.read_index(ready)

    def _within(self, queue: int, offset: Offset) -> Offset | RaftlogError:
        row = self._machine.queues.get(queue)
        if row is None:  # it was deleted while its range was read
            return no_queue(queue)
        return max(offset, row.start_offset)


def first_at(postings: Postings, log_time_ms: int) -> Offset:
    """Return the base offset of the first batch at or after a log time.

    The end of the postings if all are older: what follows them is not, because
    a range is only looked into when something in it, or right after, is younger.
    """
    place = bisect_left(postings.log_times_ms, log_time_ms)
    if place == len(postings):
        return postings.end_offset
    return postings[place].base_offset
