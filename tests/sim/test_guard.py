"""Simulated code that touches the real world is noticed, wherever it got the name from."""

import os
import random
import socket
import threading
import time
from pathlib import Path
from random import Random

import pytest

from chaos.sim.guard import TouchedTheRealWorld, guarded
from raftlog.base import clock
from raftlog.storage import files

TOUCHES = [
    (time, "time", ()),
    (time, "sleep", (0,)),
    (clock.SystemClock(), "now_ns", ()),
    (clock.SystemClock(), "wall_ms", ()),
    (random, "random", ()),
    (os, "urandom", (1,)),
    (os, "open", (os.devnull, os.O_RDONLY)),
    (Path(os.devnull), "open", ()),
    (files.OsFiles(), "open", (os.devnull,)),
    (socket, "socket", ()),
    (threading.Thread(target=print), "start", ()),
]


@pytest.mark.parametrize(("owner", "name", "arguments"), TOUCHES)
def test_a_touch_is_noticed(owner: object, name: str, arguments: tuple[object, ...]) -> None:
    with guarded(), pytest.raises(TouchedTheRealWorld):
        getattr(owner, name)(*arguments)


def test_afterwards_everything_is_as_it_was() -> None:
    before = (time.time, random.random, os.open, open, threading.Thread.start)
    with pytest.raises(ZeroDivisionError), guarded():
        1 / 0  # noqa: B018
    assert (time.time, random.random, os.open, open, threading.Thread.start) == before


def test_random_numbers_of_a_seed_are_allowed() -> None:
    with guarded():
        assert Random(1).random() == Random(1).random()
