"""``docs/reference/grpc.md`` says what the code does, both ways."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

from raftlog.base.limits import (
    FRAME_BODY_BYTES_MAX,
    FRAME_HEADER_BYTES_MAX,
    KIB,
    MIB,
    RPCS_MAX,
    WRITE_BUFFER_BYTES_MAX,
)
from raftlog.gateway.grpc.server import PATIENCE_S, SHARD_KEY
from raftlog.gateway.grpc.statuses import DETAILS_KEY, code_of
from raftlog.wire.frame import Method
from raftlog.wire.requests import COMPOSED, EXCHANGES, RPCS
from raftlog.wire.status import TRAVELLING

PAGE: Final = (Path(__file__).parents[2] / "docs/reference/grpc.md").read_text("utf-8")


def test_every_rpc_is_in_the_reference_with_its_messages() -> None:
    """Whoever writes a client in another language begins here."""
    documented = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \| (\w+)", PAGE, re.MULTILINE)
    harmless = {
        method: "may" if exchange.changes else "harmless" for method, exchange in EXCHANGES.items()
    }
    for method in (Method.APPEND, Method.DELAYED_APPEND, Method.TRANSACTION_COMMIT):
        harmless[method] = "harmless"  # "only with a producer id"
    existing = [
        (name, EXCHANGES[rpc].request.__name__, EXCHANGES[rpc].reply.__name__, harmless[rpc])
        for name, rpc in RPCS.items()
    ]
    existing += [
        (name, exchange.request.__name__, exchange.reply.__name__, "harmless")
        for name, exchange in COMPOSED.items()
    ]
    assert documented == existing


def test_every_error_is_in_the_reference_under_its_code() -> None:
    """Retry policies are written from this table."""
    documented = {
        code: re.findall(r"`(\w+)`", errors)
        for code, errors in re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", PAGE, re.MULTILINE)
    }
    existing = defaultdict(set)
    for kind in TRAVELLING.values():
        existing[code_of(kind).name].add(kind.code)
    assert {code: set(errors) for code, errors in documented.items()} == existing


def test_the_numbers_and_names_in_the_text_are_those_of_the_code() -> None:
    """A limit that changed and is told as it was misleads more than none."""
    for part in (
        *(f"`{SHARD_KEY}`", f"`{DETAILS_KEY}`", f"{PATIENCE_S:.0f} s for a call without one"),
        *(f"at most {FRAME_BODY_BYTES_MAX // MIB} MiB", f"serves {RPCS_MAX} rpcs"),
        f"{FRAME_HEADER_BYTES_MAX // KIB} KiB of it beside its batches",
        f"holds {WRITE_BUFFER_BYTES_MAX // MIB} MiB of batches",
    ):
        assert part in " ".join(PAGE.split()), part
