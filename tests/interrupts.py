"""Ctrl-C as a process in the foreground gets it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def interrupted() -> Iterator[None]:
    """The block ends by SIGINT, which a shell that starts the tests in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGINT, before)
