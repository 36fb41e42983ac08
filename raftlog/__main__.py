"""The ``raftlog`` command, also as ``python -m raftlog``."""

import signal
import sys

from raftlog.base.garbage import collect_seldom


def main() -> int:
    """Run the command line; return the exit code.

    Loading takes a moment, in which ctrl-C just ends the process: nothing has begun.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    collect_seldom()
    from raftlog.cli.app import main as run  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


if __name__ == "__main__":
    sys.exit(main())
