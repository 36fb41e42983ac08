"""One schema, two transports: frames and gRPC offer the same requests."""

from raftlog.wire.requests import BROKER, COMPOSED, EXCHANGES, RPCS
from raftlog.wire.schema import rpcs_of


def test_every_rpc_is_one_method_with_the_same_messages() -> None:
    """A message that differs would need a second set of handlers."""
    for name, messages in rpcs_of(BROKER).items():
        exchange = COMPOSED[name] if name in COMPOSED else EXCHANGES[RPCS[name]]
        assert messages == (exchange.request, exchange.reply), name


def test_every_client_method_is_offered_once() -> None:
    """What the SDK can ask, any language can."""
    assert {*RPCS, *COMPOSED} == rpcs_of(BROKER).keys()
    assert RPCS.keys().isdisjoint(COMPOSED)
    assert sorted(RPCS.values()) == sorted(EXCHANGES)
