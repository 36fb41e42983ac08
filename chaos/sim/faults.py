"""Kinds of faults that strike at random moments, how often, and which of them a seed has.

Each kind is drawn from a stream of its own, so a kind that is added later
leaves the others of every seed as they were.
"""

from enum import Enum
from typing import Final

from chaos.sim.events import stream


class Fault(Enum):
    """A kind of fault that strikes at random moments."""

    POWER_CUT = "power cut"
    KILL = "kill"
    TORN_PLAN = "crash inside a write"
    CRASH_IN_RECOVERY = "crash inside recovery"
    ALL_DOWN = "power cut of all"
    PAUSE = "pause"
    SLOW_PROCESSOR = "slow processor"
    RESTART = "restart"
    ROLLING_RESTART = "rolling restart"
    CLOCK = "wrong clock"
    PARTITION = "partition"
    CLOG = "clog"
    LOSSY_LINK = "lossy link"
    HALF_OPEN = "half-open connection"
    TRANSFER = "transfer"
    FALSE_HINT = "false connection-lost hint"
    WRITE_ERROR = "error of a write or sync"
    NO_SPACE = "no space"
    SLOW_DISK = "slow disk"
    BIT_ROT = "bit rot"
    READ_ERROR = "read error"
    LATENT_ERROR = "latent sector error"
    MISDIRECTED = "misdirected write"
    ROT_BESIDE = "rot of what stands beside the log"
    HEADER_LOST = "loss of a segment's header and of more behind it, and a power cut under load"
    OUTAGE = "an outage so long that the others trim their logs"
    MEMBERS = "change of the members"
    DRAIN = "drain of a node"
    PREFER = "change of who should lead"
    DEPOSED = "a leader that is cut off while the others elect"
    WIPED = "loss of one disk, whose node joins anew"
    OLD_BACKUP = "an old copy of a directory that is put back"
    LOST_WRITE = "writes that a disk confirms and never makes"
    MAJORITY_LOST = "loss of a majority, and recovery of a survivor by hand"
    REBOOT = "restart of a machine under os-cache"


_PERIODS_MS: Final = {
    Fault.POWER_CUT: (1_000, 6_000),
    Fault.KILL: (1_000, 6_000),
    Fault.TORN_PLAN: (500, 5_000),
    Fault.CRASH_IN_RECOVERY: (2_000, 8_000),
    Fault.ALL_DOWN: (3_000, 12_000),
    Fault.PAUSE: (1_000, 6_000),
    Fault.SLOW_PROCESSOR: (1_000, 6_000),
    Fault.RESTART: (1_000, 6_000),
    Fault.ROLLING_RESTART: (4_000, 15_000),
    Fault.CLOCK: (500, 4_000),
    Fault.PARTITION: (600, 4_000),
    Fault.CLOG: (300, 3_000),
    Fault.LOSSY_LINK: (500, 4_000),
    Fault.HALF_OPEN: (1_000, 6_000),
    Fault.TRANSFER: (300, 4_000),
    Fault.FALSE_HINT: (200, 3_000),
    Fault.WRITE_ERROR: (2_000, 10_000),
    Fault.NO_SPACE: (3_000, 10_000),
    Fault.SLOW_DISK: (1_000, 6_000),
    Fault.BIT_ROT: (500, 4_000),
    Fault.READ_ERROR: (1_000, 6_000),
    Fault.LATENT_ERROR: (1_000, 6_000),
    Fault.MISDIRECTED: (1_000, 6_000),
    Fault.ROT_BESIDE: (1_000, 6_000),
    Fault.HEADER_LOST: (500, 4_000),
    Fault.OUTAGE: (2_000, 5_000),
    Fault.MEMBERS: (100, 2_000),
    Fault.DRAIN: (300, 4_000),
    Fault.PREFER: (500, 5_000),
    Fault.DEPOSED: (1_000, 4_000),
    Fault.WIPED: (1_000, 5_000),
    Fault.OLD_BACKUP: (300, 1_500),
    Fault.LOST_WRITE: (300, 2_000),
    Fault.MAJORITY_LOST: (2_000, 9_000),
    Fault.REBOOT: (1_000, 4_000),
}
"""The range from which a seed draws the mean time between two strikes."""
SHARES: Final = (0.15, 0.3, 0.5)
"""Of a seed: how likely each kind is in it."""
_DAMAGES_LOG: Final = frozenset({Fault.BIT_ROT, Fault.LATENT_ERROR, Fault.MISDIRECTED})
DAMAGE: Final = frozenset({*_DAMAGES_LOG, Fault.READ_ERROR, Fault.ROT_BESIDE, Fault.HEADER_LOST})
"""Kinds that hit only a minority of replicas, always the same ones (ruling 16)."""
_HEADERS_SHARE: Final = 0.6
"""Of the seeds with a damaged log: how many lose headers under load, too."""
_NEED_OTHERS: Final = frozenset(
    {
        *DAMAGE,
        *(Fault.PARTITION, Fault.CLOG, Fault.LOSSY_LINK, Fault.HALF_OPEN, Fault.TRANSFER),
    }
)
"""Kinds that a node alone can't survive, or can't have."""
_DRAWN_APART: Final = frozenset(
    {
        *(Fault.OUTAGE, Fault.MEMBERS, Fault.DEPOSED, Fault.HEADER_LOST),
        *(Fault.WIPED, Fault.OLD_BACKUP, Fault.LOST_WRITE, Fault.MAJORITY_LOST, Fault.REBOOT),
    }
)
UNDER_OS_CACHE: Final = frozenset(
    {
        *(Fault.KILL, Fault.PAUSE, Fault.SLOW_PROCESSOR, Fault.CLOCK, Fault.PARTITION),
        *(Fault.CLOG, Fault.TRANSFER, Fault.FALSE_HINT, Fault.SLOW_DISK, Fault.REBOOT),
        Fault.DRAIN,
    }
)
"""Kinds that take nothing back from several machines at once, where nothing is synced."""


def draw_period_ms(seed: int, fault: Fault) -> int:
    """Draw how often a kind strikes in a seed that has it."""
    return stream(seed, f"period of {fault.value}").randint(*_PERIODS_MS[fault])


def draw_faults(seed: int, nodes: int) -> list[Fault]:
    """Draw the kinds of one seed with so many nodes."""
    share = stream(seed, "faults").choice(SHARES)
    chosen = [
        fault
        for fault in Fault
        if fault not in _DRAWN_APART
        and stream(seed, f"fault {fault.value}").random() < share
        and (nodes > 1 or fault not in _NEED_OTHERS)
    ]
    if Fault.ROT_BESIDE in chosen:
        # What says how far the log was durable, and the log itself: two faults of one disk.
        chosen = [fault for fault in chosen if fault not in _DAMAGES_LOG]
    elif (
        not _DAMAGES_LOG.isdisjoint(chosen)
        and Fault.MISDIRECTED not in chosen
        and stream(seed, "headers").random() < _HEADERS_SHARE
    ):
        chosen.append(Fault.HEADER_LOST)
    return chosen
