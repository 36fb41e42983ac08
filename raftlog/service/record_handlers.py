"""Requests about records: append, read, and where offsets are."""

from typing import cast

from raftlog.base.errors import BadFilter, BadRequest, RaftlogError
from raftlog.base.ids import Index, Offset
from raftlog.broker.appends import Appended
from raftlog.service.filtering import (
    LOOKED_BYTES_MAX,
    FilteredResult,
    FilterService,
    LookedAt,
    OnFiltered,
)
from raftlog.service.find import FindService
from raftlog.service.ports import ClientRequest
from raftlog.service.produce import ProduceService
from raftlog.service.read import ReadRequest, ReadResult, ReadService
from raftlog.wire.filters import record_filter
from raftlog.wire.schema import client
from raftlog.wire.schema import search as search_messages
from raftlog.wire.searches import RecordSearch, searcher_of


def append(produce: ProduceService, durability: str, request: ClientRequest) -> None:
    """Append the batch that is the request's payload."""

    def answer(outcome: Appended | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
            return
        request.reply(
            client.BatchAppended(
                base_offset=outcome.base_offset,
                term=outcome.term,
                index=outcome.index,
                durability=durability,
                duplicate=outcome.duplicate,
            )
        )

    message = cast("client.AppendBatch", request.message)
    sender = message.client if produce.has_quotas else ""
    produce.append(message.queue, request.payload, answer, sender)


def read(service: ReadService, filters: FilterService, request: ClientRequest) -> None:
    """Read from an offset, perhaps after a wait."""
    message = cast("client.ReadBatches", request.message)
    if message.HasField("filter"):
        _read_filtered(filters, message, request)
        return

    def answer(outcome: ReadResult | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
            return
        request.reply(
            _batches_read(outcome),
            outcome.batches,
        )

    reading = service.read(_read_request(message), answer)
    request.on_cancelled = reading.cancel


def _batches_read(read: ReadResult) -> client.BatchesRead:
    return client.BatchesRead(
        base_offsets=read.base_offsets,
        lengths=map(len, read.batches),
        start_offset=read.start_offset,
        end_offset=read.end_offset,
        applied=read.applied,
    )


def _read_request(message: client.ReadBatches) -> ReadRequest:
    return ReadRequest(
        queue=message.queue,
        offset=Offset(message.offset),
        bytes_max=message.bytes_max,
        wait_ns=message.wait_ms * 1_000_000,
        session_applied=Index(message.session_applied),
        staleness_ns=(
            message.staleness_ms * 1_000_000 if message.HasField("staleness_ms") else None
        ),
    )


def _read_filtered(
    service: FilterService, message: client.ReadBatches, request: ClientRequest
) -> None:
    """Read what a filter wants, and tell how far that looked."""
    try:
        wanted = record_filter(message.filter.tags, message.filter.condition)
    except BadFilter as error:
        request.fail(error)
        return
    reading = service.read(_read_request(message), wanted, _answer_filtered(request))
    request.on_cancelled = reading.cancel


def _answer_filtered(request: ClientRequest) -> OnFiltered:
    """Return a callback that answers with the batches, the matches, and how far it looked."""

    def answer(outcome: FilteredResult | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
            return
        message = _batches_read(outcome.read)
        message.next_offset = outcome.next_offset
        for found in outcome.matching:
            message.matching.add(numbers=found)
        request.reply(message, outcome.read.batches)

    return answer


def search(service: FilterService, request: ClientRequest) -> None:
    """Look for records in a bounded stretch of a queue; linearizable (ruling 23)."""
    message = cast("search_messages.SearchQueue", request.message)
    end = message.end_offset
    if end and end <= message.offset:
        request.fail(BadRequest(f"a search from offset {message.offset} to before {end}"))
        return
    try:
        wanted = record_filter(message.filter.tags, message.filter.condition)
    except BadFilter as error:
        request.fail(error)
        return
    key = message.key if message.HasField("key") else None
    reading = service.look(
        ReadRequest(message.queue, Offset(message.offset), message.bytes_max, staleness_ns=0),
        searcher_of(RecordSearch(key, message.id or None, wanted)),
        _answer_filtered(request),
        LookedAt(Offset(end) if end else None, message.look_bytes_max or LOOKED_BYTES_MAX),
    )
    request.on_cancelled = reading.cancel


def end_offset(service: ReadService, request: ClientRequest) -> None:
    """Tell where a queue ends."""

    def answer(outcome: Offset | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
        else:
            request.reply(client.EndOffsetIs(end_offset=outcome))

    message = cast("client.EndOffset", request.message)
    service.end_offset(message.queue, answer)


def find_offset(service: FindService, request: ClientRequest) -> None:
    """Tell the first offset that was stored at or after a log time."""

    def answer(outcome: Offset | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
        else:
            request.reply(client.OffsetFound(offset=outcome))

    message = cast("client.FindOffset", request.message)
    service.by_time(message.queue, message.log_time_ms, answer)
