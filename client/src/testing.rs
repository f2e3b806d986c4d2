//! A node made of a function, for tests of what a client does when nodes answer, redirect, or
//! vanish.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use dht_proto::frame::{self, PREFACE_BYTES};
use dht_proto::rpc::{self, Message, Place, Request};
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
    /// Answers it once it has given so many signs of life, on the same connection.
    Late(usize, Reply),
    /// Neither reads nor answers any more, on no connection, and closes none.
    Freeze,
}

/// A node on a port of its own. It lives as long as the test's runtime.
pub struct FakeNode {
    /// `host:port`.
    pub address: String,
    log: Arc<Mutex<Log>>,
}

/// What has come.
#[derive(Default)]
struct Log {
    connections: usize,
    seen: Vec<(String, Option<Place>)>,
    has_sessions: bool,
    frozen: bool,
}

impl FakeNode {
    /// A node that does with each command, its words joined by blanks, what the function says. It
    /// opens no sessions, and tells nobody that it was asked for them.
    pub async fn start(act: impl Fn(&str) -> Act + Clone + Send + 'static) -> Self {
        Self::launch(act, false).await
    }

    /// One that may open sessions.
    pub async fn with_sessions(act: impl Fn(&str) -> Act + Clone + Send + 'static) -> Self {
        Self::launch(act, true).await
    }

    async fn launch(
        act: impl Fn(&str) -> Act + Clone + Send + 'static,
        has_sessions: bool,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = Arc::new(Mutex::new(Log {
            has_sessions,
            ..Log::default()
        }));
        let shared = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, act.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, log }
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    /// The commands that came, in their order, but for greetings.
    pub fn seen(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.seen
            .iter()
            .map(|(command, _)| command.clone())
            .collect()
    }

    /// The places of those commands that had one.
    pub fn places(&self) -> Vec<(String, Place)> {
        let log = self.log.lock().unwrap();
        let placed = log.seen.iter().cloned();
        placed
            .filter_map(|(command, place)| Some((command, place?)))
            .collect()
    }
}

impl Log {
    /// Takes note of a request, or does what every node does.
    fn take(&mut self, command: &str, request: &Request<'_>) -> Option<Act> {
        if self.frozen {
            return Some(Act::Freeze);
        }
        if request.id == 0 && command == "PING" {
            return Some(Act::Answer(Reply::Status("PONG".into())));
        }
        if !self.has_sessions && command.starts_with("CLUSTER SESSION") {
            return Some(refuse("ERR This node is alone"));
        }
        let place = request.meta.place().unwrap();
        self.seen.push((command.to_owned(), place));
        None
    }
}

/// An error answer.
pub fn refuse(text: &str) -> Act {
    Act::Answer(Reply::Error(ReplyError::Received(text.to_owned())))
}

async fn serve(mut stream: TcpStream, act: impl Fn(&str) -> Act, log: Arc<Mutex<Log>>) {
    let mut preface = [0; PREFACE_BYTES];
    stream.read_exact(&mut preface).await.unwrap();
    assert_eq!(frame::read_preface(preface), Ok(frame::Role::Client));
    let (reader, mut writer) = stream.split();
    let mut frames = FramedRead::new(reader, frame::codec(limits::FRAME_BYTES));
    let mut late: Vec<(u64, usize, Reply)> = Vec::new();
    while let Some(Ok(frame)) = frames.next().await {
        let Ok(Message::Request(request)) = rpc::decode(&frame) else {
            panic!("a request was expected");
        };
        let words = request
            .argv
            .iter()
            .map(|word| String::from_utf8_lossy(word));
        let command = words.collect::<Vec<_>>().join(" ");
        let act = match log.lock().unwrap().take(&command, &request) {
            Some(act) => act,
            None => act(&command),
        };
        let mut out = BytesMut::new();
        match act {
            Act::Answer(reply) => rpc::encode_response(request.id, &reply, false, &mut out),
            Act::Hang => return,
            Act::Leave => rpc::encode_notification(&[rpc::CLOSING], &mut out),
            Act::Ignore => {}
            Act::Late(signs, reply) => late.push((request.id, signs, reply)),
            Act::Freeze => {
                log.lock().unwrap().frozen = true;
                return std::future::pending().await;
            }
        }
        if request.id == 0 {
            for (id, signs, reply) in &mut late {
                *signs = signs.saturating_sub(1);
                if *signs == 0 {
                    rpc::encode_response(*id, reply, false, &mut out);
                }
            }
            late.retain(|(_, signs, _)| *signs > 0);
        }
        writer.write_all(&out).await.unwrap();
    }
}
