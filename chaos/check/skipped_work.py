"""Work of a group that skips what nobody can do: each message is acknowledged once, or skipped.

The cluster does not say which messages it has skipped, only how many. So their count must be that
of the messages that were not acknowledged, with as much room as there are acknowledgements without
an answer: fewer, and a message is lost; more, and one has ended in two places.
"""

from chaos.check.client_history import Records
from chaos.check.work_done import EVIDENCE_MAX, WorkDone


class SkippedWork(WorkDone):
    """All work of one group on one topic."""

    def __init__(self, records: Records, attempts_max: int, *, fifo: bool = True) -> None:
        super().__init__(records, attempts_max, fifo=fifo)
        self.skipped = 0
        """What the cluster has counted, when nothing was left to do."""
        self._unfinished: list[str] = []
        self._unknown = 0

    def _check_end(self, number: int, story: str) -> None:
        if self._letters.get(number):
            self._add("a dead letter of a group that makes none", story)
        if not self._is_acked(number, maybe=True):
            self._unfinished.append(story)
        elif not self._is_acked(number):
            self._unknown += 1

    def _check_all(self) -> None:
        least, most = len(self._unfinished), len(self._unfinished) + self._unknown
        told = f"{self.skipped} are skipped; {least} to {most} were not acknowledged"
        if self.skipped < least:
            cases = "; ".join(self._unfinished[:EVIDENCE_MAX])
            self._add("lost: neither acknowledged nor skipped", f"{told}: {cases}")
        if self.skipped > most:
            self._add("skipped, and acknowledged with confirmation all the same", told)
