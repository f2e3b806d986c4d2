//! A limit on how often each visitor may do something, kept by all instances of a service together.
//!
//! `cargo run -p dht-node --example rate_limiter` starts three nodes in one process, has each of
//! them asked at once on behalf of one visitor, and says how often it was allowed.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use dht_client::Client;
use dht_node::Node;

/// So often a visitor may do it ...
const LIMIT: i64 = 10;
/// ... in so many seconds.
const WINDOW_S: u64 = 60;

/// Whether the visitor may do it now. Every question counts.
async fn is_allowed(table: &Client, visitor: &str, window: u64) -> dht_client::Result<bool> {
    let key = format!("rate:{visitor}:{window}");
    // Both or none: a count that was begun ends with its window.
    let answers = table
        .pipeline()
        .incr(&key)
        .expire(&key, WINDOW_S as i64)
        .exec()
        .await?;
    let count = answers
        .into_iter()
        .next()
        .map(dht_client::FromReply::from_reply);
    let count: i64 = count.unwrap_or(Ok(i64::MAX))?;
    Ok(count <= LIMIT)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut nodes = Vec::new();
    for node in Node::cluster(3)? {
        nodes.push(node.start().await?);
    }
    // The tries of one run are of one window, also when the minute turns meanwhile.
    let window = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / WINDOW_S;
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..100 {
        let table = nodes[number % nodes.len()].client();
        tries.spawn(async move { is_allowed(&table, "Alice", window).await });
    }
    let tried = tries.join_all().await;
    let tried = tried.into_iter().collect::<Result<Vec<bool>, _>>()?;
    let allowed = tried.iter().filter(|is_allowed| **is_allowed).count();
    println!("allowed {allowed} of {}", tried.len());
    for node in nodes {
        node.shutdown().await;
    }
    Ok(())
}
