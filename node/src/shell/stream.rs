//! What a connection's bytes go over: a socket, or nothing but memory.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::pipe::End;

/// A connection's way to its client.
pub enum Stream {
    /// Over the network.
    Tcp(TcpStream),
    /// In this process.
    Inside(End),
}

impl Stream {
    /// Whether there is something to read.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Inside(end) => end.poll_read_ready(cx),
        }
    }

    /// Reads what is there, with [`poll_read_ready`](Self::poll_read_ready) before it.
    ///
    /// # Errors
    /// Nothing is there, or the connection is broken.
    pub fn try_read_buf(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(into),
            Self::Inside(end) => end.try_read_buf(into),
        }
    }

    /// Whether there is room for output.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Inside(end) => end.poll_write_ready(cx),
        }
    }

    /// Writes what is taken at once of one piece.
    ///
    /// # Errors
    /// Nothing is, or the connection is broken.
    pub fn try_write(&self, piece: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(piece),
            Self::Inside(end) => end.try_write_vectored(&[IoSlice::new(piece)]),
        }
    }

    /// Writes what is taken at once.
    ///
    /// # Errors
    /// Nothing is, or the connection is broken.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            Self::Inside(end) => end.try_write_vectored(slices),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Inside(end) => Pin::new(end).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Inside(end) => Pin::new(end).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Inside(end) => Pin::new(end).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Inside(end) => Pin::new(end).poll_shutdown(cx),
        }
    }
}
