"""Who was taken over stores and decides nothing more, and only its group answers checks."""

from typing import Final

from chaos.check.half_model import Owner
from chaos.check.violation import Violation

NAME: Final = "half_owner"


def check_begun(known: Owner | None, id_: int, epoch: int, next_number: int) -> None:
    """Check what somebody is told who begins: a new epoch, and numbers that nobody has used.

    Raises:
        Violation: They are not new.
    """
    before, highest = (0, 0) if known is None else (known.epoch, known.highest)
    if epoch != before + 1:
        raise Violation(NAME, f"transactor {id_} begins with epoch {epoch} after {before}")
    if next_number <= highest:
        raise Violation(NAME, f"transactor {id_} goes on from {next_number}; it used {highest}")


def check_owner(known: Owner | None, id_: int, epoch: int, what: str) -> Owner:
    """Check that who did something is the owner.

    Raises:
        Violation: It was fenced, or is nobody.
    """
    if known is None:
        raise Violation(NAME, f"transactor {id_} {what}; there is none")
    if epoch != known.epoch:
        raise Violation(NAME, f"epoch {epoch} of transactor {id_} {what}; it is at {known.epoch}")
    return known


def check_fenced(known: Owner | None, id_: int, epoch: int) -> None:
    """Check that who is told to be fenced is.

    Raises:
        Violation: It is the owner.
    """
    if known is None or epoch >= known.epoch:
        raise Violation(NAME, f"epoch {epoch} of transactor {id_} is told to be fenced: {known}")


def check_group(known: Owner | None, id_: int, group: str) -> None:
    """Check that an answer that is taken comes from the group.

    Raises:
        Violation: It does not.
    """
    if known is None or known.group != group:
        raise Violation(NAME, f"{group} answers for transactor {id_}, which is {known}")
