//! One accepted connection: waits for its socket and for shards, hands what arrived to its
//! session, and does what the session returns. It knows neither requests nor replies.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use dht_proto::{ReplyError, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::io::poll_read_buf;
use tracing::debug;

use super::Shell;
use super::buffers::{self, Input};
use super::replication::{Event as Replicated, Settled};
use crate::core::client::Protocol;
use crate::core::replication::worker::Request;
use crate::core::session::{Effects, Progress, Session, Ticket};

/// How long a connection that is closed from here may take to read what was written.
const LINGER: Duration = Duration::from_secs(1);

/// A connection whose protocol is known.
pub struct Connection {
    shell: Arc<Shell>,
    stream: TcpStream,
    session: Session,
    input: Input,
    /// What the socket has not taken.
    output: BytesMut,
    intake: Intake,
    /// Answers of shards; from the first question on.
    answers: Option<mpsc::UnboundedReceiver<Settled>>,
    /// Until the first request: when the client has to have sent it.
    patience: Option<Pin<Box<Sleep>>>,
}

/// What becomes of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    /// It is read.
    Open,
    /// It waits until output has been written.
    AfterOutput,
    /// It waits until a shard has answered.
    AfterAnswer,
    /// There is no more; what was begun is brought to its end.
    Over,
    /// Of no interest: the connection closes as soon as the output is written.
    Closing,
}

/// Everything that can happen to a connection.
enum Event {
    /// So many bytes have arrived; 0 at the end.
    Input(usize),
    /// The socket takes output.
    Writable,
    /// Shards have answered.
    Settled(Settled),
    /// No complete request has come in time.
    OutOfPatience,
    /// The connection is broken.
    Broken(io::Error),
}

impl Connection {
    /// A connection that has to send its first request until `deadline`, if there is one.
    pub fn new(
        shell: Arc<Shell>,
        stream: TcpStream,
        session: Session,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            shell,
            stream,
            session,
            input: Input::default(),
            output: BytesMut::new(),
            intake: Intake::Open,
            answers: None,
            patience: deadline.map(|deadline| Box::pin(sleep_until(deadline))),
        }
    }

    /// Serves until either side has had enough.
    pub async fn run(mut self) {
        let shutdown = self.shell.shutdown.child_token();
        tokio::select! {
            biased;
            () = self.serve() => (),
            () = shutdown.cancelled() => {
                self.intake = Intake::Over;
                self.serve().await;
                self.take_leave().await;
            }
        }
        if self.intake == Intake::Closing {
            linger(&mut self.stream).await;
        }
    }

    /// Tells a client that knows such words that the rest of its requests was not executed.
    async fn take_leave(&mut self) {
        if self.intake == Intake::Over && self.session.say_farewell(&mut self.output) {
            self.serve().await;
            self.intake = Intake::Closing;
        }
    }

    /// Handles events until the connection can be closed. Nothing is lost when it is dropped and
    /// called again.
    async fn serve(&mut self) {
        while !self.is_done() {
            let event = poll_fn(|cx| self.poll_event(cx)).await;
            self.handle(event);
            self.input.rest();
        }
    }

    fn is_done(&self) -> bool {
        self.output.is_empty()
            && match self.intake {
                Intake::Open | Intake::AfterOutput | Intake::AfterAnswer => false,
                Intake::Over => self.session.in_flight() == 0,
                Intake::Closing => true,
            }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if (!self.output.is_empty() || self.intake == Intake::AfterOutput)
            && let Poll::Ready(result) = self.stream.poll_write_ready(cx)
        {
            return Poll::Ready(result.map_or_else(Event::Broken, |()| Event::Writable));
        }
        if let Some(answers) = &mut self.answers
            && let Poll::Ready(Some(settled)) = answers.poll_recv(cx)
        {
            return Poll::Ready(Event::Settled(settled));
        }
        if self.intake == Intake::Open
            && let Poll::Ready(result) = self.poll_read(cx)
        {
            return Poll::Ready(result.map_or_else(Event::Broken, Event::Input));
        }
        if let Some(patience) = &mut self.patience
            && patience.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Event::OutOfPatience);
        }
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_read_ready(cx))?;
        self.input.make_room();
        let result = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input.bytes);
        if result.is_pending() {
            self.input.rest();
        }
        result
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Input(0) => self.intake = Intake::Over,
            Event::Input(bytes) => {
                self.shell
                    .node
                    .stats
                    .input_bytes
                    .fetch_add(bytes as u64, Relaxed);
                self.receive();
            }
            Event::Writable => {
                self.flush();
                if self.output.is_empty() {
                    self.output = BytesMut::new();
                }
                self.resume();
            }
            Event::Settled(settled) => {
                self.settle(settled);
                self.resume();
            }
            Event::OutOfPatience => self.give_up(),
            Event::Broken(error) => self.break_off(&error),
        }
    }

    /// Hands the input to the session.
    fn receive(&mut self) {
        let now = self.shell.clock.now();
        buffers::with_effects(|effects| {
            let progress =
                self.session
                    .receive(&self.shell.node, now, &mut self.input.bytes, effects);
            self.intake = match progress {
                Progress::Input => Intake::Open,
                Progress::Blocked if effects.output.is_empty() => Intake::AfterAnswer,
                Progress::Blocked => Intake::AfterOutput,
            };
            self.carry_out(effects);
        });
    }

    /// Goes on with input that had to wait.
    fn resume(&mut self) {
        let waits = matches!(self.intake, Intake::AfterOutput | Intake::AfterAnswer);
        if waits && self.output.is_empty() {
            self.receive();
        }
    }

    /// Hands the session what has been settled since it was last asked.
    fn settle(&mut self, first: Settled) {
        buffers::with_effects(|effects| {
            let mut next = Some(first);
            while let Some(settled) = next {
                for (ticket, reply) in settled {
                    self.session.settle(ticket, reply, effects);
                }
                next = self
                    .answers
                    .as_mut()
                    .and_then(|answers| answers.try_recv().ok());
            }
            self.carry_out(effects);
        });
    }

    fn carry_out(&mut self, effects: &mut Effects) {
        if !effects.output.is_empty() || !effects.asked.is_empty() {
            self.patience = None;
        }
        if !effects.asked.is_empty() {
            self.ask(std::mem::take(&mut effects.asked));
        }
        if effects.close {
            self.intake = Intake::Closing;
        }
        self.send(&mut effects.output);
    }

    fn ask(&mut self, asked: Vec<Request<Ticket>>) {
        let id = self.session.client.facts.id;
        if self.answers.is_none() {
            let (sender, answers) = mpsc::unbounded_channel();
            self.shell.replication.send(Replicated::Connect(id, sender));
            self.answers = Some(answers);
        }
        self.shell.replication.send(Replicated::Ask(id, asked));
    }

    /// Writes output, or keeps what the socket does not take. Leaves a buffer that may be used
    /// again.
    fn send(&mut self, output: &mut BytesMut) {
        if self.output.is_empty() {
            let large = output.len() > buffers::SHARED_BYTES;
            mem::swap(&mut self.output, output);
            self.flush();
            if self.output.is_empty() && !large {
                mem::swap(&mut self.output, output);
            }
        } else {
            self.output.extend_from_slice(output);
        }
        if self.output.len() > limits::OUTPUT_BYTES {
            self.break_off(&io::Error::other("the client does not read its replies"));
        }
    }

    /// Writes what the socket takes at once.
    fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.try_write(&self.output) {
                Ok(bytes) => {
                    self.output.advance(bytes);
                    self.shell
                        .node
                        .stats
                        .output_bytes
                        .fetch_add(bytes as u64, Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.break_off(&error),
            }
        }
    }

    /// Tells a client that has sent no request what was expected of it. Native frames know no such
    /// notice.
    fn give_up(&mut self) {
        self.patience = None;
        self.intake = Intake::Closing;
        if self.session.client.protocol != Protocol::Native {
            self.output.extend_from_slice(out_of_patience().as_bytes());
            self.flush();
        }
    }

    fn break_off(&mut self, error: &io::Error) {
        debug!(addr = self.session.client.facts.addr, %error, "connection broken");
        self.output.clear();
        self.intake = Intake::Closing;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let id = self.session.client.facts.id;
        let mut effects = Effects::default();
        let now = self.shell.clock.now();
        self.session.end(&self.shell.node, now, &mut effects);
        if !effects.asked.is_empty() {
            self.shell
                .replication
                .send(Replicated::Ask(id, effects.asked));
        }
        if self.answers.is_some() {
            self.shell.replication.send(Replicated::Disconnect(id));
        }
    }
}

/// What a client is told that sends no complete request in time.
pub fn out_of_patience() -> String {
    let seconds = limits::FIRST_REQUEST.as_secs();
    let what = format!("no complete request within {seconds} seconds");
    format!("-{}\r\n", ReplyError::Protocol(what.into()))
}

/// Closes a connection so that the last reply arrives: were input unread, the system would throw it
/// away.
pub async fn linger(stream: &mut TcpStream) {
    let mut rest = [0; 4096];
    let read_to_end = async {
        stream.shutdown().await?;
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the client has read the reply cannot be known, and nothing depends on it.
    let _ = timeout(LINGER, read_to_end).await;
}
