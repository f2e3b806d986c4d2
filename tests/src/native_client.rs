//! A minimal native client: one command, one reply.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use dht_proto::Reply;
use dht_proto::frame::{Role, codec, preface};
use dht_proto::limits::FRAME_BYTES;
use dht_proto::rpc::{Message, Meta, decode, encode_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

/// A connection.
pub struct NativeClient {
    stream: TcpStream,
    frames: LengthDelimitedCodec,
    input: BytesMut,
    last_id: u64,
}

impl NativeClient {
    /// Connects to a node.
    ///
    /// # Errors
    /// The connection is refused.
    pub async fn connect(node: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(node).await?;
        stream.write_all(&preface(Role::Client)).await?;
        Ok(Self {
            stream,
            frames: codec(FRAME_BYTES),
            input: BytesMut::new(),
            last_id: 0,
        })
    }

    /// Sends a command and gives its reply.
    ///
    /// # Errors
    /// The connection breaks, or what comes is not the response.
    pub async fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        self.call_with(argv, &Meta::default()).await
    }

    /// Sends a command, with what is to be said about it, and gives its reply.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_with(&mut self, argv: &[impl AsRef<[u8]>], meta: &Meta) -> io::Result<Reply> {
        self.last_id += 1;
        let mut request = BytesMut::new();
        encode_request(self.last_id, argv, meta, &mut request);
        self.stream.write_all(&request).await?;
        let id = self.last_id;
        self.next(|message| match message {
            Message::Response { id: to, reply } if to == id => Ok(told_apart(reply)),
            other => Err(other),
        })
        .await
    }

    /// Sends commands in one piece and gives their replies, in the order of the commands.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn pipeline(&mut self, commands: &[Vec<impl AsRef<[u8]>>]) -> io::Result<Vec<Reply>> {
        let mut requests = BytesMut::new();
        let first = self.last_id + 1;
        for argv in commands {
            self.last_id += 1;
            encode_request(self.last_id, argv, &Meta::default(), &mut requests);
        }
        self.stream.write_all(&requests).await?;
        let mut replies = BTreeMap::new();
        for _ in commands {
            let (id, reply) = self
                .next(|message| match message {
                    Message::Response { id, reply } => Ok((id, told_apart(reply))),
                    other => Err(other),
                })
                .await?;
            replies.insert(id, reply);
        }
        Ok((first..=self.last_id)
            .filter_map(|id| replies.remove(&id))
            .collect())
    }

    /// Waits for a notification and gives its words.
    ///
    /// # Errors
    /// The connection breaks, or something else comes.
    pub async fn notification(&mut self) -> io::Result<Vec<Vec<u8>>> {
        self.next(|message| match message {
            Message::Notification(words) => Ok(words.into_iter().map(Cow::into_owned).collect()),
            other => Err(other),
        })
        .await
    }

    /// Waits for the next message, which has to be the right one.
    async fn next<T>(
        &mut self,
        take: impl FnOnce(Message<'_>) -> Result<T, Message<'_>>,
    ) -> io::Result<T> {
        loop {
            if let Some(frame) = self.frames.decode(&mut self.input)? {
                let message = decode(&frame).map_err(|malformed| io::Error::other(malformed.0))?;
                return take(message)
                    .map_err(|other| io::Error::other(format!("not expected: {other:?}")));
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// MessagePack has one type for statuses and texts: what has lines, or nothing, is a text.
fn told_apart(reply: Reply) -> Reply {
    match reply {
        Reply::Status(text) if text.is_empty() || text.contains('\n') => {
            Reply::Text(text.into_owned().into())
        }
        reply => reply,
    }
}
