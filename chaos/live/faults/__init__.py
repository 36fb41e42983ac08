"""Every way in which the suite breaks a cluster, by name."""

from typing import Final

from chaos.live.faults import (
    backups,
    clocks,
    disks,
    members,
    network,
    power,
    processes,
    promises,
    rot,
)
from chaos.live.faults.fault import Fault

FAULTS: Final[dict[str, Fault]] = {
    **processes.FAULTS,
    **network.FAULTS,
    **power.FAULTS,
    **disks.FAULTS,
    **rot.FAULTS,
    **backups.FAULTS,
    **clocks.FAULTS,
    **members.FAULTS,
    **promises.FAULTS,
}

SHIM: Final = ("power-shim", "power fails beneath the normal file layer, by a preload shim")
"""A mechanism, not a kind: with it these are the power losses."""
MISSING: Final[dict[str, str]] = {
    "packet-loss": "packets are lost beneath TCP, in the kernel; lossy does what comes of that",
}
"""Mechanisms that this suite does not have: named in every report, with 0 (ruling 28)."""
