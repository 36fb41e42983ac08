"""What clients do while the cluster is broken: one kind of client a file.

A new one is a class with the methods of ``workload.Workload``, and a line in ``EVERYBODY``.
"""

from collections.abc import Callable
from typing import Final

from chaos.live.workloads.archive import Archive
from chaos.live.workloads.atomic import AtomicLoops
from chaos.live.workloads.bulk import Bulk
from chaos.live.workloads.delayed import Delayed
from chaos.live.workloads.ends import Ends
from chaos.live.workloads.groups import StreamGroup
from chaos.live.workloads.halves import HalfMessages
from chaos.live.workloads.idempotent import IdempotentProducers
from chaos.live.workloads.ids import BusinessIds
from chaos.live.workloads.plain import PlainProducer
from chaos.live.workloads.queue_policies import BlockingGroup, SkippingGroup, UnorderedGroup
from chaos.live.workloads.queues import QueueGroup
from chaos.live.workloads.readers import Readers
from chaos.live.workloads.workload import Workload
from chaos.live.world import World

EVERYBODY: Final[dict[str, Callable[[World], Workload]]] = {
    "archive": Archive,
    "idempotent": IdempotentProducers,
    "bulk": Bulk,
    "plain": PlainProducer,
    "readers": Readers,
    "ends": Ends,
    "groups": StreamGroup,
    "delayed": Delayed,
    "ids": BusinessIds,
    "queues": QueueGroup,
    "unordered": UnorderedGroup,
    "skips": SkippingGroup,
    "blocks": BlockingGroup,
    "halves": HalfMessages,
    "atomic": AtomicLoops,
}
