"""How it is told what takes space, and who keeps the log from being trimmed."""

from datetime import timedelta
from typing import TYPE_CHECKING

from raftlog.cli.quantities import show_about, show_retention, show_size

if TYPE_CHECKING:
    from raftlog.client.log_space import LogHold, LogSpace

LARGEST_SHOWN = 3


def milliseconds(duration: timedelta | None) -> int | None:
    """Return a duration as JSON has it; null is for ever."""
    return None if duration is None else duration // timedelta(milliseconds=1)


def hold_text(hold: "LogHold") -> str:
    """Say who keeps the log, and by which rule."""
    rule = f"kept {show_retention(hold.retention)}"
    if hold.retention_bytes:
        rule += f", at most {show_size(hold.retention_bytes)} of each queue"
    rest = hold.queues - 1
    others = f" and {rest} other queue{'s' if rest > 1 else ''}" if rest else ""
    hidden = f", {hold.hidden:,} of its batches there not visible yet" if hold.hidden else ""
    return (
        f"the log is kept from entry {hold.first_index} on by queue {hold.place} of {hold.topic} "
        f"({rule}{hidden}){others}"
    )


def hold_data(hold: "LogHold | None") -> dict[str, object] | None:
    """Return what JSON has of it; null: nothing keeps the log."""
    if hold is None:
        return None
    return {
        "first_index": hold.first_index,
        "last_index": hold.last_index,
        "queues": hold.queues,
        "topic": hold.topic,
        "queue": hold.place,
        "retention_ms": milliseconds(hold.retention),
        "retention_bytes": hold.retention_bytes,
        "newest": hold.newest.isoformat(),
        "hidden": hold.hidden,
    }


def space_text(space: "LogSpace") -> list[str]:
    """Say what the records of a shard take, and who keeps the log."""
    if not space.largest:
        return []
    largest = [f"{each.topic} {show_about(each.bytes)}" for each in space.largest[:LARGEST_SHOWN]]
    lines = [f"{show_about(space.bytes)} of records; the largest topics: {', '.join(largest)}"]
    if space.hold is not None:
        lines.append(hold_text(space.hold))
    return lines


def space_data(space: "LogSpace") -> dict[str, object]:
    """Return what JSON has of it."""
    return {
        "bytes": space.bytes,
        "largest": [{"topic": each.topic, "bytes": each.bytes} for each in space.largest],
        "log_hold": hold_data(space.hold),
    }
