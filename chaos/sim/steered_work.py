"""The group whose subscription is said by hand now and then."""

from typing import Final

STEERED: Final = "steered"
SHARE: Final = 0.3
"""Topic stores with such a group, of those without one that settles in transactions."""
SAYS_PER_S: Final = (0.15, 0.8)
"""How often somebody says something by hand: one of these. What was said leaves members no say."""
