//! An open link between two nodes: frames wait, within a bound, until the socket takes them, and at
//! the other end until somebody has room for them. It knows neither the nodes nor what they say.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use dht_proto::{frame, limits};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::codec::Decoder;

/// How long what was sent may go unacknowledged before the link is given up.
const SILENCE: Duration = Duration::from_secs(2);
/// From one question whether an idle node is still there to the next.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Frames up to this length are put together in one write, up to this length; room for a read.
const BATCH_BYTES: usize = 64 * 1024;

/// No waiting for more to send, and an early end when the other node has fallen silent.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE))
}

/// A link that is going to be open: where frames are put in, and where they come out.
pub fn open() -> (Outlet, Frames) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let outlet = Outlet {
        sender,
        waiting: Arc::clone(&waiting),
    };
    (outlet, Frames { receiver, waiting })
}

/// Where frames for a node are put in.
#[derive(Clone)]
pub struct Outlet {
    sender: mpsc::UnboundedSender<Bytes>,
    /// The bytes of the frames that have not been written.
    waiting: Arc<AtomicUsize>,
}

impl Outlet {
    /// Puts a frame behind those that wait; says whether there was room. A frame of any length has
    /// room where none waits.
    pub fn send(&self, frame: Bytes) -> bool {
        self.send_within(frame, limits::PEER_OUTPUT_BYTES)
    }

    /// Likewise, with room for so many bytes only.
    pub fn send_within(&self, frame: Bytes, room: usize) -> bool {
        let length = frame.len();
        if length > limits::PEER_FRAME_BYTES {
            return false;
        }
        let before = self.waiting.fetch_add(length, Relaxed);
        let fits = before == 0 || before + length <= room;
        let taken = fits && self.sender.send(frame).is_ok();
        if !taken {
            self.waiting.fetch_sub(length, Relaxed);
        }
        taken
    }

    /// Whether the two are one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.waiting, &other.waiting)
    }
}

/// The frames that wait for a node.
pub struct Frames {
    receiver: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Frames {
    /// Sends them, in order, until the link breaks; gives the reason.
    pub async fn send_over(mut self, mut stream: TcpStream) -> io::Error {
        let (mut read, mut write) = stream.split();
        let end = tokio::select! {
            end = end_of(&mut read) => end,
            end = self.write_to(&mut write) => end,
        };
        end.err()
            .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    async fn write_to(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut batch = BytesMut::with_capacity(BATCH_BYTES);
        while let Some(frame) = self.receiver.recv().await {
            let mut written = 0;
            let mut next = Some(frame);
            while let Some(frame) = next {
                written += frame.len();
                put_length(&mut batch, frame.len());
                if batch.len() + frame.len() > BATCH_BYTES {
                    to.write_all_buf(&mut batch).await?;
                    to.write_all(&frame).await?;
                    break;
                }
                batch.put_slice(&frame);
                next = self.receiver.try_recv().ok();
            }
            to.write_all_buf(&mut batch).await?;
            self.waiting.fetch_sub(written, Relaxed);
        }
        Ok(())
    }
}

fn put_length(out: &mut BytesMut, length: usize) {
    // Longer frames are not taken.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

/// Waits for the end of what comes from a node to which frames are sent, which is nothing.
async fn end_of(read: &mut ReadHalf<'_>) -> io::Result<()> {
    match read.read(&mut [0]).await? {
        0 => Ok(()),
        _ => Err(io::Error::other("the node speaks where it has to listen")),
    }
}

/// A frame that has arrived. It takes up room until it is dropped.
#[derive(Debug)]
pub struct Frame {
    bytes: BytesMut,
    _room: OwnedSemaphorePermit,
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Takes frames until the link breaks; gives the reason. Reads no more while too much of what has
/// arrived has not been dropped.
pub async fn receive(mut stream: TcpStream, sink: impl Fn(Frame)) -> io::Error {
    let room = Arc::new(Semaphore::new(limits::PEER_INPUT_BYTES));
    let mut codec = frame::codec(limits::PEER_FRAME_BYTES);
    let mut input = BytesMut::new();
    let receive = async {
        loop {
            while let Some(bytes) = codec.decode(&mut input)? {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let room = Arc::clone(&room).acquire_many_owned(length).await;
                let room = room.map_err(io::Error::other)?;
                sink(Frame { bytes, _room: room });
            }
            input.reserve(BATCH_BYTES);
            if stream.read_buf(&mut input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    match receive.await {
        Ok(never) => never,
        Err(error) => error,
    }
}
