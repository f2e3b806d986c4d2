//! A node made of a function, for tests of what a client does when nodes answer, redirect, or
//! vanish.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use dht_proto::frame::{self, PREFACE_BYTES};
use dht_proto::rpc::{self, Message};
use dht_proto::{Reply, ReplyError, limits};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::FramedRead;

/// What the node does with a request.
pub enum Act {
    /// Answers it.
    Answer(Reply),
    /// Closes the connection.
    Hang,
    /// Says that it ends, and closes the connection.
    Leave,
    /// Nothing.
    Ignore,
}

/// A node on a port of its own. It lives as long as the test's runtime.
pub struct FakeNode {
    /// `host:port`.
    pub address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl FakeNode {
    /// A node that does with each command, its words joined by blanks, what the function says.
    pub async fn start(act: impl Fn(&str) -> Act + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::default());
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, act.clone(), Arc::clone(&log)));
            }
        });
        Self { address, seen }
    }

    /// The commands that came, in their order.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// An error answer.
pub fn refuse(text: &str) -> Act {
    Act::Answer(Reply::Error(ReplyError::Received(text.to_owned())))
}

async fn serve(mut stream: TcpStream, act: impl Fn(&str) -> Act, seen: Arc<Mutex<Vec<String>>>) {
    let mut preface = [0; PREFACE_BYTES];
    stream.read_exact(&mut preface).await.unwrap();
    assert_eq!(frame::read_preface(preface), Ok(frame::Role::Client));
    let (reader, mut writer) = stream.split();
    let mut frames = FramedRead::new(reader, frame::codec(limits::FRAME_BYTES));
    while let Some(Ok(frame)) = frames.next().await {
        let Ok(Message::Request(request)) = rpc::decode(&frame) else {
            panic!("a request was expected");
        };
        let words = request
            .argv
            .iter()
            .map(|word| String::from_utf8_lossy(word));
        let command = words.collect::<Vec<_>>().join(" ");
        seen.lock().unwrap().push(command.clone());
        let mut out = BytesMut::new();
        match act(&command) {
            Act::Answer(reply) => rpc::encode_response(request.id, &reply, &mut out),
            Act::Hang => return,
            Act::Leave => rpc::encode_notification(&[rpc::CLOSING], &mut out),
            Act::Ignore => {}
        }
        writer.write_all(&out).await.unwrap();
    }
}
