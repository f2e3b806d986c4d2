//! Every bound a client or a peer can meet, with its unit. docs/protocol.md repeats them for
//! readers.

use std::time::Duration;

/// Longest key, in bytes.
pub const KEY_BYTES: usize = 64 * 1024;
/// Longest field name of a hash, in bytes.
pub const FIELD_BYTES: usize = 64 * 1024;
/// Longest value of a string or of a field, in bytes.
pub const VALUE_BYTES: usize = 64 * 1024 * 1024;
/// Lengths of the two strings of LCS, multiplied: so many pairs of bytes are compared, while their
/// slot is read.
pub const LCS_PAIRS: usize = 16 * 1024 * 1024;
/// Most arguments in one command, its name included.
pub const ARGUMENTS: usize = 1024 * 1024;
/// Most arguments of a RESP command before the client has authenticated, as in Redis.
pub const UNAUTHENTICATED_ARGUMENTS: usize = 10;
/// Longest argument of a RESP command, and longest native frame, before the client has
/// authenticated, in bytes, as in Redis.
pub const UNAUTHENTICATED_BYTES: usize = 16 * 1024;
/// Longest inline command, in bytes, as in Redis.
pub const INLINE_BYTES: usize = 64 * 1024;
/// Longest request that may be buffered while it is incomplete, in bytes. A value of the greatest
/// size and its command fit.
pub const QUERY_BYTES: usize = VALUE_BYTES + 1024 * 1024;
/// Longest native frame, in bytes, its length prefix not counted. Every request that fits into
/// [`QUERY_BYTES`] as RESP fits, with what a frame says besides.
pub const FRAME_BYTES: usize = QUERY_BYTES + 1024;
/// Deepest nesting of a native reply.
pub const NESTING: usize = 32;
/// Commands between MULTI and EXEC, in bytes, with a few for each word.
pub const TRANSACTION_BYTES: usize = QUERY_BYTES;
/// Words of all commands between MULTI and EXEC.
pub const TRANSACTION_WORDS: usize = ARGUMENTS;
/// Connections that watch keys of one shard at a time.
pub const WATCHERS: usize = 10_000;
/// Watched keys of one shard, in bytes, with a few for each.
pub const WATCHED_BYTES: usize = 8 * 1024 * 1024;
/// How long a cluster remembers watched keys, by the time of their shard.
pub const WATCH: Duration = Duration::from_secs(300);
/// Most requests of one connection that may wait for an answer from another node.
pub const IN_FLIGHT: usize = 10_000;
/// Requests of one connection that wait for an answer from another node, in bytes; behind them its
/// further ones wait.
pub const IN_FLIGHT_BYTES: usize = 4 * 1024 * 1024;
/// Bytes between a client and a node in the same process that wait to be read in one direction.
pub const PIPE_BYTES: usize = 256 * 1024;
/// Replies a connection may hold before it is closed, in bytes.
pub const OUTPUT_BYTES: usize = 256 * 1024 * 1024;
/// Replies a connection gathers before it executes no further request until some were written.
pub const OUTPUT_SOFT_BYTES: usize = 256 * 1024;
/// Longest name that a client gives itself, and of its library, in bytes.
pub const LABEL_BYTES: usize = 64 * 1024;
/// Names that a connection listens to at a time: channels, patterns and channels of shards.
pub const SUBSCRIPTIONS: usize = 65_536;
/// Names that a connection listens to, in bytes, with a few for each.
pub const SUBSCRIBED_BYTES: usize = 16 * 1024 * 1024;
/// Longest name of a channel that is listened to, in bytes.
pub const CHANNEL_BYTES: usize = 64 * 1024;
/// Longest pattern of channels, in bytes.
pub const PATTERN_BYTES: usize = 1024;
/// Messages that may wait for a client that listens, in bytes with a few for each; one that lets
/// more wait is closed.
pub const MESSAGES_BYTES: usize = 32 * 1024 * 1024;
/// Messages that may wait for longer than [`MESSAGES_SOFT`], in bytes.
pub const MESSAGES_SOFT_BYTES: usize = 8 * 1024 * 1024;
/// A client for which more than [`MESSAGES_SOFT_BYTES`] wait is closed after so long.
pub const MESSAGES_SOFT: Duration = Duration::from_secs(60);
/// Keys or fields that one call of SCAN or HSCAN looks at; a greater COUNT is taken for this.
pub const SCAN_COUNT: usize = 1024;
/// What a node keeps for all of its clients together while it waits for them, in bytes: requests
/// that have not arrived whole, commands between MULTI and EXEC, and replies and messages that are
/// not read to their end, except for long values and large hashes that the store still has. Beyond
/// it the connection that has been still for longest is closed, if that is longer than
/// [`HELD_STILL`].
pub const HELD_BYTES: usize = 72 * 1024 * 1024;
/// Likewise, but beyond it that connection is closed however short it has been still.
pub const HELD_MOST_BYTES: usize = 96 * 1024 * 1024;
/// A connection with which nothing happens for so long is still.
pub const HELD_STILL: Duration = Duration::from_secs(1);
/// Slow commands that a node keeps at most, whatever `slowlog-max-len` says.
pub const SLOWLOG_ENTRIES: usize = 4096;
/// Words that are kept of a slow command, as in Redis.
pub const SLOWLOG_WORDS: usize = 32;
/// Bytes that are kept of a word of a slow command, as in Redis.
pub const SLOWLOG_WORD_BYTES: usize = 128;
/// Seconds of which a node keeps what took long, for each kind of event, as in Redis.
pub const LATENCY_SAMPLES: usize = 160;
/// Keys that a node counts at a time to find those that are asked for most.
pub const HOT_KEYS: usize = 128;
/// Those of them that are shown.
pub const HOT_KEYS_SHOWN: usize = 16;
/// Bytes that are kept of each of them.
pub const HOT_KEY_BYTES: usize = 128;
/// Of how long before that is, at least, and of at most twice as long.
pub const HOT_KEYS_WINDOW: Duration = Duration::from_secs(5);
/// Kinds of errors that a node counts, each by itself.
pub const ERROR_KINDS: usize = 128;
/// Client connections of one node.
pub const CONNECTIONS: usize = 10_000;
/// Time for a new connection's first complete request.
pub const FIRST_REQUEST: Duration = Duration::from_secs(5);
/// Time for a forwarded command, or a client's call that names no deadline of its own.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Sessions of clients of a shard at a time.
pub const SESSIONS: usize = 10_000;
/// A session that was not used for so long, by the time of its shard, may have to make room.
pub const SESSION_IDLE: Duration = Duration::from_secs(60);
/// The highest number of a session's writes; one above it is refused.
pub const SEQUENCE: u64 = i64::MAX as u64;
/// Numbers of a session that are told apart, the latest ones; a retry of an older one is not
/// executed.
pub const SESSION_WINDOW: usize = 4096;
/// Longest answer that is kept for a retry, in bytes.
pub const SESSION_ANSWER_BYTES: usize = 4096;
/// Answers that are kept for the retries of one session, in bytes; older ones are dropped first.
pub const SESSION_BYTES: usize = 1024 * 1024;
/// What is known of the numbers of all sessions of clients of one shard, in bytes, 64 added for
/// each number; and as much again for those of nodes. Sessions make room in turn: each forgets its
/// oldest numbers, whose retries are not executed.
pub const SESSIONS_BYTES: usize = 32 * 1024 * 1024;
/// Sessions of nodes of a shard at a time; no client can use them up.
pub const LANES: usize = 1000;
/// Tasks of one node's clients for one shard that may wait or be on their way.
pub const WAITING: usize = 100_000;
/// Tasks of one node for one shard that another node may have to answer: no more than it keeps
/// answers for.
pub const LANE_TASKS: usize = SESSION_WINDOW;
/// Changes of the cluster that clients of one node may wait for.
pub const WISHES: usize = 1000;
/// Longest name of a service, in bytes.
pub const SERVICE_NAME_BYTES: usize = 256;
/// Names of services that the connections of one node offer, counted once for each connection.
pub const SERVICES: usize = 1000;
/// Longest call of a service, its name, method and arguments together, and longest answer, in
/// bytes.
pub const SERVICE_CALL_BYTES: usize = 1024 * 1024;
/// Calls that one provider may have to answer.
pub const SERVICE_CALLS: usize = 4096;
/// Calls that may wait for the socket of one provider, in bytes.
pub const SERVICE_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Longest frame of a handshake between nodes, in bytes. Whoever connects may send one.
pub const HANDSHAKE_BYTES: usize = 4096;

/// Longest frame between nodes, in bytes: the largest command, and what is said besides.
pub const PEER_FRAME_BYTES: usize = 2 * FRAME_BYTES;

/// Frames that may wait for a link to another node, in bytes; further ones are dropped and their
/// senders try again.
pub const PEER_OUTPUT_BYTES: usize = 256 * 1024 * 1024;

/// Frames of one other node that may wait to be looked at, in bytes; no more is read meanwhile.
pub const PEER_INPUT_BYTES: usize = 256 * 1024 * 1024;

/// Frames that may wait for a link to another node, in bytes, for a message of clients to be put
/// behind them; else it is lost for that node.
pub const PEER_MESSAGES_BYTES: usize = 64 * 1024 * 1024;

/// Tasks in one entry of a shard's log.
pub const ENTRY_TASKS: usize = 1 << 16;
/// Bytes of tasks after which an entry takes no further one.
pub const ENTRY_BYTES: usize = 1024 * 1024;
/// Entries of a shard that its leader may have proposed and not applied; tasks that come meanwhile
/// share the next one.
pub const ENTRIES_IN_FLIGHT: usize = 4;
/// Entries in one message to a follower.
pub const APPEND_ENTRIES: usize = 64 * 1024;
/// Bytes of entries after which a message takes no further one.
pub const APPEND_BYTES: usize = 1024 * 1024;
/// Messages with entries that a follower may not have answered.
pub const APPENDS: usize = 64;
/// Members of a group, those that come or go included.
pub const MEMBERS: usize = 64;
/// Shards of a cluster.
pub const SHARDS: usize = 16_384;
/// Bytes of entries of a shard that may be uncommitted; what comes then waits.
pub const UNCOMMITTED_BYTES: usize = 128 * 1024 * 1024;
/// Bytes of entries after which no further one is applied in one go.
pub const APPLIED_BYTES: usize = 4 * 1024 * 1024;
/// Rounds in which a leader asks whether it still leads that may be unanswered.
pub const ROUNDS: usize = 64;
/// Bytes of applied entries that a shard's log in memory keeps for followers.
pub const LOG_BYTES: usize = 256 * 1024;
/// The same while a follower that is heard from needs them.
pub const LOG_HELD_BYTES: usize = 16 * 1024 * 1024;
/// The same while a full copy is on its way: what comes after it will be needed.
pub const LOG_COPY_BYTES: usize = 128 * 1024 * 1024;
/// Bytes of a piece of a full copy, about.
pub const PIECE_BYTES: usize = 128 * 1024;
/// Pieces of a copy that may be on their way, to a node or to the disk.
pub const PIECES: usize = 8;
/// Pieces of all full copies that may be on their way from one node to another.
pub const COPY_PIECES: usize = 16;
/// Snapshots that clients fetch from one node at a time.
pub const SNAPSHOTS: usize = 8;
/// Bytes of one piece of such a snapshot, about.
pub const SNAPSHOT_PIECE_BYTES: usize = 512 * 1024;
/// A snapshot that its client has not asked for in so long is given up.
pub const SNAPSHOT_IDLE: Duration = Duration::from_secs(60);
/// Old data that all such snapshots of a node may hold because what they copy is being changed, in
/// bytes; beyond it, those that were not asked for the longest are given up.
pub const SNAPSHOT_HELD_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of full copies that a node sends in a second; and, again, that it writes to its disk.
pub const COPIED_BYTES: usize = 64 * 1024 * 1024;
