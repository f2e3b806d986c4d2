//! A minimal RESP client: one command, one reply. Reads every type of RESP2 and RESP3.

use std::io;

use bytes::{Bytes, BytesMut};
use dht_proto::{Reply, ReplyError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection.
pub struct RespClient {
    stream: TcpStream,
    input: BytesMut,
}

impl RespClient {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// The connection is refused.
    pub async fn connect(address: &str) -> io::Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(address).await?,
            input: BytesMut::new(),
        })
    }

    /// Sends a command and gives its reply.
    ///
    /// # Errors
    /// The connection breaks, or what comes is not RESP.
    pub async fn call(&mut self, argv: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", argv.len()).into_bytes();
        for arg in argv {
            let arg = arg.as_ref();
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&request).await?;
        loop {
            let mut cursor = Cursor { input: &self.input };
            if let Some(reply) = cursor.reply()? {
                let taken = self.input.len() - cursor.input.len();
                let _ = self.input.split_to(taken);
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// What is left of the input while a reply is read from it.
struct Cursor<'a> {
    input: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The next reply, or `None` while it is incomplete.
    fn reply(&mut self) -> io::Result<Option<Reply>> {
        let Some(line) = self.line() else {
            return Ok(None);
        };
        let Some((&kind, rest)) = line.split_first() else {
            return Err(malformed(line));
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        Ok(Some(match kind {
            b'+' if rest == b"OK" => Reply::Ok,
            b'+' => Reply::Status(text().into()),
            b'-' => Reply::Error(ReplyError::Received(text())),
            b':' => Reply::Int(number(rest)?),
            b'_' => Reply::Nil,
            b'#' => Reply::Bool(rest == b"t"),
            b',' => Reply::Double(text().parse().map_err(|_| malformed(line))?),
            b'$' | b'*' if rest == b"-1" => Reply::Nil,
            b'$' => return Ok(self.bytes(number(rest)?).map(Reply::Bulk)),
            // A verbatim string starts with its format: `txt:`.
            b'=' => {
                return Ok(self
                    .bytes(number(rest)?)
                    .map(|text| Reply::Text(text.slice(4..))));
            }
            b'*' => return Ok(self.replies(number(rest)?)?.map(Reply::Array)),
            b'~' => return Ok(self.replies(number(rest)?)?.map(Reply::Set)),
            b'%' => {
                let replies = self.replies(2 * number::<usize>(rest)?)?;
                let pairs = |replies: Vec<Reply>| {
                    let (pairs, _) = replies.as_chunks();
                    pairs
                        .iter()
                        .cloned()
                        .map(|[name, value]| (name, value))
                        .collect()
                };
                return Ok(replies.map(pairs).map(Reply::Map));
            }
            _ => return Err(malformed(line)),
        }))
    }

    fn replies(&mut self, count: usize) -> io::Result<Option<Vec<Reply>>> {
        let mut replies = Vec::new();
        for _ in 0..count {
            let Some(reply) = self.reply()? else {
                return Ok(None);
            };
            replies.push(reply);
        }
        Ok(Some(replies))
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.input.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &self.input[..end];
        self.input = &self.input[end + 2..];
        Some(line)
    }

    fn bytes(&mut self, length: usize) -> Option<Bytes> {
        let bytes = self.input.get(..length)?;
        self.input = self.input.get(length + 2..)?;
        Some(Bytes::copy_from_slice(bytes))
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> io::Result<T> {
    let parsed = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| malformed(text))
}

fn malformed(line: &[u8]) -> io::Error {
    io::Error::other(format!("not RESP: {}", String::from_utf8_lossy(line)))
}
