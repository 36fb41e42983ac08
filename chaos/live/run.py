"""One run: a cluster, its clients, what is done to it, and what is left in the end."""

import asyncio
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final

import msgspec

from chaos.check.client_history import Event, Outcome, Records
from chaos.check.faults_happened import check_happened
from chaos.check.leaderless_time import leaderless_times, quantile
from chaos.live.cluster import LiveCluster
from chaos.live.comparing import Compared, compare_all, scrub, write_files
from chaos.live.faults import FAULTS
from chaos.live.faults.fault import WELL_S, Step, strike_both
from chaos.live.schedule import SCENARIOS, draw
from chaos.live.slow_followers import send_times
from chaos.live.topics import ORDERS, create_topics, read_rest
from chaos.live.verdict import Plan, Pulse, Told, Verdict
from chaos.live.workloads import EVERYBODY
from chaos.live.workloads.workload import Workload
from chaos.live.world import World
from raftlog.base.errors import RaftlogError

WARM_UP_S: Final = 1.0
STOP_S: Final = 60.0
LOOK_S: Final = 1.0
EXTRA_S: Final = 20.0
PULSES: Final = 200
STEP_S: Final = 8.0
"""For one step, about: a run with so much time for each kind of fault must have had them all."""
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Tell = Callable[[World], None]
"""Told again and again how the run stands."""


class Left(msgspec.Struct, frozen=True):
    """What was looked at once nothing was wrong any more; nothing of a run that was cut short.

    Attributes:
        compared: What all nodes have alike.
        scrubbed: How much damage the last look at the disks has found.
        done: By workload: how much it got done.
        stored: How many records there are.
    """

    compared: Compared = Compared()
    scrubbed: int = 0
    done: dict[str, int] = {}
    stored: int = 0


@contextmanager
def cluster_of(plan: Plan) -> Iterator[LiveCluster]:
    """Yield a cluster that is not open yet; afterwards no process and no file of it is left.

    Outside of any event loop, so that nothing which ends that one keeps this from being done; a
    signal waits for it. The files stay if the cluster ``stays``.
    """
    directory = Path(mkdtemp(prefix="chaos-"))
    cluster: LiveCluster | None = None
    try:
        cluster = LiveCluster(directory, plan.nodes, mutant=plan.mutant, shim=plan.shim)
        yield cluster
    finally:
        with _undisturbed():
            if cluster is not None:
                cluster.kill()
            if cluster is None or not cluster.stays:
                rmtree(directory, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals that would end this process wait. In the main thread only.

    Not blocked: another thread, which has them open, would take them for this one.
    """
    came: list[int] = []
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in ENDING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in came:
            signal.raise_signal(number)


async def run(plan: Plan, cluster: LiveCluster, tell: Tell = lambda _: None) -> Verdict:
    """Run ``plan`` with a cluster that ``cluster_of`` has made for it."""
    try:
        return await _run(plan, cluster, tell)
    finally:
        await asyncio.shield(cluster.aclose())


async def _run(plan: Plan, cluster: LiveCluster, tell: Tell) -> Verdict:
    await cluster.open()
    world = World(cluster, plan.seed)
    async with world.client() as client:
        await create_topics(client)
    workloads = [make(world) for make in EVERYBODY.values()]
    watching = asyncio.create_task(watch(world, tell))
    working = [asyncio.create_task(each.run()) for each in workloads]
    interrupted = False
    left = Left()
    try:
        await world.rest(WARM_UP_S)
        try:
            await _break(world, plan, draw(plan.seed, plan.kinds), [watching, *working])
        except asyncio.CancelledError:
            interrupted = True
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
        if plan.mutant and world.anomalies:
            world.stopping.set()
        elif not interrupted:
            await _end(world, workloads, working)
            left = await _look_at_all(world, workloads)
            check_working([watching])
            if not (plan.mutant and world.anomalies):
                kinds = demanded(plan, world.events)
                world.anomalies.extend(check_happened(kinds, world.events, left.done))
    finally:
        for task in (*working, watching):
            task.cancel()
        await asyncio.gather(*working, watching, return_exceptions=True)
    world.heed_deaths()
    return _verdict(plan, world, workloads, left, interrupted=interrupted)


async def watch(world: World, tell: Tell) -> None:
    """Look at the cluster, and tell of the run, until this is cancelled."""

    async def telling() -> None:
        while True:
            tell(world)
            await asyncio.sleep(0.25)

    await asyncio.gather(world.watch(), telling())


async def _break(
    world: World, plan: Plan, steps: Iterator[Step], tasks: list["asyncio.Task[None]"]
) -> None:
    """Do one step after the other until the time is over."""
    for step in steps:
        await world.rest(step.after_s)
        check_working(tasks)
        if plan.mutant and world.anomalies:
            return  # a planted bug is caught once it was seen
        if world.now() >= plan.time_s:
            kind = due(plan, world.events, world.now())
            if not kind:
                return
            step = msgspec.structs.replace(step, kind=kind, beside=None)
        striking = asyncio.ensure_future(strike_both(world, step, FAULTS))
        try:
            while not (await asyncio.wait([striking], timeout=LOOK_S))[0]:
                if plan.mutant and world.anomalies:
                    return
        finally:
            striking.cancel()
            with suppress(asyncio.CancelledError):
                await striking


def demanded(plan: Plan, events: Iterable[Event]) -> Sequence[str]:
    """Return the kinds that must have happened.

    All of a run that has time for all of them, as every scenario has that is run as it is; of
    any other run those whose turn came.
    """
    is_whole = not plan.faults and plan.time_s >= SCENARIOS[plan.name].time_s
    if is_whole or plan.time_s >= STEP_S * len(plan.kinds):
        return plan.kinds
    return list(dict.fromkeys(event.kind for event in events))


def due(plan: Plan, events: Sequence[Event], now: float) -> str:
    """Return what is to be done though the time is over; "": nothing.

    What is demanded and was not tried; then, for a while, what was tried and never happened.
    """
    tried = {event.kind for event in events}
    for kind in demanded(plan, events):
        if kind not in tried:
            return kind
    happened = {event.kind for event in events if event.happened}
    missed = [event.kind for event in events if event.kind not in happened]
    return missed[0] if missed and now < plan.time_s + EXTRA_S else ""


def check_working(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Raise if one has ended: clients, or who watches, of whom nobody would hear any more."""
    for task in tasks:
        if task.done():
            task.result()
            raise AssertionError(f"it ended before the run: {task}")


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


async def _look_at_all(world: World, workloads: list[Workload]) -> Left:
    """Read everything with a fresh client, stop every node, compare their directories.

    What could not be read is told; what was is judged all the same.
    """
    try:
        async with world.client() as client:
            await read_rest(client, world.archived, world.saw)
    except (RaftlogError, TimeoutError) as error:
        world.saw("unseen", "not everything can be read in the end", repr(error))
    await write_files(world)
    scrubbed = await scrub(world)
    with suppress(RaftlogError):
        await world.cluster.settled(WELL_S)
    for node in world.cluster.nodes.values():
        node.terminate()
    for node in world.cluster.nodes.values():
        code = await node.ended()
        if code != 0:
            world.saw("clean_stop", f"{node.node}: {node.ending()}", node.last_words())
    compared = await asyncio.to_thread(compare_all, world)
    logs = world.archived.logs
    for each in workloads:
        world.anomalies.extend(each.check(logs))
    return Left(
        compared,
        scrubbed,
        {each.name: each.done for each in workloads},
        sum(len(values) for log in logs.values() for values in log.values()),
    )


def _verdict(
    plan: Plan, world: World, workloads: list[Workload], left: Left, *, interrupted: bool
) -> Verdict:
    orders = world.records[ORDERS]
    notes = {}
    for each in workloads:
        for name, value in vars(each).items():
            if isinstance(value, int) and not name.startswith("_"):
                notes[f"{each.name}: {name}"] = value
    return Verdict(
        plan=plan,
        seconds=world.now(),
        told={name: _told(each) for name, each in world.records.items()},
        stored=left.stored,
        done=left.done or {each.name: each.done for each in workloads},
        notes={**notes, "damage found by the last look at the disks": left.scrubbed},
        events=tuple(world.events),
        sights=tuple(world.sights),
        pulses=tuple(_pulses(orders, world.now())),
        leaderless_s=leaderless_times(world.events, orders),
        send_times=send_times(world.events, world.sights, orders),
        compared=left.compared,
        anomalies=tuple(sorted(world.anomalies, key=lambda each: each.check)),
        is_interrupted=interrupted,
    )


def _told(records: Records) -> Told:
    return Told(*(records.count(each) for each in (Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN)))


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
