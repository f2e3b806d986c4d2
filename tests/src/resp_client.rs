//! A minimal RESP client: one command, one reply.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use dht_proto::Reply;
use dht_proto::resp::{ReplyReader, encode_request};
use dht_proto::spec::{self, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection.
pub struct RespClient {
    stream: TcpStream,
    reader: ReplyReader,
    input: BytesMut,
}

impl RespClient {
    /// Connects to a server.
    ///
    /// # Errors
    /// The connection is refused.
    pub async fn connect(server: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(server).await?,
            reader: ReplyReader::default(),
            input: BytesMut::new(),
        })
    }

    /// Sends a command and gives its reply; messages that come before it are skipped.
    ///
    /// # Errors
    /// The connection breaks, or what comes is not RESP.
    pub async fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        let mut request = BytesMut::new();
        encode_request(argv, &mut request);
        self.stream.write_all(&request).await?;
        let words: Vec<&[u8]> = argv.iter().map(AsRef::as_ref).collect();
        let listens = spec::look_up(&words).is_ok_and(|id| id.spec().kind == Kind::LISTEN);
        loop {
            match self.next().await? {
                Reply::Pushes(message) if !(listens && is_answer(&message)) => (),
                reply => return Ok(reply),
            }
        }
    }

    /// Sends commands in one piece and gives their replies, in order.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn pipeline(&mut self, commands: &[Vec<impl AsRef<[u8]>>]) -> io::Result<Vec<Reply>> {
        let mut requests = BytesMut::new();
        for argv in commands {
            encode_request(argv, &mut requests);
        }
        self.stream.write_all(&requests).await?;
        let mut replies = Vec::new();
        for _ in commands {
            replies.push(self.next().await?);
        }
        Ok(replies)
    }

    /// Waits for whatever comes next, be it an answer or a message.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn next(&mut self) -> io::Result<Reply> {
        loop {
            let reply = self.reader.read_any(&mut self.input);
            if let Some(reply) = reply.map_err(|malformed| io::Error::other(malformed.0))? {
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Whether a command about messages is answered by what was pushed.
fn is_answer(pushed: &[Vec<Reply>]) -> bool {
    let kind = pushed.first().and_then(|message| message.first());
    matches!(kind, Some(Reply::Bulk(kind)) if kind.ends_with(b"subscribe"))
}
