//! Writes at full speed: pipelines that are never empty, over as many keys as there are to be.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wait;

/// Writes that are sent at once.
const BATCH: usize = 64;
/// What each is answered.
const OK: &[u8] = b"+OK\r\n";
/// Time for the answers of one batch: more than a node takes to say that it cannot.
const ANSWER: Duration = Duration::from_secs(20);

/// Connections that write, a thread each. They end with this value.
pub struct Load {
    stop: Arc<AtomicBool>,
    batches: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<io::Result<()>>>,
}

impl Load {
    /// Writes values of so many bytes to so many keys, over and over: one connection a node.
    #[must_use]
    pub fn start(nodes: &[SocketAddr], keys: usize, value_bytes: usize) -> Self {
        let (stop, batches) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let writers = nodes.iter().enumerate().map(|(number, node)| {
            let (node, stop, batches) = (*node, Arc::clone(&stop), Arc::clone(&batches));
            thread::spawn(move || {
                let mut connection = TcpStream::connect(node)?;
                connection.set_read_timeout(Some(ANSWER))?;
                let mut next = number * keys / 2;
                while !stop.load(Ordering::Relaxed) {
                    write_batch(&mut connection, next, keys, value_bytes)?;
                    next += BATCH;
                    batches.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        Self {
            writers: writers.collect(),
            stop,
            batches,
        }
    }

    /// How many writes were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        BATCH * self.batches.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes are acknowledged.
    ///
    /// # Panics
    /// When it takes longer than `limit`.
    pub fn await_more(&self, writes: usize, limit: Duration) {
        let wanted = self.acknowledged() + writes;
        wait::until("writes to be acknowledged", limit, || {
            (self.acknowledged() >= wanted).then_some(())
        });
    }

    /// Ends the writing; gives the number of writes.
    ///
    /// # Panics
    /// A write was not acknowledged.
    #[must_use]
    pub fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let acknowledged = self.acknowledged();
        for writer in self.writers {
            let ended = writer.join().expect("no writer panics");
            ended.expect("every write is acknowledged");
        }
        acknowledged
    }
}

fn write_batch(
    connection: &mut TcpStream,
    first: usize,
    keys: usize,
    value_bytes: usize,
) -> io::Result<()> {
    let value = "v".repeat(value_bytes);
    let mut batch = String::new();
    for number in first..first + BATCH {
        let key = format!("load:{}", number % keys);
        let (key_bytes, value_bytes) = (key.len(), value.len());
        batch +=
            &format!("*3\r\n$3\r\nSET\r\n${key_bytes}\r\n{key}\r\n${value_bytes}\r\n{value}\r\n");
    }
    connection.write_all(batch.as_bytes())?;
    let mut answers = vec![0; BATCH * OK.len()];
    connection.read_exact(&mut answers)?;
    if answers.chunks(OK.len()).all(|answer| answer == OK) {
        return Ok(());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&answers).into_owned(),
    ))
}
