"""Quantiles are what they say, to the microsecond."""

import os
from random import Random

import pytest

from raftlog.testing.bench.latency import Latencies, Quantiles
from raftlog.testing.bench.usage import usage_of


def of(*milliseconds: float) -> Quantiles:
    latencies = Latencies()
    for value in milliseconds:
        latencies.add(value / 1000)
    return latencies.quantiles()


def test_nothing_measured_has_no_quantiles() -> None:
    """A zero would look like a very fast run."""
    assert of() == Quantiles(None, None, None)


def test_one_send_is_every_quantile() -> None:
    """The smallest run still says what it saw."""
    assert of(2.5) == Quantiles(2.5, 2.5, 2.5)


def test_a_rare_slow_send_shows_only_in_the_quantile_that_holds_it() -> None:
    """1 of 1000 is above p99 and is not above p99.9."""
    assert of(*[1.0] * 998, 50.0, 60.0) == Quantiles(1.0, 1.0, 50.0)


def test_quantiles_agree_with_sorting() -> None:
    """Counting by microsecond must not lose more than the microsecond."""
    random = Random(7)
    values = [random.expovariate(1.0) for _ in range(5000)]
    found = of(*values)
    ordered = sorted(values)
    for share, quantile in ((2500, found.p50_ms), (4950, found.p99_ms), (4995, found.p999_ms)):
        assert quantile == pytest.approx(ordered[share - 1], abs=0.0011)


def test_the_kernel_counts_this_process() -> None:
    """The bench's own word is not a measurement; the kernel's is."""
    used = usage_of(os.getpid())
    assert used.cpu_s > 0
    assert used.resident_bytes > 1 << 20
