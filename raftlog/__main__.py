"""``python -m raftlog``: the same as the ``raftlog`` command."""

import sys

from raftlog.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
