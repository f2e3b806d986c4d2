//! Everything that waits: sockets, timers, the system's clock. It does what the core returns and
//! decides nothing.

#[cfg(feature = "backend")]
pub mod backend;
pub mod broadcast;
mod buffers;
pub mod burdens;
mod clock;
mod connection;
pub mod disk;
mod housekeeping;
pub mod inside;
mod link;
pub mod listener;
mod mailbox;
pub mod peers;
mod pipe;
pub mod replication;
pub mod services;
mod stream;
pub mod turns;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

use dashmap::DashMap;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::broadcast::Broadcast;
use self::burdens::Burdens;
pub use self::clock::{Clock, stopwatch};
use self::peers::Peers;
use self::replication::Replication;
use self::services::Services;
use crate::core::client::Order;
use crate::core::node::Node;

/// What the tasks of a node share.
pub struct Shell {
    /// The core.
    pub node: Arc<Node>,
    /// The time.
    pub clock: Arc<Clock>,
    /// The links to other nodes.
    pub peers: Peers,
    /// To whom messages are told.
    pub broadcast: Broadcast,
    /// The services that connections offer each other.
    pub services: Arc<Services>,
    /// The node's part in the cluster; nobody listens where a node is alone.
    pub replication: Replication,
    /// What is kept for clients.
    pub burdens: Arc<Burdens>,
    /// The id of the next connection.
    pub next_client: AtomicU64,
    /// Ends a connection that is open, by its id.
    pub lines: DashMap<u64, CancellationToken>,
    /// Tells connections that wait while clients are paused that they need not any more.
    pub resumed: Notify,
    /// How a client has asked for the end of the node, once one has.
    pub asked: watch::Sender<Option<Asked>>,
    /// The tasks of listeners and of accepted connections.
    pub serving: TaskTracker,
    /// Ends connections, which finish what they have begun.
    pub shutdown: CancellationToken,
    /// Ends everything else, once they have; implies the shutdown.
    pub end: CancellationToken,
}

/// How a client asks for the end of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As a signal does: leaderships are handed over first.
    InOrder,
    /// Without waiting for others.
    AtOnce,
}

impl Shell {
    /// Starts what runs besides connections and replication.
    pub fn start(self: &Arc<Self>) {
        self.spawn(housekeeping::run(Arc::clone(self)));
    }

    /// Does what a command has ordered.
    pub fn obey(&self, order: Order) {
        match order {
            Order::HangUp(id) => {
                if let Some(line) = self.lines.get(&id) {
                    line.cancel();
                }
            }
            Order::Resume => self.resumed.notify_waiters(),
            Order::ShutDown { at_once: true } => self.ask(Asked::AtOnce),
            Order::ShutDown { at_once: false } => self.ask(Asked::InOrder),
        }
    }

    fn ask(&self, how: Asked) {
        self.asked.send_replace(Some(how));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        tokio::spawn(async move { end.run_until_cancelled(task).await });
    }
}

/// Held by a thread without which the node is none: says so when the thread panics. What would go
/// on without it could answer nothing, and would look alive.
#[derive(Clone, Debug, Default)]
pub struct Alarm(CancellationToken);

impl Alarm {
    /// Waits for a panic of a thread that holds this.
    pub async fn rung(&self) {
        self.0.cancelled().await;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.cancel();
        }
    }
}

/// Random bytes of the system.
///
/// # Errors
/// The system has none.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The URL without what only its owner may know.
#[must_use]
pub fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, hosts))) => format!("{scheme}://{hosts}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_panic_rings() {
        let alarm = Alarm::default();
        for panics in [false, true] {
            let held = alarm.clone();
            let thread = thread::spawn(move || {
                let _alarm = held;
                assert!(!panics, "this is how the test has it panic");
            });
            assert_eq!(thread.join().is_err(), panics);
            assert_eq!(alarm.0.is_cancelled(), panics);
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let check = |url: &str, expect: &str| assert_eq!(without_password(url), expect);
        check("redis://h:1", "redis://h:1");
        check("redis-cluster://me:a@b@h:1,g:2", "redis-cluster://h:1,g:2");
    }
}
