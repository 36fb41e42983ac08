"""The shipped descriptor set is the one that ``proto/`` gives."""

import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2

from raftlog.wire import schema
from raftlog.wire.schema import hello, peer

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_descriptor_set_equals_a_fresh_compile(tmp_path: Path) -> None:
    """A schema changed without ``make proto`` would ship the old one."""
    program = (
        "import runpy, pathlib, sys;"
        "runpy.run_path('proto/compile.py')['compile_into'](pathlib.Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True, capture_output=True
    )
    fresh = descriptor_pb2.FileDescriptorSet.FromString(
        (tmp_path / schema.DESCRIPTOR_SET).read_bytes()
    )
    assert descriptor_pb2.FileDescriptorSet.FromString(schema.descriptor_set()) == fresh
    for stub in tmp_path.glob("*.pyi"):
        shipped = ROOT / "raftlog" / "wire" / "schema" / stub.name
        assert shipped.read_text(encoding="utf-8") == stub.read_text(encoding="utf-8")


def test_messages_and_enum_values_are_reachable_by_name() -> None:
    """What the stubs promise exists."""
    assert peer.VoteRequest.FromString(peer.VoteRequest(term=3).SerializeToString()).term == 3
    assert hello.Hello(purpose=hello.PURPOSE_ENTRIES).purpose == 3


def test_the_wire_does_not_load_grpc() -> None:
    """It costs 100 ms and 20 MB that no peer and no SDK needs."""
    program = (
        "import sys, raftlog, raftlog.wire.frame, raftlog.wire.batch, raftlog.wire.schema.client;"
        "assert 'grpc' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
