"""Use-cases: what a client's request does with a shard."""
