"""gRPC: the same requests for any language (``proto/raftlog/v1/broker.proto``).

Importing anything in here imports grpc, which costs a second and memory: a node
does so only where ``listen.grpc`` is configured.
"""
