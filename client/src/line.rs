//! A connection that nobody shares, in frames, to whichever node can be reached: for those to whom
//! nodes say something of themselves. Knows neither routes nor what is said.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use dht_proto::rpc::{self, Meta};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::connection::{self, FrameReader, Frames, Writer};
use crate::error::{Cause, Error, Result};
use crate::url::{Scheme, Target};

/// Silence after which the node is asked for a sign of life, and after as much again is given up.
pub const SILENCE: Duration = Duration::from_secs(1);
/// The id of questions for a sign of life; other requests count from 1.
const SIGN: u64 = 0;

/// The nodes by which a cluster is found, each tried in its turn.
pub struct Seeds {
    frames: Frames,
    target: Target,
    /// The one that is connected, or tried first, by index.
    next: usize,
}

impl Seeds {
    pub const fn new(frames: Frames, target: Target) -> Self {
        Self {
            frames,
            target,
            next: 0,
        }
    }

    /// The first seed with which a connection can be begun.
    ///
    /// # Errors
    /// There is none: what one of them has refused, or else why the last cannot be reached.
    pub async fn connect<T, F>(&mut self, begin: impl Fn(Line) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        if self.target.scheme != Scheme::Dht {
            // Nor may anybody else be told the password in the clear.
            let why = "this goes over frames only: connect to a node of dht, by dht://";
            return Err(Error::Address(why.to_owned()));
        }
        let mut found = Error::Address("there is no address".to_owned());
        for _ in 0..self.target.seeds.len() {
            let begun = match self.open().await {
                Ok(line) => begin(line).await,
                Err(error) => Err(error),
            };
            match begun {
                Ok(begun) => return Ok(begun),
                Err(error) if !matches!(found, Error::Reply(_)) => found = error,
                Err(_) => (),
            }
            self.pass();
        }
        Err(found)
    }

    /// Goes on to the next seed.
    pub fn pass(&mut self) {
        self.next = (self.next + 1) % self.target.seeds.len().max(1);
    }

    async fn open(&self) -> Result<Line> {
        let address = &self.target.seeds[self.next];
        let (frames, writer) = connection::open(address, &self.frames).await?;
        Ok(Line {
            address: address.clone(),
            frames,
            writer,
            out: BytesMut::new(),
            last_id: SIGN,
            is_asked: false,
        })
    }
}

/// An open connection.
pub struct Line {
    address: String,
    frames: FrameReader,
    writer: Writer,
    /// Encoded, and not written yet. It is written while frames are waited for, since a node may
    /// read nothing before what it has said was read.
    pub out: BytesMut,
    last_id: u64,
    /// The node was asked for a sign of life.
    is_asked: bool,
}

impl Line {
    /// Has a command sent; gives its id.
    pub fn request(&mut self, words: &[impl AsRef<[u8]>]) -> u64 {
        self.last_id += 1;
        rpc::encode_request(self.last_id, words, &Meta::default(), &mut self.out);
        self.last_id
    }

    /// Waits for a frame, and writes meanwhile. Nothing is lost when it is dropped and called
    /// again.
    ///
    /// # Errors
    /// The connection is broken, or the node does not answer.
    pub async fn hear(&mut self) -> io::Result<BytesMut> {
        loop {
            tokio::select! {
                frame = self.frames.next() => {
                    self.is_asked = false;
                    return frame.ok_or(io::ErrorKind::UnexpectedEof)?;
                }
                written = self.writer.write_buf(&mut self.out), if !self.out.is_empty() => {
                    written?;
                }
                () = sleep(SILENCE) => {
                    if self.is_asked {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    self.is_asked = true;
                    rpc::encode_request(SIGN, &["PING"], &Meta::default(), &mut self.out);
                }
            }
        }
    }

    /// What is said of it when it is broken.
    pub fn broken(&self, error: &io::Error) -> Cause {
        Cause::Broken {
            address: self.address.clone(),
            why: error.to_string(),
        }
    }
}
