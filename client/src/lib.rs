//! The Rust client of dht, a distributed hash table.
//!
//! A [`Client`] finds the leader of each key's slot and talks to it directly, over one connection a
//! node that all clones share. It knows the commands of the table as methods, and takes any other
//! by its words.
//!
//! ```no_run
//! # async fn example() -> dht_client::Result<()> {
//! use dht_client::Client;
//!
//! let client = Client::connect("dht://127.0.0.1:7400,127.0.0.1:7401").await?;
//! client.hset("user:1", [("name", "Alice"), ("age", "25")]).await?;
//! assert_eq!(client.hget("user:1", "name").await?.as_deref(), Some(&b"Alice"[..]));
//! client.call(["HSET", "user:1", "city", "Paris"]).await?;
//! # Ok(()) }
//! ```
//!
//! # What became of it
//!
//! The variant of an [`Error`] says whether the command took effect: [`Error::NotDone`] and
//! [`Error::Reply`] mean that nothing has changed, [`Error::Unknown`] that nobody knows.
//!
//! A write to keys of one slot, also a transaction ([`Pipeline::exec`]), is executed exactly once,
//! whatever becomes of the node that it was sent to: it has a number in a session with its shard,
//! under which the client sends it again, also to other nodes, until it is answered or the
//! deadline has passed. A node that has died is passed by at once. When one does not answer for one
//! and a half seconds, whether it is frozen, cut off from the other nodes, or only from this
//! client, another node is asked as well, under the same number, and the first answer counts; a
//! node that answers other calls meanwhile is given half a second more. For ten seconds, or until
//! it answers, others are asked in its place. Reads are sent again likewise.
//!
//! A node that is asked again and refuses, since its disk is full, it does not know the password or
//! the command, or has no leader to send it to, says nothing of the first try: the client asks on,
//! and such a write is [`Error::Unknown`] if nobody knows more by the deadline. A command that only
//! reads is never [`Error::Unknown`].
//!
//! [`Error::Unknown`] remains possible
//!
//! - at the deadline of a call whose command was sent,
//! - for a transaction over watched keys ([`Watch::exec`]): whether they have changed since is
//!   known on its connection only,
//! - for writes that are split over several slots, such as `MSET` and `DEL`, or are about the whole
//!   keyspace: they have no session, and are not sent again once they may have been executed,
//! - at a node that was started alone, and where a shard has no room for another session
//!   ([`SESSIONS`](dht_proto::limits::SESSIONS)),
//! - when a retry finds that the cluster has lost its data meanwhile, that the first answer was
//!   longer than is kept
//!   ([`SESSION_ANSWER_BYTES`](dht_proto::limits::SESSION_ANSWER_BYTES)), or, in a shard with too
//!   many sessions, that this one had to make room
//!   ([`SESSION_IDLE`](dht_proto::limits::SESSION_IDLE)).
//!
//! The answers of a session are kept for its last
//! [`SESSION_WINDOW`](dht_proto::limits::SESSION_WINDOW) writes. A client with more of them in
//! flight to one shard opens another session, so it never meets that limit.
//!
//! ```no_run
//! # async fn example(client: dht_client::Client) -> dht_client::Result<()> {
//! use dht_client::Error;
//!
//! match client.incr("visits").await {
//!     Ok(visits) => println!("{visits}"),
//!     Err(Error::NotDone(why)) => println!("safe to repeat: {why}"),
//!     Err(Error::Unknown(why)) => println!("look before repeating: {why}"),
//!     Err(other) => return Err(other),
//! }
//! # Ok(()) }
//! ```
//!
//! # Pipelines
//!
//! ```no_run
//! # async fn example(client: dht_client::Client) -> dht_client::Result<()> {
//! let results = client.pipeline().hset("a", [("f", 1)]).hget("a", "f").dbsize().send().await;
//! for result in results {
//!     println!("{:?}", result?);
//! }
//! # Ok(()) }
//! ```
//!
//! [`Pipeline::exec`] executes the commands as one; [`Client::watch`] makes that depend on what was
//! read before.
//!
//! # Structs, maps, iterations
//!
//! [`Client::hset_struct`] and [`Client::hget_struct`] take a struct for the fields of a hash,
//! [`Client::map`] a hash for a map of values of one type. [`Client::scan_keys`] and
//! [`Client::scan_fields`] are streams.
//!
//! # Other servers
//!
//! With the feature `redis` the same calls work on a Redis, a Valkey or a Redis Cluster:
//! `redis://`, `rediss://`, `redis-cluster://` in place of `dht://`; see [`Scheme`]. These have no
//! sessions: a write whose answer is lost is [`Error::Unknown`] at once.
//!
//! # Messages
//!
//! [`Client::subscription`] listens to channels over a connection of its own, of whichever scheme,
//! and hears what is said through any node; [`Subscription`] shows how. What it has missed while it
//! had no connection is lost.
//!
//! # Which node
//!
//! Commands on several slots, on the whole keyspace or on none go to the first seed address that
//! answers, so more than one seed should be named. [`Client::node`] asks one node, such as for
//! `INFO`. Commands that change the state of a connection, such as `CLIENT SETNAME`, meet a
//! connection which others share and which may be replaced.

#[cfg(doctest)]
#[doc = include_str!("../../docs/clients.md")]
struct Guide;

#[cfg(doctest)]
#[doc = include_str!("../../docs/services.md")]
struct Services;

mod api;
mod backend;
mod call;
mod client;
mod command;
mod connection;
mod course;
mod ear;
mod error;
#[cfg(test)]
mod exactly_once_tests;
mod fields;
mod finite;
mod line;
mod map;
mod node;
mod options;
mod parcel;
mod pipeline;
mod pulse;
#[cfg(feature = "redis")]
mod redis;
mod routes;
mod scan;
mod service;
mod sessions;
#[cfg(test)]
mod silence_tests;
mod spread;
mod subscription;
mod suspects;
#[cfg(test)]
mod testing;
mod transaction;
mod url;
mod value;
mod verdict;
mod word;

pub use backend::{Backend, Host, Keyspace, Life, Wire};
pub use client::Client;
pub use command::{Arg, Args, Command, Pair, Pairs, Words};
pub use dht_proto::{Reply, ReplyError};
pub use error::{Cause, Error, Result};
pub use map::Map;
pub use node::{Node, Request};
pub use options::{Exists, ExpireIf, Expiry, Renewal, ScanOptions, SetOptions, ValueIs};
pub use pipeline::Pipeline;
pub use routes::Routes;
pub use scan::Scan;
pub use service::{Answer, Asked, Provider, Service};
pub use subscription::{Message, Subscription};
pub use transaction::Watch;
pub use url::{Credentials, PORT, Scheme, Target};
pub use value::FromReply;
pub use word::Word;
