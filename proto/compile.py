# noqa: INP001 (a script beside the schema, not a package)
"""Compile ``proto/`` into what the package ships: ``python proto/compile.py``.

The result is a descriptor set and type stubs, no generated code: generated
``_pb2.py`` files break on other protobuf versions, a descriptor set loads on
all of them (architecture.md, Wire).
"""

import re
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Final

from grpc_tools import protoc  # type: ignore[import-untyped]

PROTO: Final = Path(__file__).resolve().parent
SCHEMA: Final = PROTO.parent / "raftlog" / "wire" / "schema"
DESCRIPTOR_SET: Final = "raftlog.binpb"
STUB_NOTE: Final = '# mypy: disable-error-code="mutable-override"'
"""Every generated message narrows ``Message.DESCRIPTOR``; nobody assigns to it."""


def sources() -> list[Path]:
    """Return the schema files, in a fixed order."""
    return sorted(PROTO.glob("raftlog/v1/*.proto"))


def compile_into(target: Path) -> None:
    """Write descriptor set and stubs into the directory ``target``.

    Raises:
        SystemExit: The compiler refused; it has said why on stderr.
    """
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [
            "protoc",
            f"--proto_path={PROTO}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy={Path(sys.executable).parent / 'protoc-gen-mypy'}",
            f"--descriptor_set_out={target / DESCRIPTOR_SET}",
            f"--mypy_out={scratch}",
            *map(str, sources()),
        ]
        if code := protoc.main(arguments):
            raise SystemExit(code)
        for stub in sorted(Path(scratch).glob("raftlog/v1/*_pb2.pyi")):
            name = stub.name.replace("_pb2.pyi", ".pyi")
            text = f"{STUB_NOTE}\n{_with_own_imports(stub.read_text(encoding='utf-8'))}"
            (target / name).write_text(text, encoding="utf-8")


def _with_own_imports(stub: str) -> str:
    """Let a stub import the others from where they are: here no module ends in ``_pb2``."""
    return re.sub(
        r"^from raftlog\.v1 import (\w+)_pb2 as",
        r"from raftlog.wire.schema import \1 as",
        stub,
        flags=re.MULTILINE,
    )


if __name__ == "__main__":
    compile_into(SCHEMA)
