"""One run: a cluster, its clients, what is done to it, and what is left in the end."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final

import msgspec

from chaos.check.client_history import Anomaly, Outcome, Records
from chaos.check.faults_happened import check_happened
from chaos.check.leaderless_time import leaderless_times, quantile
from chaos.check.violation import Violation
from chaos.live.cluster import LiveCluster
from chaos.live.faults import FAULTS
from chaos.live.faults.fault import WELL_S, Step, strike_both
from chaos.live.schedule import draw
from chaos.live.topics import ORDERS, create_topics, read_rest
from chaos.live.verdict import Plan, Pulse, Verdict
from chaos.live.workloads import EVERYBODY
from chaos.live.workloads.workload import Logs, Workload
from chaos.live.world import World
from raftlog.base.errors import RaftlogError
from raftlog.server.comparison import compare_directories

WARM_UP_S: Final = 1.0
STOP_S: Final = 60.0
LOOK_S: Final = 1.0
EXTRA_S: Final = 20.0
PULSES: Final = 200
STEP_S: Final = 8.0
"""For one step, about: a run with so much time for each kind of fault must have had them all."""

Tell = Callable[[World], None]
"""Told again and again how the run stands."""


async def run(plan: Plan, tell: Tell = lambda _: None, *, keep: bool = False) -> Verdict:
    """Run ``plan``; whatever happens, no process, proxy or file is left.

    ``keep`` leaves the files where something was wrong.
    """
    directory = Path(mkdtemp(prefix="chaos-"))
    cluster = LiveCluster(directory, plan.nodes, mutant=plan.mutant, shim=plan.shim)
    keeps = False
    try:
        verdict = await _run(plan, cluster, tell)
        keeps = keep and bool(verdict.anomalies)
        return msgspec.structs.replace(verdict, kept=directory if keeps else None)
    finally:
        await asyncio.shield(cluster.aclose())
        if not keeps:
            rmtree(directory, ignore_errors=True)


async def _run(plan: Plan, cluster: LiveCluster, tell: Tell) -> Verdict:
    await cluster.open()
    world = World(cluster, plan.seed)
    async with world.client() as client:
        await create_topics(client)
    workloads = [make(world) for make in EVERYBODY.values()]
    watching = asyncio.create_task(_watch(world, tell))
    working = [asyncio.create_task(each.run()) for each in workloads]
    interrupted = False
    logs: Logs = {}
    compared = 0
    try:
        await world.rest(WARM_UP_S)
        try:
            await _break(world, plan, draw(plan.seed, plan.kinds), working)
        except asyncio.CancelledError:
            interrupted = True
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
        if plan.mutant and world.anomalies:
            world.stopping.set()
        elif not interrupted:
            await _end(world, workloads, working)
            logs, compared = await _look_at_all(world)
    finally:
        for task in (*working, watching):
            task.cancel()
        await asyncio.gather(*working, watching, return_exceptions=True)
    done = {}
    if logs:
        for each in workloads:
            world.anomalies.extend(each.check(logs))
            done[each.name] = each.done
    if not interrupted and not (plan.mutant and world.anomalies):
        tried = {event.kind for event in world.events}
        is_long = plan.time_s >= STEP_S * len(plan.kinds)
        wanted = plan.kinds if is_long else tried
        world.anomalies.extend(check_happened(wanted, world.events, done))
    return _verdict(plan, world, workloads, logs, compared, interrupted=interrupted)


async def _watch(world: World, tell: Tell) -> None:
    async def telling() -> None:
        while True:
            tell(world)
            await asyncio.sleep(0.25)

    await asyncio.gather(world.watch(), telling())


async def _break(
    world: World, plan: Plan, steps: Iterator[Step], working: list["asyncio.Task[None]"]
) -> None:
    """Do one step after the other until the time is over."""
    for step in steps:
        await world.rest(step.after_s)
        _check_working(working)
        if plan.mutant and world.anomalies:
            return  # a planted bug is caught once it was seen
        if world.now() >= plan.time_s:
            missed = _missed(world)
            if not missed or world.now() >= plan.time_s + EXTRA_S:
                return
            step = msgspec.structs.replace(step, kind=missed[0], beside=None)
        striking = asyncio.ensure_future(strike_both(world, step, FAULTS))
        try:
            while not (await asyncio.wait([striking], timeout=LOOK_S))[0]:
                if plan.mutant and world.anomalies:
                    return
        finally:
            striking.cancel()
            with suppress(asyncio.CancelledError):
                await striking


def _missed(world: World) -> list[str]:
    """Return what was tried and never happened: it gets another chance before it is judged."""
    happened = {event.kind for event in world.events if event.happened}
    return [event.kind for event in world.events if event.kind not in happened]


def _check_working(working: list["asyncio.Task[None]"]) -> None:
    """A client that has ended by an error of its own proves nothing any more."""
    for task in working:
        if task.done():
            task.result()
            raise AssertionError(f"a client ended before the run: {task}")


async def _end(
    world: World, workloads: list[Workload], working: list["asyncio.Task[None]"]
) -> None:
    """Heal everything, let the clients finish, and wait for what is left."""
    for node in world.cluster.nodes.values():
        if not node.running:
            node.begin()
    try:
        await world.cluster.settled(WELL_S)
    except RaftlogError as error:
        world.saw("heals", "nothing is wrong any more, and the cluster is not whole", str(error))
    world.stopping.set()
    for each in workloads:
        await each.drain()
    ended, late = await asyncio.wait(working, timeout=STOP_S)
    for task in ended:
        task.result()
    if late:
        world.saw("heals", f"{len(late)} clients still wait after {STOP_S:g} s")


async def _look_at_all(world: World) -> tuple[Logs, int]:
    """Read everything with a fresh client, stop every node, compare their directories."""
    logs: Logs = {}
    try:
        async with world.client() as client:
            await read_rest(client, world.archived)
        logs = world.archived.logs
    except (RaftlogError, TimeoutError, Violation) as error:
        world.saw("unseen", "not everything can be read in the end", repr(error))
    with suppress(RaftlogError):
        await world.cluster.settled(WELL_S)
    for node in world.cluster.nodes.values():
        node.terminate()
    for node in world.cluster.nodes.values():
        code = await node.ended()
        if code != 0:
            world.saw("clean_stop", f"{node.node}: {node.ending()}", node.last_words())
    return logs, await asyncio.to_thread(_compare, world)


def _compare(world: World) -> int:
    """Compare every node's directory with the first one's (ruling 27); return the entries."""
    first, *others = (str(node.data) for node in world.cluster.nodes.values())
    entries = 0
    for other in others:
        try:
            found = compare_directories(first, other)
        except RaftlogError as error:
            world.saw("same_files", f"{other} can't be compared", str(error))
            continue
        for shard in found.shards:
            entries += shard.entries
            for each in shard.differences:
                text = f"{Path(first).name} and {Path(other).name} differ: {each.what}"
                world.saw("same_files", text, each.first, each.second)
    if not entries:
        world.saw("same_files", "no entry could be compared")
    return entries


def _verdict(
    plan: Plan,
    world: World,
    workloads: list[Workload],
    logs: Logs,
    compared: int,
    *,
    interrupted: bool,
) -> Verdict:
    records = world.records
    notes = {}
    for each in workloads:
        for name, value in vars(each).items():
            if isinstance(value, int) and not name.startswith("_"):
                notes[f"{each.name}: {name}"] = value
    return Verdict(
        plan=plan,
        seconds=world.now(),
        acked=world.acked,
        failed=sum(each.count(Outcome.FAILED) for each in records.values()),
        unknown=records[ORDERS].count(Outcome.UNKNOWN),
        stored=sum(len(values) for log in logs.values() for values in log.values()),
        done={each.name: each.done for each in workloads},
        notes=notes,
        events=tuple(world.events),
        sights=tuple(world.sights),
        pulses=tuple(_pulses(records[ORDERS], world.now())),
        leaderless_s=leaderless_times(world.events, records[ORDERS]),
        entries_compared=compared,
        anomalies=tuple(_sorted(world.anomalies)),
        is_interrupted=interrupted,
    )


def _sorted(anomalies: list[Anomaly]) -> list[Anomaly]:
    return sorted(anomalies, key=lambda each: each.check)


def _pulses(records: Records, seconds: float) -> Iterator[Pulse]:
    """Cut the run into equal parts, and say what was acknowledged in each, and how fast."""
    width = max(0.25, seconds / PULSES)
    buckets: dict[int, list[float]] = {}
    for number, outcome in enumerate(records.outcomes):
        if outcome == Outcome.OK:
            ended = records.ended[number]
            buckets.setdefault(int(ended / width), []).append(ended - records.began[number])
    for place in range(int(seconds / width) + 1):
        took = buckets.get(place, [])
        p50, p99 = (quantile(took, share) * 1000 if took else 0.0 for share in (0.5, 0.99))
        yield Pulse(place * width, len(took), round(p50, 2), round(p99, 2))
