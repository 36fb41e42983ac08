"""The messages of ``proto/raftlog/v1/letters.proto``; the stub beside this file shows them."""

from raftlog.wire.schema import names_of

globals().update(names_of("letters"))
