"""How a consumer group may share its queues out, by name. The rules: ``broker.assignment``."""

from typing import Final

from raftlog.base.errors import BadRequest

RANGE: Final = "range"
STICKY: Final = "sticky"
COOPERATIVE: Final = "cooperative"
ASSIGNORS: Final = (RANGE, STICKY, COOPERATIVE)


def check_assignor(name: str) -> None:
    """Refuse what is no assignor; "" is none in particular.

    Raises:
        BadRequest: It is none.
    """
    if name and name not in ASSIGNORS:
        raise BadRequest(f"{name!r} is no assignor; there are {', '.join(ASSIGNORS)}")
