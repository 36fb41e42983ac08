"""Business ids: in a window of log time a queue stores one record for each id (ruling 30).

Told in the order of the log, with the windows as topics had them then. A record that is stored
although its id is remembered is a duplicate; one that is answered as known although its
id is not, or with another place, is lost.
"""

from typing import Final

from chaos.check.violation import Violation

NAME: Final = "business_ids"


class BusinessIds:
    """Which ids are remembered, and where every record with an id is."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[int, int]] = {}
        """Queue and id: log time, offset."""
        self._places: dict[tuple[int, str], set[int]] = {}

    def passes(self, log_time_ms: int, windows_ms: dict[int, int]) -> None:
        """Take in that an entry of this log time comes, with the windows of the queues there are.

        Whose window is over may be stored again from here on.
        """
        over = [
            key
            for key, (at_ms, _) in self._known.items()
            if key[0] not in windows_ms or at_ms + windows_ms[key[0]] <= log_time_ms
        ]
        for key in over:
            del self._known[key]

    def stored(self, queue: int, id_: str, offset: int, at_ms: int, window_ms: int) -> None:
        """Take in that a record with an id got an offset of its own.

        Raises:
            Violation: Another one is remembered.
        """
        known = self._known.get((queue, id_))
        if known is not None and window_ms:
            raise Violation(
                NAME, f"{id_!r} is stored in queue {queue} at {offset} and at {known[1]}"
            )
        if window_ms:
            self._known[queue, id_] = (at_ms, offset)
        self._places.setdefault((queue, id_), set()).add(offset)

    def answered(self, queue: int, id_: str, offset: int, window_ms: int) -> None:
        """Take in that a record was not stored, as its id is known from ``offset``.

        Raises:
            Violation: It is not known, or from somewhere else.
        """
        known = self._known.get((queue, id_))
        if known is None or known[1] != offset or not window_ms:
            raise Violation(
                NAME,
                f"{id_!r} is not stored in queue {queue}: it is said to be at {offset}, and is "
                f"remembered from {known}",
            )

    def told(self, queue: int, id_: str, offset: int | None) -> None:
        """Take in that an owner hears that its id is stored, here, or at a forgotten offset.

        Raises:
            Violation: It never was.
        """
        places = self._places.get((queue, id_), set())
        if not places or (offset is not None and offset not in places):
            raise Violation(
                NAME, f"{id_!r} is acked at {offset} of queue {queue}; it is at {places}"
            )
