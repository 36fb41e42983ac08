"""The moments of a workload: the disk after each file operation, and what was promised by then."""

from typing import Generic, NamedTuple, Protocol, TypeVar

from chaos.sim.disk import SimDisk


class ContractBroken(AssertionError):
    """What recovery made of a crash is not what was promised."""


class Promise(Protocol):
    """What must and what may be found after a crash. Never changes; a new one is made instead."""

    def recover(self, disk: SimDisk) -> None:
        """Do what a process does when it starts on ``disk``."""

    def check(self, disk: SimDisk) -> int:
        """Recover, and hold what is found against the promise; return recovery's operations.

        Raises:
            ContractBroken: Saying which clause.
        """


P = TypeVar("P", bound=Promise)


class Moment(NamedTuple):
    """A disk between two operations, and what had been promised by then."""

    disk: SimDisk
    promise: Promise
    what: str


class Recording(Generic[P]):
    """Notes a moment after every operation on a disk."""

    def __init__(self, disk: SimDisk, promise: P) -> None:
        self.disk = disk
        self.promise = promise
        self.what = "begin"
        self.moments: list[Moment] = []
        disk.after_operation = self._note
        self._note()

    def _note(self) -> None:
        self.moments.append(Moment(self.disk.fork(), self.promise, self.what))


def demand(what: str, *, holds: bool) -> None:
    """Raise ``ContractBroken`` with ``what`` unless it holds."""
    if not holds:
        raise ContractBroken(what)
