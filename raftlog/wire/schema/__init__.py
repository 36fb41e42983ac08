"""The messages of ``proto/raftlog/v1``, loaded from the shipped descriptor set.

``from raftlog.wire.schema import peer`` and then ``peer.Heartbeat``: the stubs
beside this file are what a type checker sees. There is no generated code, so
any protobuf from 4.25 on will do. A pool of its own keeps these names apart
from whatever else is loaded in the process.
"""

from importlib.resources import files
from typing import Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

DESCRIPTOR_SET: Final = "raftlog.binpb"
PACKAGE: Final = "raftlog.v1"


def descriptor_set() -> bytes:
    """Return the shipped descriptor set."""
    return files(__name__).joinpath(DESCRIPTOR_SET).read_bytes()


def _load() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set()).file:
        pool.Add(file)
    return pool


_POOL: Final = _load()


def names_of(schema: str) -> dict[str, type[Message] | int]:
    """Return the message classes and enum values of ``proto/raftlog/v1/<schema>.proto``."""
    file = _POOL.FindFileByName(f"raftlog/v1/{schema}.proto")
    names: dict[str, type[Message] | int] = {
        name: message_factory.GetMessageClass(message)
        for name, message in file.message_types_by_name.items()
    }
    for enum in file.enum_types_by_name.values():
        names.update({value.name: value.number for value in enum.values})
    return names


def rpcs_of(service: str) -> dict[str, tuple[type[Message], type[Message]]]:
    """Return what each rpc of ``service`` is asked with and answered with, by its name."""
    found = _POOL.FindServiceByName(f"{PACKAGE}.{service}")
    return {
        rpc.name: (
            message_factory.GetMessageClass(rpc.input_type),
            message_factory.GetMessageClass(rpc.output_type),
        )
        for rpc in found.methods
    }
