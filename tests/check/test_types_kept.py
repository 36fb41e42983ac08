"""What is stored is what its topic takes, and what is refused is not."""

import pytest

from chaos.check.types_kept import TypesKept
from chaos.check.violation import Violation

KEYED = frozenset({"normal", "fifo"})
DELAYED = frozenset({"delayed"})


@pytest.fixture
def kept() -> TypesKept:
    """Queues 1 and 2 take FIFO and delayed messages."""
    found = TypesKept()
    found.told([1, 2], frozenset({"fifo", "delayed"}))
    return found


def test_what_is_stored_is_of_a_type_that_its_queue_takes(kept: TypesKept) -> None:
    """A FIFO message is a normal one, too."""
    for came in (KEYED, DELAYED):
        kept.stored(1, came)
        kept.stored(3, came)
    with pytest.raises(Violation, match="types_kept: queue 1 takes"):
        kept.stored(1, frozenset({"normal"}))
    kept.told([1], frozenset({"normal"}))
    kept.stored(1, KEYED)
    with pytest.raises(Violation):
        kept.stored(1, DELAYED)


def test_what_is_refused_is_of_none_that_its_queue_takes(kept: TypesKept) -> None:
    """Of a transaction one queue is enough."""
    kept.refused([1], frozenset({"normal"}))
    kept.refused([3, 2], frozenset({"transactional"}))
    with pytest.raises(Violation, match="refused by"):
        kept.refused([1], KEYED)
    with pytest.raises(Violation):
        kept.refused([3, 1], DELAYED)
