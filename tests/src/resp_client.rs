//! A minimal RESP client: one command, one reply.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use dht_proto::Reply;
use dht_proto::resp::{ReplyReader, encode_request};
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

    /// Sends a command and gives its reply.
    ///
    /// # Errors
    /// The connection breaks, or what comes is not RESP.
    pub async fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        let mut request = BytesMut::new();
        encode_request(argv, &mut request);
        self.stream.write_all(&request).await?;
        loop {
            let reply = self.reader.read(&mut self.input);
            if let Some(reply) = reply.map_err(|malformed| io::Error::other(malformed.0))? {
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
