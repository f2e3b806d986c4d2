//! Everything that waits: sockets, timers, the system's clock. It does what the core returns and
//! decides nothing.

mod buffers;
mod clock;
mod connection;
mod housekeeping;
mod link;
pub mod listener;
pub mod peers;
pub mod replication;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::clock::Clock;
use self::peers::Peers;
use self::replication::Replication;
use crate::core::node::Node;

/// What the tasks of a node share.
pub struct Shell {
    /// The core.
    pub node: Arc<Node>,
    /// The time.
    pub clock: Arc<Clock>,
    /// The links to other nodes.
    pub peers: Peers,
    /// The node's part in the cluster; nobody listens where a node is alone.
    pub replication: Replication,
    /// The id of the next connection.
    pub next_client: AtomicU64,
    /// The tasks of listeners and of accepted connections.
    pub serving: TaskTracker,
    /// Ends connections, which finish what they have begun.
    pub shutdown: CancellationToken,
    /// Ends everything else, once they have; implies the shutdown.
    pub end: CancellationToken,
}

impl Shell {
    /// Starts what runs besides connections and replication.
    pub fn start(self: &Arc<Self>) {
        self.spawn(housekeeping::run(Arc::clone(self)));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        tokio::spawn(async move { end.run_until_cancelled(task).await });
    }
}

/// Does work that may take long. The other connections of this thread are served by another one
/// meanwhile, unless the runtime has one only.
pub fn aside(work: &mut dyn FnMut()) {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
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
