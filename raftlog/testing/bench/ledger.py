"""What was sent, what was acknowledged, and whether the log has exactly that.

Every value that the bench sends carries its number in its first eight bytes, so
a record that is read back names the send that it came from. The ledger keeps
one place per send. After the run::

    expected   the values of the acknowledged sends, by the offset they were given
    found      the values that the log has at those offsets

are hashed, each queue in offset order, and compared. A record that nobody was given a receipt
for is allowed only if its send ended with an unknown outcome, and only once.
"""

import hashlib
import struct
from array import array
from collections.abc import Callable
from itertools import repeat
from typing import Final

import msgspec

from raftlog.base.entry import Buffer

_NUMBER: Final = struct.Struct("<Q")
NUMBER_BYTES: Final = _NUMBER.size
UNANSWERED: Final = -1
REFUSED: Final = -2
NOBODY: Final = -1


class Values:
    """Values of one size, each with its number in front."""

    def __init__(self, size: int) -> None:
        if size < NUMBER_BYTES:
            raise ValueError(f"a value carries its number: at least {NUMBER_BYTES} bytes")
        self.size = size
        pattern = bytes(range(256)) * (size // 256 + 1)
        self._rest = pattern[: size - NUMBER_BYTES]

    def make(self, number: int) -> bytes:
        """Return value ``number``."""
        return _NUMBER.pack(number) + self._rest


def number_of(value: Buffer) -> int:
    """Return the number of a value that ``Values`` made; any bytes give some number."""
    if len(value) < NUMBER_BYTES:
        return -1
    number: int = _NUMBER.unpack_from(value)[0]
    return number


class Verdict(msgspec.Struct, frozen=True):
    """How the log compares with what was acknowledged."""

    acked: int
    found: int
    unknown_found: int
    digest: str
    expected_digest: str
    strangers: int

    @property
    def verified(self) -> bool:
        """Whether everything acknowledged is there, as it was sent, and nothing strange is."""
        return (
            self.acked == self.found
            and self.digest == self.expected_digest
            and self.strangers == 0
        )


class Ledger:
    """One place per send, in the order in which they were sent: a queue and an offset in it.

    ``make`` gives what send ``number`` sent; ``records_each`` is how many
    records that is (a send may be a whole batch: then its bytes are compared
    as one value, the values of its records joined).
    """

    def __init__(self, make: Callable[[int], Buffer], records_each: int = 1) -> None:
        self._make = make
        self.records_each = records_each
        self._offsets = array("q")
        self._queues = array("I")
        self.acked_count = 0
        self.unknown_count = 0

    def __len__(self) -> int:
        """Count the sends."""
        return len(self._offsets)

    @property
    def last_offset(self) -> int:
        """The largest offset that a send was given, or -1."""
        return max(self._offsets, default=UNANSWERED)

    def begin(self) -> int:
        """Note a send and return its number."""
        self._offsets.append(UNANSWERED)
        self._queues.append(0)
        return len(self._offsets) - 1

    def acked(self, number: int, offset: int, queue: int = 0) -> None:
        """The send was given ``offset`` of ``queue`` (any number that names one)."""
        self._offsets[number] = offset
        self._queues[number] = queue
        self.acked_count += 1

    def refused(self, number: int) -> None:
        """The send ended with a definite refusal: it must not be in the log."""
        self._offsets[number] = REFUSED

    def unknown(self, number: int) -> None:
        """The send ended without a definite answer: it may be in the log, once."""
        assert self._offsets[number] == UNANSWERED, f"send {number} was answered already"
        self.unknown_count += 1

    def reading(self) -> "ReadBack":
        """Start to compare: give it every record of every queue."""
        return ReadBack(self._make, self._offsets, self._queues, self.records_each)


class _Queue:
    """What one queue should hold, and what was found in it so far."""

    __slots__ = ("found", "numbers")

    def __init__(self) -> None:
        self.numbers = array("q")
        """The send at each place, -1: none."""
        self.found = hashlib.sha256()

    def note(self, place: int, number: int) -> None:
        """``number`` was given ``place``."""
        numbers = self.numbers
        if place >= len(numbers):
            numbers.extend(repeat(NOBODY, place + 1 - len(numbers)))
        # Two sends at one place: the later wins here, the counts will differ.
        numbers[place] = number

    def at(self, place: int) -> int:
        """Return the send that was given ``place``, or -1."""
        return self.numbers[place] if place < len(self.numbers) else NOBODY


class ReadBack:
    """Compares queues with a ledger, send by send, in offset order of each queue."""

    def __init__(
        self,
        make: Callable[[int], Buffer],
        offsets: "array[int]",
        queues: "array[int]",
        records_each: int,
    ) -> None:
        self._make = make
        self._offsets = offsets
        self._each = records_each
        self._queues: dict[int, _Queue] = {}
        self._acked = 0
        self._found = 0
        self._unknown_found: set[int] = set()
        self._strangers = 0
        for number, (offset, queue) in enumerate(zip(offsets, queues, strict=True)):
            if offset >= 0:
                self._queue(queue).note(offset // records_each, number)
                self._acked += 1

    def _queue(self, queue: int) -> _Queue:
        found = self._queues.get(queue)
        if found is None:
            found = self._queues[queue] = _Queue()
        return found

    def record(self, offset: int, value: Buffer, queue: int = 0) -> None:
        """Take what one send put at ``offset``; each offset comes once, in rising order."""
        place, rest = divmod(offset, self._each)
        if rest:
            self._strangers += 1  # a batch of another size came in between
            return
        found = self._queue(queue)
        if found.at(place) >= 0:
            self._found += 1
            found.found.update(value)
            return
        claimed = number_of(value)
        allowed = (
            0 <= claimed < len(self._offsets)
            and self._offsets[claimed] == UNANSWERED
            and claimed not in self._unknown_found
            and value == self._make(claimed)
        )
        if allowed:
            self._unknown_found.add(claimed)
        else:
            self._strangers += 1

    def verdict(self) -> Verdict:
        """Return the comparison, after the last record."""
        found = hashlib.sha256()
        wanted = hashlib.sha256()
        for _, queue in sorted(self._queues.items()):
            expected = hashlib.sha256()
            for number in queue.numbers:
                if number >= 0:
                    expected.update(self._make(number))
            wanted.update(expected.digest())
            found.update(queue.found.digest())
        return Verdict(
            acked=self._acked,
            found=self._found,
            unknown_found=len(self._unknown_found),
            digest=found.hexdigest(),
            expected_digest=wanted.hexdigest(),
            strangers=self._strangers,
        )
