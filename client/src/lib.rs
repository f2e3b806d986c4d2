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
//! [`Error::Reply`] mean that nothing has changed, [`Error::Unknown`] that nobody knows. The client
//! itself sends a command again only when it was not executed for certain, or when it only reads; a
//! write is executed once or reported as unknown.
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
//! use dht_client::FromReply;
//!
//! let results = client.pipeline().hset("a", [("f", 1)]).hget("a", "f").dbsize().send().await;
//! for result in results {
//!     println!("{:?}", result?);
//! }
//! # Ok(()) }
//! ```
//!
//! # Which node
//!
//! Commands on several slots, on the whole keyspace or on none go to the first seed address that
//! answers, so more than one seed should be named. [`Client::node`] asks one node, such as for
//! `INFO`. Commands that change the state of a connection, such as `CLIENT SETNAME`, meet a
//! connection which others share and which may be replaced.

mod api;
mod client;
mod command;
mod connection;
mod error;
#[cfg(test)]
mod exactly_once_tests;
mod node;
mod options;
mod pipeline;
mod pulse;
mod routes;
mod sessions;
#[cfg(test)]
mod testing;
mod url;
mod value;
mod verdict;

pub use client::Client;
pub use command::{Arg, Args, Command, Pair, Pairs};
pub use dht_proto::{Reply, ReplyError};
pub use error::{Cause, Error, Result};
pub use node::Node;
pub use options::{Exists, ExpireIf, Expiry, ScanOptions, SetOptions};
pub use pipeline::Pipeline;
pub use routes::Routes;
pub use url::{Credentials, PORT, Target};
pub use value::FromReply;
