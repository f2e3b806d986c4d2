//! The door of the program that the node is a part of: for a client in the same process, without a
//! socket and without a password.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use dht_client::{Host, Wire};
use dht_proto::Reply;

use super::Shell;
use super::connection::Connection;
use super::listener::{Registered, session};
use super::pipe::pipe;
use super::stream::Stream;
use crate::core::client::{Door, Protocol};
use crate::core::inside;
use crate::core::random::Random;

/// What such a connection has in the place of addresses.
const ADDRESS: &str = "inside:0";

/// The node, as a client inside of the process reaches it.
pub struct Inside {
    /// It does not keep alive what has ended.
    shell: Weak<Shell>,
    /// How many commands were tried at once: their seeds differ.
    seeds: AtomicU64,
}

impl Inside {
    /// The door of a node.
    #[must_use]
    pub fn new(shell: &Arc<Shell>, seed: u64) -> Self {
        Self {
            shell: Arc::downgrade(shell),
            seeds: AtomicU64::new(seed),
        }
    }

    /// The node, unless it ends.
    fn shell(&self) -> Option<Arc<Shell>> {
        let shell = self.shell.upgrade()?;
        (!shell.shutdown.is_cancelled()).then_some(shell)
    }
}

impl Host for Inside {
    fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let ended = || io::Error::new(io::ErrorKind::NotConnected, "the node has ended");
        let shell = self.shell().ok_or_else(ended)?;
        let (near, far) = pipe();
        let addresses = (ADDRESS.to_owned(), ADDRESS.to_owned());
        let mut session = session(&shell, addresses, true, (Door::Forward, Protocol::Native))?;
        session.client.authenticated = true;
        let serving = shell.serving.clone();
        serving.spawn(async move {
            let (registered, _) = Registered::new(&shell.node, &session.client.facts);
            let stream = Stream::Inside(near);
            Connection::new(Arc::clone(&shell), stream, session, None)
                .run()
                .await;
            drop(registered);
        });
        Ok(Box::new(far))
    }

    fn at_once(&self, argv: &[&[u8]]) -> Option<Reply> {
        let shell = self.shell()?;
        let seed = Random::new(self.seeds.fetch_add(1, Relaxed)).next();
        let reply = inside::at_once(&shell.node, shell.clock.now(), seed, argv)?;
        shell.broadcast.announce();
        Some(reply)
    }
}
