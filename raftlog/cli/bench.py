"""``raftlog bench``: measure a cluster, its own or a running one.

Progress goes to stderr. The result is a table, or with ``-o json`` one JSON
object alone on stdout. A run that could not be verified ends with 1.
"""

import sys
from enum import Enum
from typing import Annotated, Any

import msgspec
import typer

from raftlog.base.errors import RaftlogError
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.cli.options import find_seeds

app = typer.Typer(
    help="Measure: three own processes in a fresh directory, or --connect to a running cluster.",
    no_args_is_help=True,
)


class Output(Enum):
    """How the result is shown."""

    TABLE = "table"
    JSON = "json"


class Loss(Enum):
    """How ``failover`` takes the leader away."""

    KILL = "kill"
    CUT = "cut"


class Source(Enum):
    """Where ``consume`` finds its records."""

    MEMORY = "memory"
    DISK = "disk"


# The bounds are those of the scenarios: what they would refuse is wrong usage, before any start.
Size = Annotated[int, typer.Option(min=8, max=BATCH_BYTES_MAX, help="Bytes of a record's value.")]
InFlight = Annotated[int, typer.Option(min=1, help="Sends or batches that are awaited at once.")]
Batch = Annotated[int, typer.Option(min=0, help="Records in one batch; 0: one by one.")]
Duration = Annotated[float, typer.Option(min=0, help="Seconds to measure.")]
Count = Annotated[
    int, typer.Option(min=0, help="Records to send, or leaders to take; 0: by time.")
]
Connect = Annotated[str, typer.Option(help="Client addresses host:port,... of a running cluster.")]
Shown = Annotated[Output, typer.Option("--output", "-o", help="table, or json on stdout.")]


@app.command()
def send(
    size: Size = 100,
    in_flight: InFlight = 64,
    batch: Batch = 0,
    queues: Annotated[
        int, typer.Option(min=0, help="Queues to send to in turn; 0: the producer chooses.")
    ] = 0,
    duration: Duration = 20.0,
    count: Count = 0,
    connect: Connect = "",
    output: Shown = Output.TABLE,
) -> None:
    """Append records; each has its own acknowledgement, or each batch has."""
    _run(
        "send",
        output,
        size=size,
        in_flight=in_flight,
        batch=batch,
        queues=queues,
        duration_s=duration,
        count=count,
        connect=_addresses(connect),
    )


@app.command()
def consume(
    size: Size = 100,
    batch: Batch = 640,
    source: Annotated[Source, typer.Option(help="Freshly written, or from the files.")] = (
        Source.MEMORY
    ),
    log_mib: Annotated[int, typer.Option(help="Megabytes to write, then read.")] = 1024,
    connect: Connect = "",
    output: Shown = Output.TABLE,
) -> None:
    """Read batches back as fast as they come."""
    _run(
        "consume",
        output,
        size=size,
        batch=batch,
        source=source.value,
        log_mib=log_mib,
        connect=_addresses(connect),
    )


@app.command()
def embedded(
    size: Size = 100,
    in_flight: InFlight = 1024,
    duration: Duration = 20.0,
    count: Count = 0,
    output: Shown = Output.TABLE,
) -> None:
    """Append to a one-node log inside this process."""
    _run("embedded", output, size=size, in_flight=in_flight, duration_s=duration, count=count)


@app.command()
def failover(
    mode: Annotated[Loss, typer.Option(help="SIGKILL, or silence without a reset.")] = Loss.KILL,
    count: Annotated[int, typer.Option(help="How many leaders are taken.")] = 20,
    output: Shown = Output.TABLE,
) -> None:
    """Take the leader away, again and again; time to the first acknowledgement after it."""
    _run("failover", output, mode=mode.value, count=count)


@app.command()
def restart(
    size: Size = 100,
    batch: Batch = 0,
    log_mib: Annotated[int, typer.Option(help="Size of the log.")] = 1024,
    output: Shown = Output.TABLE,
) -> None:
    """Fill a log, stop every node, start them: time until the cluster serves again."""
    _run("restart", output, size=size, batch=batch, log_mib=log_mib)


@app.command()
def rejoin(
    size: Size = 1024,
    batch: Annotated[int, typer.Option(min=0, help="Records in a batch of the filling.")] = 64,
    log_mib: Annotated[int, typer.Option(min=256, help="Megabytes to write before.")] = 1024,
    rate: Annotated[int, typer.Option(min=1, help="Sends a second, all the time.")] = 1_000,
    duration: Annotated[
        float, typer.Option(min=1, help="Quiet seconds, before and after.")
    ] = 20.0,
    output: Shown = Output.TABLE,
) -> None:
    """Wipe a follower and let it join anew; times of the sends meanwhile, against quiet ones."""
    _run(
        "rejoin",
        output,
        size=size,
        batch=batch,
        log_mib=log_mib,
        rate=rate,
        duration_s=duration,
    )


@app.command()
def lag(
    size: Size = 1024,
    rate: Annotated[int, typer.Option(min=1, help="Sends a second, all the time.")] = 1_000,
    duration: Annotated[float, typer.Option(min=1, help="Seconds of each part.")] = 20.0,
    output: Shown = Output.TABLE,
) -> None:
    """Pause a follower, then slow it down; times of the sends meanwhile, against healthy ones."""
    _run("lag", output, size=size, rate=rate, duration_s=duration)


@app.command()
def delayed(
    size: Size = 100,
    pending: Annotated[int, typer.Option(min=1, help="Records that stay pending.")] = 1_000_000,
    rate: Annotated[int, typer.Option(min=1, help="Deliveries a second.")] = 5_000,
    duration: Annotated[float, typer.Option(min=1, help="Seconds of deliveries.")] = 20.0,
    output: Shown = Output.TABLE,
) -> None:
    """Deliver delayed records while many more are pending: how late each is; then a restart."""
    _run("delayed", output, size=size, count=pending, rate=rate, duration_s=duration)


@app.command()
def queue(
    size: Size = 100,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Messages that are handled at once.")
    ] = 1_024,
    batch: Annotated[int, typer.Option(min=1, help="Records in a batch of the filling.")] = 64,
    count: Annotated[int, typer.Option(min=1, help="Messages to drain.")] = 200_000,
    rate: Annotated[int, typer.Option(min=1, help="Sends a second, then.")] = 1_000,
    duration: Annotated[float, typer.Option(min=1, help="Seconds of these.")] = 20.0,
    connect: Connect = "",
    output: Shown = Output.TABLE,
) -> None:
    """Lease and acknowledge messages one by one; then the time from a send to its handler."""
    _run(
        "queue",
        output,
        size=size,
        in_flight=in_flight,
        batch=batch,
        count=count,
        rate=rate,
        duration_s=duration,
        connect=_addresses(connect),
    )


@app.command()
def transactions(
    size: Size = 100,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Half messages that are stored and committed at once.")
    ] = 256,
    duration: Duration = 20.0,
    count: Count = 0,
    connect: Connect = "",
    output: Shown = Output.TABLE,
) -> None:
    """Store half messages and commit them; each time is that of both."""
    _run(
        "transactions",
        output,
        size=size,
        in_flight=in_flight,
        duration_s=duration,
        count=count,
        connect=_addresses(connect),
    )


@app.command()
def atomic(
    size: Size = 100,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Consumers, each with one transaction at a time.")
    ] = 64,
    count: Annotated[int, typer.Option(min=1, help="Messages to process.")] = 20_000,
    connect: Connect = "",
    output: Shown = Output.TABLE,
) -> None:
    """Read a message, send one to each of two topics, commit the offset: in one transaction."""
    _run(
        "atomic",
        output,
        size=size,
        in_flight=in_flight,
        count=count,
        connect=_addresses(connect),
    )


def _addresses(connect: str) -> tuple[str, ...]:
    """Read ``--connect``; without it the bench starts a cluster of its own."""
    return find_seeds(connect).addresses if connect else ()


def _run(scenario: str, output: Output, **options: Any) -> None:
    from rich.console import Console  # noqa: PLC0415  (``raftlog --help`` stays fast)

    from raftlog.testing.bench.loops import run_on_loop  # noqa: PLC0415
    from raftlog.testing.bench.report import Options  # noqa: PLC0415
    from raftlog.testing.bench.run import run  # noqa: PLC0415

    progress = Console(stderr=True, highlight=False)
    try:
        report = run_on_loop(run(scenario, Options(**options), progress.print))
    except RaftlogError as error:
        progress.print(f"bench {scenario}: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    if output is Output.JSON:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        _show(msgspec.to_builtins(report))
    if not report.verified:
        progress.print("what was read back is not what was acknowledged", style="red")
        raise typer.Exit(1)


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(show_header=False)
    for name, value in report.items():
        if value is not None:
            table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    Console().print(table)
