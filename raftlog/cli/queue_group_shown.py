"""Queue-style groups, their messages in flight and their seeks, as the command line shows them."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import typer

from raftlog.cli.output import Output, print_json, print_table
from raftlog.cli.quantities import show_elapsed
from raftlog.wire.filters import record_filter

if TYPE_CHECKING:
    from raftlog.client.queue_group_infos import InFlight, QueueGroupInfo, SoughtQueue

MS: Final = timedelta(milliseconds=1)


def moved_in_words(each: "SoughtQueue") -> str:
    """Say what a seek means for messages."""
    match each.records:
        case 0:
            return "stays"
        case count if count > 0:
            return f"{count:,} passed over"
        case count:
            return f"{-count:,} again"


def in_flight_in_words(each: "SoughtQueue") -> str | None:
    """Say what becomes of messages in flight."""
    counts = (
        (each.leased, "leased, again"),
        (each.waiting, "waiting, again"),
        (each.failed, "failed, again"),
        (each.kept, "kept"),
    )
    return "; ".join(f"{count:,} {what}" for count, what in counts if count) or None


def sought_data(each: "SoughtQueue") -> dict[str, object]:
    """Return what ``seek -o json`` prints of one queue."""
    return {
        "topic": each.topic,
        "queue": each.queue,
        "before": each.before,
        "after": each.after,
        "end": each.end_offset,
        "in_flight": {
            "kept": each.kept,
            "leased": each.leased,
            "waiting": each.waiting,
            "failed": each.failed,
        },
    }


def print_group(group: "QueueGroupInfo", output: Output) -> None:
    """Show a group: what it reads, what holds for it, and where it is."""
    if output is Output.JSON:
        print_json(description_data(group))
        return
    settings = group.settings
    print_table(
        ("topic", "queue", "next", "start", "end", "unread", "oldest", "age"),
        [
            (
                *(each.topic, each.queue, each.next_offset, each.start_offset, each.end_offset),
                f"{each.unread:,}",
                each.oldest_offset if each.oldest_offset < each.end_offset else None,
                show_elapsed(each.lag_time) if each.oldest_offset < each.end_offset else None,
            )
            for each in group.queues
        ],
        f"group {group.name}: {group.unread:,} unread, {group.in_flight:,} in flight "
        f"({group.leased:,} leased, {group.blocked:,} blocked)",
    )
    found = group.subscription
    wanted = record_filter(found.tags, found.filter)
    by_hand = ", said by hand" if found.by_hand else ""
    typer.echo(f"reads {', '.join(found.topics)} ({wanted}), version {found.version}{by_hand}")
    retry = ", ".join(f"{each.total_seconds():g}" for each in settings.retry)
    typer.echo(
        f"leases of {settings.lease.total_seconds():g} s, {settings.attempts} attempts, then "
        f"{settings.on_poison}; between them {retry} s"
    )
    typer.echo(
        f"{'in order by key; ' if settings.fifo else ''}at most {settings.in_flight:,} in flight"
    )
    typer.echo(
        f"so far {group.dead_letters:,} dead letters (in {group.dead_letter_topic}), "
        f"{group.skipped:,} skipped, {group.expired:,} taken by retention, {group.passed:,} "
        "passed over by the filter"
    )


def description_data(group: "QueueGroupInfo") -> dict[str, object]:
    """Return what ``describe -o json`` prints."""
    settings = group.settings
    return {
        "group": group.name,
        "topics": group.topics,
        "unread": group.unread,
        "lag_ms": group.lag_time // MS,
        "in_flight": group.in_flight,
        "leased": group.leased,
        "blocked": group.blocked,
        "dead": group.dead,
        "dead_letters": group.dead_letters,
        "dead_letter_topic": group.dead_letter_topic,
        "skipped": group.skipped,
        "expired": group.expired,
        "passed": group.passed,
        "subscription": {
            "filter": group.subscription.filter,
            "tags": group.subscription.tags,
            "version": group.subscription.version,
            "by_hand": group.subscription.by_hand,
        },
        "settings": {
            "lease_ms": settings.lease // MS,
            "attempts": settings.attempts,
            "retry_ms": [each // MS for each in settings.retry],
            "in_flight": settings.in_flight,
            "fifo": settings.fifo,
            "on_poison": settings.on_poison,
        },
        "queues": [
            {
                "topic": each.topic,
                "queue": each.queue,
                "next": each.next_offset,
                "start": each.start_offset,
                "end": each.end_offset,
                "oldest": each.oldest_offset,
                "lag_ms": each.lag_time // MS,
            }
            for each in group.queues
        ],
    }


def flight_data(each: "InFlight") -> dict[str, object]:
    """Return what ``in-flight -o json`` prints of one message."""
    return {
        "topic": each.topic,
        "queue": each.queue,
        "offset": each.offset,
        "state": each.state,
        "attempts": each.attempts,
        "left_ms": each.left // MS,
        "reason": each.reason,
    }
