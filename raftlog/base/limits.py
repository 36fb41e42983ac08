"""Every bound of the system, with its unit in its name.

A bound that is reached is a typed refusal, never a growing list. The relations
between bounds are asserted when this module is imported.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# One entry, one message, one write.
BATCH_BYTES_MAX: Final = 4 * MIB
"""The largest record batch that a client may append."""
ENTRY_BODY_BYTES_MAX: Final = 4 * MIB + 64 * KIB
"""The largest body of one log entry: one largest batch and its envelope (ruling 32)."""
COALESCE_BYTES_MAX: Final = 1 * MIB
"""Commands stop joining an entry beyond this."""
COALESCE_COMMANDS_MAX: Final = 10_000
MESSAGE_ENTRIES_BYTES_MAX: Final = 1 * MIB
"""Entries in one append message; it carries at least one entry whatever its size."""
WRITE_UNIT_BYTES_MAX: Final = 8 * MIB
"""Entries in one write unit, between two fdatasyncs (at least one entry)."""

# The wire.
FRAME_BODY_BYTES_MAX: Final = 5 * MIB
"""Header and payload of one frame. A claim beyond it ends the connection."""
FRAME_HEADER_BYTES_MAX: Final = 512 * KIB
"""The protobuf message in it. The largest: offsets of 10 000 queues, the members of a group."""
FRAME_UNPROVEN_BYTES_MAX: Final = 64 * KIB
"""The same before the peer or client has said hello."""
CONNECTIONS_MAX: Final = 4_096
REQUESTS_PER_CONNECTION_MAX: Final = 4_096
"""Unanswered requests of one client connection."""
RPCS_MAX: Final = 4_096
"""gRPC requests that a node serves at once."""
WRITE_BUFFER_BYTES_MAX: Final = 64 * MIB
"""Unsent bytes of one connection; beyond it the connection is ended."""
BATCH_RECORDS_MAX: Final = 10_000
TAG_CHARACTERS_MAX: Final = 127
FILTER_CHARACTERS_MAX: Final = 1_024
"""The condition of a filter."""
FILTER_TAGS_MAX: Final = 32
ID_CHARACTERS_MAX: Final = 127

# Raft.
VOTERS_MAX: Final = 7
LEARNERS_MAX: Final = 7
WINDOW_MESSAGES_MAX: Final = 256
WINDOW_BYTES_MIN: Final = 1 * MIB
WINDOW_BYTES_MAX: Final = 64 * MIB
UNCOMMITTED_BYTES_MAX: Final = 64 * MIB
"""Neither committed nor, or not yet, on the leader's own disk: beyond it proposals are refused
as throttled. A tail of durable entries that apply does not get to is cut to it too."""
PENDING_PROPOSALS_MAX: Final = 100_000
PENDING_READS_MAX: Final = 100_000
CATCH_UP_PIECE_BYTES: Final = 256 * KIB
"""Bytes of a snapshot's file, or of entries from the disk, in one message to a peer that was
away: the loop is not held longer than for an ordinary message."""
CATCH_UP_BYTES_PER_S: Final = 32 * MIB
"""How fast a replica gives them out, to all peers together, if little is written meanwhile."""
REPAIR_MESSAGES_MAX: Final = 64
"""Damaged places that peers are asked for at once; the others have their turn later."""
REPAIR_READS_MAX: Final = 8
"""Reads of entries for peers that repair; a request beyond it is dropped, and asked again."""
REPAIR_BYTES_MAX: Final = 16 * MIB
"""Entries that wait to be written over damage (at least one answer); more are asked again."""
SURVEY_BYTES_MAX: Final = 16 * MIB
"""Entries of one survey that are kept, for a hole that has no room for its pieces."""
SCRUB_SPAN_BYTES: Final = 64 * KIB
SCRUB_BYTES_PER_S: Final = 4 * MIB
"""The log is looked at for damage at this rate; so much that 300 GiB take a day."""
SCRUB_FAST_BYTES_PER_S: Final = 64 * MIB
"""The same when somebody has asked for it and waits."""
SCRUB_REST_NS: Final = 3_600_000_000_000
"""Between two passes, and before the first."""
FILE_CHUNK_BYTES_MAX: Final = 64 * KIB
"""Of an index file or snapshot, in one message between replicas."""
FILE_FETCH_READS_MAX: Final = 8
FILE_SERVE_READS_MAX: Final = 8
"""Chunks that are read for peers at once; a request beyond it is dropped, and asked again."""
TAIL_BYTES_MAX: Final = 32 * MIB
"""Entries kept in memory after they are durable and applied, for followers and readers."""

# Broker state, for each shard (ruling 18): beyond a bound the refusal is typed.
TOPICS_MAX: Final = 10_000
QUEUES_MAX: Final = 50_000
TOPIC_QUEUES_MAX: Final = 1_000
PRODUCER_ROWS_MAX: Final = 100_000
GROUPS_MAX: Final = 10_000
GROUP_MEMBERS_MAX: Final = 1_000
GROUP_TOPICS_MAX: Final = 100
MEMBERS_MAX: Final = 100_000
"""Members of all groups together."""
CLAIMS_MAX: Final = 200_000
SHARES_MAX: Final = 200_000
"""Queues of all sticky and cooperative groups together."""
OFFSETS_PER_COMMAND_MAX: Final = 10_000
"""Queues in one commit of offsets or one seek."""
NAME_CHARACTERS_MAX: Final = 127
BUSINESS_IDS_MAX: Final = 1_000_000
"""Beyond it the oldest of the same topic leaves before its window is over (ruling 30)."""
QUOTAS_MAX: Final = 10_000
ID_WINDOW_MS_MAX: Final = 7 * 24 * 3600 * 1000
PRODUCER_FORGOTTEN_MS: Final = 7 * 24 * 3600 * 1000
"""A producer that was silent for so long, in log time, is forgotten (ruling 9)."""
DUE_PER_ENTRY_MAX: Final = 1_000
"""What is due at an entry's log time is done before it, at most so many items (ruling 8)."""
QUEUE_GROUPS_MAX: Final = 10_000
CURSORS_MAX: Final = 200_000
"""Queues of all queue-style groups together."""
MESSAGES_IN_FLIGHT_MAX: Final = 500_000
"""Messages of all queue-style groups that are leased, wait for a retry or for their turn, or
are to become dead letters."""
GROUP_MESSAGES_IN_FLIGHT_MAX: Final = 100_000
"""The same of one group: the most that its own limit may be."""
MESSAGES_SOUGHT_MAX: Final = 20_000
"""Messages in flight that one seek of a queue-style group ends, to be leased again."""
MESSAGES_PER_RECEIVE_MAX: Final = 1_000
"""Messages leased by one command."""
KEYS_PER_RECEIVE_MAX: Final = 4_000
"""Messages whose keys one command tells, so that they stay in order by key."""
MESSAGES_PER_SETTLING_MAX: Final = 10_000
"""Messages acknowledged, extended or given back by one command."""
LEASE_TERM_MS_MIN: Final = 1_000
LEASE_TERM_MS_MAX: Final = 12 * 3_600_000
FINISHERS_KNOWN_MS: Final = 600_000
FINISHER_ROWS_MAX: Final = 100_000
LEASE_GRACE_MS_MIN: Final = 5_000
LEASE_GRACE_MS_MAX: Final = 30_000
"""No lease ends so soon after there is a new leader (ruling 25)."""
RETRY_DELAY_MS_MAX: Final = 24 * 3_600_000
RETRY_DELAYS_MAX: Final = 64
ATTEMPTS_MAX: Final = 1_000
REASON_CHARACTERS_MAX: Final = 200
"""Why a message was given back; what is longer is cut by the client."""
DELAYED_ROWS_MAX: Final = 2_000_000
"""Delayed batches that are pending, or were cancelled before they were due."""
SURVIVOR_ROWS_MAX: Final = 20_000
"""Visible batches that were copied forward, so that the range they were stored in can go."""
DELAY_MS_MAX: Final = 40 * 24 * 3600 * 1000
CANCELLED_KNOWN_MS: Final = 3600 * 1000
"""So long after it was due a cancelled batch is known as that, in log time."""
OPEN_TRANSACTIONS_MAX: Final = 1_000_000
"""Half messages that were not decided."""
TRANSACTORS_MAX: Final = 10_000
TRANSACTOR_FORGOTTEN_MS: Final = 7 * 24 * 3600 * 1000
"""A transactor that was silent for so long, and has nothing open, is forgotten."""
DECISIONS_MAX: Final = 200_000
DECISIONS_KNOWN_MS: Final = 600_000
"""So long a decided transaction is known with its outcome, in log time."""
DECISIONS_PER_COMMAND_MAX: Final = 1_000
TRANSACTION_BYTES_MAX: Final = 1 << 20
"""Of an atomic transaction in its last entry: as many bytes of batches, and of all the rest. What
is larger is staged before."""
TRANSACTION_STAGED_BYTES_MAX: Final = 32 << 20
"""All records of an atomic transaction together."""
STAGED_BATCH_BYTES_MAX: Final = 512 << 10
"""About what a client puts into one staged batch."""
STAGED_PARTS_MAX: Final = 60
"""Of one transaction in one queue: its producer has as many unconfirmed ones, and few more."""
TRANSACTION_STAGED_PARTS_MAX: Final = 2_000
"""Staged batches of one transaction."""
STAGED_ROWS_MAX: Final = 100_000
"""Staged batches of transactions that were not committed."""
STAGED_MS_MAX: Final = 15 * 60_000
"""So long a staged batch waits for its commit, in log time."""
TRANSACTION_PARTS_MAX: Final = 1_000
"""Queues that an atomic transaction writes to."""
TRANSACTION_GROUPS_MAX: Final = 100
"""Groups whose offsets an atomic transaction commits, and as many whose messages it acks."""
FINISHED_INTERVALS_MAX: Final = 256
"""Of one transactor's numbers; beyond it the lowest gap closes."""
CHECK_FIRST_MS: Final = 6_000
CHECK_AGAIN_MS: Final = 30_000
CHECKS_MAX: Final = 15
"""Checks that were answered with "unknown"; then the transaction is parked."""
SESSION_MS_MIN: Final = 1_000
SESSION_MS_MAX: Final = 3_600_000
STALENESS_MS_MAX: Final = 24 * 3_600_000

# Time.
TICK_NS: Final = 10_000_000
HEARTBEAT_TICKS: Final = 5
ELECTION_TICKS_MIN: Final = 50
ELECTION_TICKS_MAX: Final = 100
LEASE_PERCENT: Final = 90
"""A leader's lease in percent of what voters pledge: clocks may be 5 % fast or slow."""
LEASE_MS_MAX: Final = 60_000
HINT_TICKS_MAX: Final = 6
"""A lost connection to the leader starts a pre-vote after 1 to this many ticks."""
HELLO_TIMEOUT_NS: Final = 50_000_000
"""A connection counts as re-opened only when its hello was answered in this time (ruling 13)."""
READ_CONFIRM_NS: Final = 1_000_000_000
"""A linearizable read that no majority confirmed in this time is given up."""
APPLY_BUDGET_NS: Final = 5_000_000
"""Apply work in one turn of the loop (ruling 18)."""
MARK_IDLE_NS: Final = 20_000_000
"""``durable.mark`` is synced when the writer was idle for so long (ruling 2)."""
STOP_DEADLINE_NS: Final = 10_000_000_000
HANDOVER_DEADLINE_NS: Final = 2_000_000_000

# Storage.
SEGMENT_BYTES: Final = 64 * MIB
SEGMENT_BYTES_DEV: Final = 8 * MIB
"""Development and tests: small segments, still larger than the largest write unit allows."""
BLOCK_BYTES: Final = 4 * KIB
"""The distance of two copies of one record, so that no single sector holds both."""
SECTOR_BYTES: Final = 512
"""The smallest part of a disk that may be unreadable while what is beside it is not."""
READ_SPAN_BYTES_MAX: Final = 1 * MIB
RESERVE_BYTES: Final = 64 * MIB
"""Kept back on the disk for votes, configuration and trims: one more segment (ruling 25)."""
DISK_SCARCE_PERCENT: Final = 85
"""From this use of the disk on no topic is made."""
DISK_FULL_PERCENT: Final = 90
"""From this use of the disk on no record is taken in."""
DISK_PLENTY_BYTES: Final = 10 << 30
"""However used a disk is, with so much free it takes in everything."""
SPACE_LOOK_NS: Final = 1_000_000_000
"""Free space is looked at so often; a producer that was refused may ask again after it."""
NO_ROOM_RETRY_NS: Final = 200_000_000
"""What found no room on the disk is tried again after this."""
DISK_STALL_NS: Final = 1_000_000_000
"""A leader whose disk has not answered for so long hands over to one whose disk has."""
YIELD_WAIT_NS_MIN: Final = 2_000_000_000
YIELD_WAIT_NS_MAX: Final = 120_000_000_000
"""A leader that is to hand over tries again after this, twice as long each time."""
PREFER_STEADY_NS: Final = 5_000_000_000
"""Who is preferred as leader gets leadership after it has answered for so long."""
YIELD_CALM_NS: Final = 300_000_000_000
"""An attempt so long ago does not count any more."""
FETCH_WAIT_NS_MAX: Final = 60_000_000_000
REPAIR_WAIT_NS_MAX: Final = 2_000_000_000
"""A read of a damaged entry waits so long for a peer's copy."""

assert COALESCE_BYTES_MAX <= ENTRY_BODY_BYTES_MAX
assert BATCH_BYTES_MAX < ENTRY_BODY_BYTES_MAX < FRAME_BODY_BYTES_MAX
assert BATCH_BYTES_MAX + FRAME_HEADER_BYTES_MAX <= FRAME_BODY_BYTES_MAX
assert FRAME_UNPROVEN_BYTES_MAX < FRAME_HEADER_BYTES_MAX
assert MESSAGE_ENTRIES_BYTES_MAX <= WINDOW_BYTES_MIN <= WINDOW_BYTES_MAX
assert MESSAGE_ENTRIES_BYTES_MAX <= REPAIR_BYTES_MAX
assert UNCOMMITTED_BYTES_MAX >= 2 * ENTRY_BODY_BYTES_MAX
assert ENTRY_BODY_BYTES_MAX < SEGMENT_BYTES_DEV <= SEGMENT_BYTES < 1 << 32
assert HEARTBEAT_TICKS * 4 <= ELECTION_TICKS_MIN < ELECTION_TICKS_MAX
