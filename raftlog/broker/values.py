"""What may stand in a command's fields: checked when its bytes are read.

Whoever proposes reads what it has written, so a value that is out of bounds is
refused before it is in the log, by the very check that apply makes (ruling 15).
"""

from typing import Annotated

import msgspec

from raftlog.base.limits import NAME_CHARACTERS_MAX

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""A number of something, an offset, a generation."""
QueueNumber = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
Name = Annotated[str, msgspec.Meta(max_length=NAME_CHARACTERS_MAX)]
"""A name that must exist to be found, so that its characters need no check."""
