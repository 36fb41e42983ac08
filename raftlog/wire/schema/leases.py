"""The messages of ``proto/raftlog/v1/leases.proto``; the stub beside this file shows them."""

from raftlog.wire.schema import names_of

globals().update(names_of("leases"))
