"""The ``raftlog`` command, also as ``python -m raftlog``."""

import gc
import signal
import sys
from typing import Final

COLLECT_AFTER: Final = 50_000
"""Allocations until the cycle collector looks: what is loaded at the start is no garbage."""


def main() -> int:
    """Run the command line; return the exit code.

    Loading takes a moment, in which ctrl-C just ends the process: nothing has begun.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(COLLECT_AFTER)
    from raftlog.cli.app import main as run  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


if __name__ == "__main__":
    sys.exit(main())
