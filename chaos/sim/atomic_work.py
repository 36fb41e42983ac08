"""Names of what is read, processed and written in transactions."""

from typing import Final

GROUP: Final = "settling"
"""The group whose members do so."""
RESULTS: Final = ("results", "totals")
"""Topics that nobody in it reads, so that what is made of records comes to an end."""
