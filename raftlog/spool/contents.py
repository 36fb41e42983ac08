"""What a spool holds, as its notes say: which records wait, and which were perhaps sent.

::

    Spooled    a record waits
    Attempt    so many of them are a batch for a queue, under an epoch and a sequence
    GaveBack   that batch is not stored, and never will be: its records wait again, in their place
    Stored     it is stored: its records are gone
    TakenOut   the user has taken these records out

An ``Attempt`` is on disk before anything of it is sent; a queue has one at a time. Pure:
the same notes, the same contents.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from raftlog.base.errors import DamagedLog
from raftlog.client.packing import route_of
from raftlog.spool.journal import Place
from raftlog.wire.batch import Record


class Spooled(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A record waits. ``place`` is the queue's in the topic, if the user chose one."""

    topic: str
    place: int | None
    made_ms: int
    value: bytes | None
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int
    tag: str | None
    id: str | None

    @property
    def record(self) -> Record:
        """As it is sent."""
        return Record(
            *(self.value, self.key, self.headers, self.timestamp_ms, self.tag, self.id),
        )


class Attempt(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A batch that is sent, perhaps: the numbers of its records, in order.

    Attributes:
        idle_days: For how long its queue had been sent nothing by this run before, in whole days.
    """

    queue: int
    epoch: int
    sequence: int
    topic: str
    place: int
    made_ms: int
    numbers: tuple[int, ...]
    idle_days: int = 0


class GaveBack(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The queue's batch, of this note, is not stored, and never will be."""

    queue: int
    attempt: int


class Stored(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The queue's batch, of this note, is stored."""

    queue: int
    attempt: int


class TakenOut(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The user has taken these records out."""

    numbers: tuple[int, ...]


Note = Spooled | Attempt | GaveBack | Stored | TakenOut
encode_note: Final = msgspec.msgpack.Encoder().encode
_decoder: Final[msgspec.msgpack.Decoder[Note]] = msgspec.msgpack.Decoder(Note)


def decode_note(data: bytes) -> Note:
    """Return what a note says.

    Raises:
        DamagedLog: Nothing that this version knows.
    """
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise DamagedLog(f"a note of the spool does not decode: {error}") from error


class Held(msgspec.Struct, frozen=True, gc=False):
    """A record that the spool answers for: where it lies, and what chooses its queue."""

    at: Place
    topic: str
    place: int | None
    made_ms: int
    route: bytes | None
    is_alone: bool
    """It has an id, and a batch of its own."""


class Contents:
    """What one spool holds.

    Files go when their records are gone. So a note may be about one that was in such a file: it
    has a number below ``first``, and everything that becomes of it is said by later notes.

    Attributes:
        first: The number of the first note on disk.
        noted_ms: The latest time that a note tells.
        waiting: By topic, by number, in order.
        attempts: By queue.
    """

    def __init__(self) -> None:
        self.first = 1
        self.noted_ms = 0
        self.waiting: dict[str, dict[int, Held]] = {}
        self.attempts: dict[int, Attempt] = {}
        self._attempted: dict[int, int] = {}
        """The numbers of the attempts' notes, by queue."""
        self._sent: dict[int, Held] = {}
        """Of the attempts, by number."""
        self._files: Counter[int] = Counter()
        """How many records each file holds still."""

    def load(self, first: int, notes: Iterable[tuple[Place, bytes]]) -> None:
        """Take in everything that a journal has.

        Args:
            first: The number of its first note.
            notes: All of them, in order.

        Raises:
            DamagedLog: They don't follow from each other, or something is missing.
        """
        self.first = first
        for place, data in notes:
            self.apply(place, decode_note(data))
        self.check()

    def apply(self, at: Place, note: Note) -> None:
        """Take in a note that is on disk.

        Raises:
            DamagedLog: It does not follow from the ones before.
        """
        try:
            self._apply(at, note)
        except KeyError as error:
            raise DamagedLog(f"note {at.number} of the spool is about {error}") from error

    def _apply(self, at: Place, note: Note) -> None:
        match note:
            case Spooled():
                held = Held(
                    *(at, note.topic, note.place, note.made_ms),
                    *(route_of(note.record), note.id is not None),
                )
                self.waiting.setdefault(note.topic, {})[at.number] = held
                self._files[at.segment] += 1
                self.noted_ms = max(self.noted_ms, note.made_ms)
            case Attempt():
                self.noted_ms = max(self.noted_ms, note.made_ms)
                self.attempts[note.queue] = note
                self._attempted[note.queue] = at.number
                for number in note.numbers:
                    if number >= self.first:
                        self._sent[number] = self._take(note.topic, number)
            case GaveBack():
                back = self._end(note)
                if back:
                    topic = next(iter(back.values())).topic
                    waiting = self.waiting.get(topic, {})
                    self.waiting[topic] = dict(sorted({**back, **waiting}.items()))
            case Stored():
                for held in self._end(note).values():
                    self._forget(held)
            case TakenOut():
                topics = {number: topic for topic, all_ in self.waiting.items() for number in all_}
                for number in note.numbers:
                    if number >= self.first:
                        self._forget(self._take(topics[number], number))

    def _end(self, note: GaveBack | Stored) -> dict[int, Held]:
        """End an attempt; return its records, as far as their files are there."""
        if note.attempt < self.first:
            return {}
        number = self._attempted.pop(note.queue)
        attempt = self.attempts.pop(note.queue)
        if number != note.attempt:
            raise KeyError(note.attempt)
        numbers = [each for each in attempt.numbers if each >= self.first]
        return {each: self._sent.pop(each) for each in numbers}

    def check(self) -> None:
        """Check, after all notes, that nothing is missing.

        Raises:
            DamagedLog: A batch that is not settled has records in files that are gone.
        """
        for attempt in self.attempts.values():
            for number in attempt.numbers:
                if number not in self._sent:
                    raise DamagedLog(f"record {number} of the spool is gone, and not settled")

    def stored(self, attempt: Attempt) -> Stored:
        """Return the note that a batch is stored."""
        return Stored(attempt.queue, self._attempted[attempt.queue])

    def gave_back(self, attempt: Attempt) -> GaveBack:
        """Return the note that a batch is not."""
        return GaveBack(attempt.queue, self._attempted[attempt.queue])

    def held(self, attempt: Attempt) -> list[Held]:
        """Return the records of a batch."""
        return [self._sent[number] for number in attempt.numbers]

    def attempts_of(self, topic: str) -> list[Attempt]:
        """Return the batches of a topic that were perhaps sent."""
        return [each for each in self.attempts.values() if each.topic == topic]

    def numbers(self) -> list[int]:
        """Return the numbers of all records."""
        return [*self._sent, *(number for waiting in self.waiting.values() for number in waiting)]

    def of_topic(self, topic: str) -> list[Held]:
        """Return all records of a topic, in order."""
        sent = [held for held in self._sent.values() if held.topic == topic]
        return sorted(
            [*self.waiting.get(topic, {}).values(), *sent], key=lambda held: held.at.number
        )

    @property
    def count(self) -> int:
        """Records that are held."""
        return self._files.total()

    @property
    def oldest(self) -> Held | None:
        """The record that is held for longest; None: there is none."""
        firsts = [next(iter(waiting.values())) for waiting in self.waiting.values()]
        return min([*firsts, *self._sent.values()], key=lambda held: held.at.number, default=None)

    @property
    def oldest_file(self) -> int | None:
        """The oldest file that is needed; None: none is."""
        return min(self._files, default=None)

    def _take(self, topic: str, number: int) -> Held:
        waiting = self.waiting[topic]
        held = waiting.pop(number)
        if not waiting:
            del self.waiting[topic]
        return held

    def _forget(self, held: Held) -> None:
        self._files[held.at.segment] -= 1
        if not self._files[held.at.segment]:
            del self._files[held.at.segment]


def ready_batches(
    waiting: Sequence[Held],
    place_of: Callable[[Held], int],
    busy: frozenset[int],
    records_max: int,
    bytes_max: int,
) -> Iterator[tuple[int, list[Held]]]:
    """Yield what can be sent now, by the queue's place: one batch each, in order.

    Args:
        waiting: Of one topic, in order.
        place_of: Chooses the queue's place.
        busy: Places of queues that have a batch under way: their records wait.
        records_max: Of a batch.
        bytes_max: Of a batch, unless a record alone is larger.
    """
    found: dict[int, list[Held]] = {}
    sizes: Counter[int] = Counter()
    for held in waiting:
        place = place_of(held)
        if place in busy:
            continue
        batch = found.setdefault(place, [])
        size = sizes[place] + held.at.size
        if batch and (held.is_alone or batch[0].is_alone or len(batch) >= records_max):
            size = bytes_max + 1
        if batch and size > bytes_max:
            size = bytes_max + 1  # it is full: nothing may overtake what did not fit
        else:
            batch.append(held)
        sizes[place] = max(size, 1)
    yield from found.items()
