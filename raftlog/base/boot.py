"""Which start of the machine this is, as its kernel counts them."""

from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return a name that is another one after each start of the machine; "" if there is none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""
