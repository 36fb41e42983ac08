"""Where a reader goes on whose records were forgotten before it came to them."""

from chaos.check.violation import Violation
from chaos.check.whole_queues import NAME
from chaos.live.world import World
from raftlog.base.errors import OffsetOutOfRange


def behind_a_gap(
    world: World, topic: str, queue: int, position: int, error: OffsetOutOfRange
) -> int:
    """Return it; what was forgotten has to be in the archive.

    A node that is behind may say that ``position`` is beyond the end: it stays, and is asked for
    again.
    """
    if error.start <= position:
        return position
    try:
        world.archived.begins(topic, queue, error.start)
    except Violation as violation:
        world.saw(NAME, str(violation))
    return error.start
