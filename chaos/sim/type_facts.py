"""What the committed log says of the types of messages, told to their invariant."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from chaos.check.types_kept import TypesKept
from raftlog.base.errors import WrongMessageType
from raftlog.broker.appends import APPEND_HEADER_BYTES
from raftlog.broker.atomic_commands import read_transaction
from raftlog.broker.commands import CommandType
from raftlog.broker.delays import DELAYED_HEADER_BYTES
from raftlog.broker.message_types import AlterTypedTopic, CreateTypedTopic
from raftlog.broker.places import CommandPlace
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.topics import Topic
from raftlog.broker.transactions import HALF_HEADER_BYTES, read_half
from raftlog.wire.batch import Batch
from raftlog.wire.batch_header import table_of
from raftlog.wire.record_table import key_hash, parse_table

_NAMES: Final = ("normal", "fifo", "delayed", "transactional")
"""In the order of their bits."""
_TYPED: Final[dict[int, msgspec.msgpack.Decoder[CreateTypedTopic | AlterTypedTopic]]] = {
    int(CommandType.CREATE_TYPED_TOPIC): msgspec.msgpack.Decoder(CreateTypedTopic),
    int(CommandType.ALTER_TYPED_TOPIC): msgspec.msgpack.Decoder(AlterTypedTopic),
}
_DELAYED: Final = frozenset({"delayed"})
_TRANSACTIONAL: Final = frozenset({"transactional"})


class TypeFacts:
    """The types of one run."""

    def __init__(self, marks: Counter[str]) -> None:
        self._kept: Final = TypesKept()
        self._marks: Final = marks

    def carried_out(
        self, kind: int, place: CommandPlace, body: memoryview, length: int, outcome: object
    ) -> None:
        """Take in a command and what became of it.

        Raises:
            Violation: Something is stored that its topic does not take, or refused that it does.
        """
        if isinstance(outcome, Topic):
            self._altered(kind, body[place.position : place.position + length], outcome)
            return
        if getattr(outcome, "duplicate", False):
            return
        is_refused = isinstance(outcome, CommandRefused)
        if isinstance(outcome, CommandRefused) and not isinstance(outcome.error, WrongMessageType):
            return
        found = _what_came(kind, place, body, length)
        if found is None:
            return
        queues, came = found
        if is_refused:
            self._kept.refused(queues, came)
            return
        for queue in queues:
            self._kept.stored(queue, came)
            if self._kept.takes(queue) & {"normal", "fifo"} == {"fifo"} and "fifo" in came:
                self._marks["fifo messages alone taken"] += 1

    def _altered(self, kind: int, data: memoryview, topic: Topic) -> None:
        if kind in _TYPED:
            bits = _TYPED[kind].decode(data).types
            types = frozenset(name for at, name in enumerate(_NAMES) if bits >> at & 1)
            self._marks["topics told their types"] += 1
        else:  # queues that are added take what the others do
            types = self._kept.takes(topic.queues[0])
        self._kept.told(topic.queues, types)


def _what_came(
    kind: int, place: CommandPlace, body: memoryview, length: int
) -> tuple[Sequence[int], frozenset[str]] | None:
    """Return for which queues something came, and of which types it may be; None: nothing did."""
    at, end = place.position, place.position + length
    queue = int.from_bytes(body[at : at + 4], "little")
    match kind:
        case CommandType.APPEND_BATCH | CommandType.APPEND_ONCE:
            return [queue], _types_of(bytes(body[at + APPEND_HEADER_BYTES : end]))
        case CommandType.APPEND_DELAYED:
            assert length > DELAYED_HEADER_BYTES, "a delayed append without a batch"
            return [queue], _DELAYED
        case CommandType.STAGE_BATCH:
            return [queue], _TRANSACTIONAL
        case CommandType.STAGE_HALF:
            assert length > HALF_HEADER_BYTES, "a half message without a batch"
            return [read_half(body, at)[3]], _TRANSACTIONAL
        case CommandType.COMMIT_TRANSACTION:
            head, _ = read_transaction(body, place, length)
            return [number for number, _ in head.parts], _TRANSACTIONAL
        case _:
            return None


def _types_of(data: bytes) -> frozenset[str]:
    """Return what a plain send is: a FIFO message is a normal one, too."""
    batch = Batch(data)
    hashes = None
    if batch.header.table_length:
        table = table_of(data, batch.header.table_length)
        hashes = parse_table(table, batch.header.count).fifo_key_hashes
    keys = [record.key for record in batch.records()]
    if hashes is None or None in keys:
        return frozenset({"normal"})
    assert list(hashes) == [key_hash(key) for key in keys if key is not None], "hashes of others"
    return frozenset({"normal", "fifo"})
