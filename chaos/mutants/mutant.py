"""What a mutant is."""

import msgspec


class Mutant(msgspec.Struct, frozen=True):
    """A bug: in which module, which text becomes which, and which tests see it.

    Without ``tests`` the simulator is the catcher.
    """

    name: str
    module: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...] = ()

    @property
    def is_of_broker(self) -> bool:
        """Whether it does nothing in a run with raw entries."""
        layers = ("raftlog.broker.", "raftlog.service.", "raftlog.client.")
        return self.module.startswith(layers)
