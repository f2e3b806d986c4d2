//! A connection inside of the process: bytes that one end writes are read at the other, and no
//! socket lies between. It does not know what is said.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use dht_proto::limits::PIPE_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The two ends of a new connection.
pub fn pipe() -> (End, End) {
    let (there, back) = (Arc::<Half>::default(), Arc::<Half>::default());
    let near = End {
        from: Arc::clone(&back),
        to: Arc::clone(&there),
    };
    let far = End {
        from: there,
        to: back,
    };
    (near, far)
}

/// One end. The other is told when this is dropped.
pub struct End {
    from: Arc<Half>,
    to: Arc<Half>,
}

/// One direction.
#[derive(Default)]
struct Half(Mutex<Bytes>);

#[derive(Default)]
struct Bytes {
    waiting: BytesMut,
    /// No more come, and nobody reads what does.
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl End {
    /// Whether there is something to read, or nothing more will come.
    pub fn poll_read_ready(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = self.from.lock();
        if bytes.waiting.is_empty() && !bytes.is_closed {
            remember(&mut bytes.reader, cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether there is room for something, or writing would fail.
    pub fn poll_write_ready(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = self.to.lock();
        if bytes.waiting.len() >= PIPE_BYTES && !bytes.is_closed {
            remember(&mut bytes.writer, cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads all that is there; 0 bytes at the end.
    ///
    /// # Errors
    /// Nothing is there.
    pub fn try_read_buf(&self, into: &mut BytesMut) -> io::Result<usize> {
        let mut bytes = self.from.lock();
        if bytes.waiting.is_empty() && !bytes.is_closed {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // An idle connection costs no memory.
        let taken = mem::take(&mut bytes.waiting);
        into.extend_from_slice(&taken);
        wake(&mut bytes.writer);
        Ok(taken.len())
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// There is none, or nobody reads.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut bytes = self.to.lock();
        if bytes.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = bytes.waiting.len();
        if before >= PIPE_BYTES {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for slice in slices {
            let room = PIPE_BYTES - bytes.waiting.len();
            let taken = &slice[..slice.len().min(room)];
            bytes.waiting.extend_from_slice(taken);
        }
        wake(&mut bytes.reader);
        Ok(bytes.waiting.len() - before)
    }

    fn close(&self) {
        self.to.close();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.to.close();
        self.from.close();
    }
}

impl Half {
    fn lock(&self) -> MutexGuard<'_, Bytes> {
        // Whoever has panicked has left whole bytes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut bytes = self.lock();
        bytes.is_closed = true;
        wake(&mut bytes.reader);
        wake(&mut bytes.writer);
    }
}

fn remember(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_read_ready(cx))?;
        let mut bytes = self.from.lock();
        let count = bytes.waiting.len().min(into.remaining());
        into.put_slice(&bytes.waiting[..count]);
        bytes.waiting.advance(count);
        if bytes.waiting.is_empty() {
            // An idle connection costs no memory.
            bytes.waiting = BytesMut::new();
        }
        wake(&mut bytes.writer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_ready(cx))?;
        Poll::Ready(self.try_write_vectored(&[IoSlice::new(bytes)]))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_written_at_one_end_is_read_at_the_other() {
        let (mut near, mut far) = pipe();
        near.write_all(b"there").await.unwrap();
        far.write_all(b"back").await.unwrap();
        let mut read = [0; 5];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"there");
        near.read_exact(&mut read[..4]).await.unwrap();
        assert_eq!(&read[..4], b"back");
    }

    #[tokio::test]
    async fn a_writer_waits_for_a_slow_reader() {
        let (mut near, mut far) = pipe();
        let bytes: Vec<u8> = (0..3 * PIPE_BYTES).map(|n| n as u8).collect();
        let slices = [IoSlice::new(&bytes)];
        assert_eq!(near.try_write_vectored(&slices).unwrap(), PIPE_BYTES);
        let full = near.try_write_vectored(&slices).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let rest = bytes[PIPE_BYTES..].to_vec();
        let writing = tokio::spawn(async move { near.write_all(&rest).await });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, bytes);
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_end_of_one_end_is_noticed_at_the_other() {
        let (mut near, far) = pipe();
        let mut byte = [0];
        let waiting = tokio::spawn(async move { near.read(&mut byte).await.map(|n| (n, near)) });
        drop(far);
        let (count, mut near) = waiting.await.unwrap().unwrap();
        assert_eq!(count, 0);
        let error = near.write(b"x").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
