"""Every way in which the suite breaks a cluster, by name."""

from typing import Final

from chaos.live.faults import disks, members, network, processes, promises
from chaos.live.faults.fault import Fault

FAULTS: Final[dict[str, Fault]] = {
    **processes.FAULTS,
    **network.FAULTS,
    **disks.FAULTS,
    **members.FAULTS,
    **promises.FAULTS,
}
