"""``raftlog`` of an earlier version, as far as others see it: it can apply a level less."""

import sys

from raftlog.broker import commands

commands.FEATURE_LEVEL -= 1  # type: ignore[misc]

if __name__ == "__main__":
    from raftlog.__main__ import main  # whatever knows the level is loaded after it was changed

    sys.exit(main())
