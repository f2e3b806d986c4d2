//! Every bound a client or a peer can meet, with its unit. docs/protocol.md repeats them for
//! readers.

use std::time::Duration;

/// Longest key, in bytes.
pub const KEY_BYTES: usize = 64 * 1024;
/// Longest field name of a hash, in bytes.
pub const FIELD_BYTES: usize = 64 * 1024;
/// Longest value of a string or of a field, in bytes.
pub const VALUE_BYTES: usize = 64 * 1024 * 1024;
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
/// Replies a connection may hold before it is closed, in bytes.
pub const OUTPUT_BYTES: usize = 256 * 1024 * 1024;
/// Replies a connection gathers before it executes no further request until some were written.
pub const OUTPUT_SOFT_BYTES: usize = 256 * 1024;
/// Client connections of one node.
pub const CONNECTIONS: usize = 10_000;
/// Time for a new connection's first complete request.
pub const FIRST_REQUEST: Duration = Duration::from_secs(5);
/// Time for a forwarded command, or a client's call that names no deadline of its own.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Sessions of a shard at a time.
pub const SESSIONS: usize = 10_000;
/// A session that was not used for so long, by the time of its shard, may have to make room.
pub const SESSION_IDLE: Duration = Duration::from_secs(60);
/// Numbers of a session that are told apart, the latest ones; a retry of an older one is not
/// executed.
pub const SESSION_WINDOW: usize = 4096;
/// Longest answer that is kept for a retry, in bytes.
pub const SESSION_ANSWER_BYTES: usize = 4096;
/// Answers that are kept for the retries of one session, in bytes; older ones are dropped first.
pub const SESSION_BYTES: usize = 1024 * 1024;
/// Longest frame of a handshake between nodes, in bytes; a topology of many shards fits.
pub const HANDSHAKE_BYTES: usize = 1024 * 1024;

/// Longest frame between nodes, in bytes: the largest command, and what is said besides.
pub const PEER_FRAME_BYTES: usize = 2 * FRAME_BYTES;

/// Frames that may wait for a link to another node, in bytes; further ones are dropped and their
/// senders try again.
pub const PEER_OUTPUT_BYTES: usize = 256 * 1024 * 1024;

/// Frames of one other node that may wait to be looked at, in bytes; no more is read meanwhile.
pub const PEER_INPUT_BYTES: usize = 256 * 1024 * 1024;
