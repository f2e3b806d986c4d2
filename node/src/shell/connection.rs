//! One accepted connection: waits for its socket and for shards, hands what arrived to its
//! session, and does what the session returns. It knows neither requests nor replies.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use dht_proto::{Output, ReplyError, Sink, limits};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::buffers::{self, Input};
use super::burdens::{Burden, Burdens};
use super::mailbox::{Overflow, Shared};
use super::replication::{Event as Replicated, Settled};
use super::services::Asked;
use super::stream::Stream;
use super::{Shell, stopwatch};
use crate::core::client::Protocol;
use crate::core::pubsub::Message;
use crate::core::replication::worker::Request;
use crate::core::session::{Effects, Progress, Session, Ticket};

/// How long a connection that is closed from here may take to read what was written.
const LINGER: Duration = Duration::from_secs(1);

/// About so many bytes of messages are written at once.
const MESSAGES_BYTES: usize = 64 * 1024;
/// Pieces of output that are written together.
const SLICES: usize = 16;
/// So little may be kept for any client without being counted, in bytes.
const LIGHT_BYTES: usize = 4096;
/// From one look at values that are shared with the store to the next: they may be gone there.
const RECOUNT: Duration = Duration::from_millis(10);
/// The more, the more connections look.
const RECOUNT_OF_EACH: Duration = Duration::from_micros(20);
/// What is logged of a client that speaks HTTP.
const ATTACK: &str = "a client speaks HTTP, perhaps a browser that a page attacks with: closed";
/// What is said to who has to make way.
const TOO_MUCH: &str = "too much is kept for clients, and this one has been still for longest";

/// A connection whose protocol is known.
pub struct Connection {
    shell: Arc<Shell>,
    stream: Stream,
    session: Session,
    input: Input,
    /// What the socket has not taken.
    output: Output,
    intake: Intake,
    /// What is kept for the client, where that is more than a little.
    burden: Option<Burden>,
    /// While the client is paused: until it may go on.
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// When to look how much of the output nobody else has any more.
    recount: Option<Pin<Box<Sleep>>>,
    /// Answers of shards; from the first question on.
    answers: Option<mpsc::UnboundedReceiver<Settled>>,
    /// Messages; while the client listens.
    messages: Option<Shared>,
    /// What it is asked, and answers to what it has asked; from the first of it on.
    services: Option<mpsc::UnboundedReceiver<Asked>>,
    /// The last event was a message: requests come first now, however many messages there are.
    has_told: bool,
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
    /// It waits until clients are paused no more.
    AfterPause,
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
    /// Something is asked of the client, or answered, about services.
    Asked(Asked),
    /// The client is to be told something, or has not read what it was told.
    Told(Result<Vec<Message>, Overflow>),
    /// No complete request has come in time.
    OutOfPatience,
    /// Clients are paused no more.
    Resumed,
    /// It is time to look at the output again.
    Recount,
    /// Too much is kept for clients, and this one has been still for longest.
    GivenUp,
    /// The connection is broken.
    Broken(io::Error),
}

impl Connection {
    /// A connection that has to send its first request until `deadline`, if there is one.
    pub fn new(
        shell: Arc<Shell>,
        stream: Stream,
        session: Session,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            shell,
            stream,
            session,
            input: Input::default(),
            output: Output::default(),
            intake: Intake::Open,
            burden: None,
            pause: None,
            recount: None,
            answers: None,
            messages: None,
            services: None,
            has_told: false,
            patience: deadline.map(|deadline| Box::pin(sleep_until(deadline))),
        }
    }

    /// Serves until either side has had enough.
    pub async fn run(mut self) {
        let shutdown = self.shell.shutdown.child_token();
        let facts = Arc::clone(&self.session.client.facts);
        self.shell.lines.insert(facts.id, shutdown.clone());
        if facts.is_killed.load(Relaxed) {
            return;
        }
        tokio::select! {
            biased;
            () = self.serve() => (),
            () = shutdown.cancelled() => {
                if facts.is_killed.load(Relaxed) {
                    return;
                }
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
            let has_moved = !matches!(event, Event::Recount);
            self.handle(event);
            self.input.rest();
            self.weigh(has_moved);
            if self.output.is_unmade() {
                // A client that reads as fast as a long reply is made leaves time to others too.
                yield_now().await;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.output.is_empty()
            && match self.intake {
                Intake::Open | Intake::AfterOutput | Intake::AfterAnswer | Intake::AfterPause => {
                    false
                }
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
        if self.output.is_empty()
            && self.intake != Intake::Closing
            && let Some(services) = &mut self.services
            && let Poll::Ready(Some(asked)) = services.poll_recv(cx)
        {
            return Poll::Ready(Event::Asked(asked));
        }
        if !self.has_told
            && let Poll::Ready(told) = self.poll_messages(cx)
        {
            return Poll::Ready(Event::Told(told));
        }
        if self.intake == Intake::Open
            && self.has_room()
            && let Poll::Ready(result) = self.poll_read(cx)
        {
            return Poll::Ready(result.map_or_else(Event::Broken, Event::Input));
        }
        if self.has_told
            && let Poll::Ready(told) = self.poll_messages(cx)
        {
            return Poll::Ready(Event::Told(told));
        }
        if let Some(patience) = &mut self.patience
            && patience.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Event::OutOfPatience);
        }
        if let Some(burden) = &mut self.burden
            && burden.poll_given_up(cx).is_ready()
        {
            return Poll::Ready(Event::GivenUp);
        }
        if self.intake == Intake::AfterPause
            && let Some(pause) = &mut self.pause
            && pause.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Event::Resumed);
        }
        if let Some(recount) = &mut self.recount
            && recount.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Event::Recount);
        }
        Poll::Pending
    }

    /// Messages are taken only when all that was written before is gone, and then not too many:
    /// what a client does not read waits where it is counted.
    fn poll_messages(&self, cx: &mut Context<'_>) -> Poll<Result<Vec<Message>, Overflow>> {
        let wanted = self.output.is_empty() && self.intake != Intake::Closing;
        let wanted = wanted.then_some(MESSAGES_BYTES);
        let messages = self.messages.as_ref();
        messages.map_or(Poll::Pending, |messages| messages.poll(cx, wanted))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            self.input.make_room();
            match self.stream.try_read_buf(&mut self.input.bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.input.rest(),
                read => {
                    self.input.arrived();
                    return Poll::Ready(read);
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        self.has_told = matches!(event, Event::Told(_));
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
                    self.output = Output::default();
                }
                self.resume();
            }
            Event::Settled(settled) => {
                self.settle(settled);
                self.resume();
            }
            Event::Asked(asked) => {
                self.asked(asked);
                self.resume();
            }
            Event::Told(Ok(messages)) => self.tell(&messages),
            Event::Told(Err(Overflow)) => {
                self.messages = None;
                self.break_off(&io::Error::other("the client does not read its messages"));
            }
            Event::OutOfPatience => self.give_up(),
            Event::Resumed => {
                self.pause = None;
                self.receive();
            }
            Event::Recount => self.recount = None,
            Event::GivenUp => self.make_way(),
            Event::Broken(error) => self.break_off(&error),
        }
    }

    /// Hands the input to the session.
    fn receive(&mut self) {
        let now_us = stopwatch();
        let now = self.shell.clock.at(now_us);
        buffers::with_effects(|effects| {
            self.prepare(effects, now_us);
            effects.unsent = match self.output.is_unmade() {
                true => limits::OUTPUT_SOFT_BYTES,
                false => self.output.len(),
            };
            let progress =
                self.session
                    .receive(&self.shell.node, now, &mut self.input.bytes, effects);
            let is_written = self.output.is_empty() && effects.output.is_empty();
            self.intake = match progress {
                Progress::Input => Intake::Open,
                Progress::Blocked if is_written => Intake::AfterAnswer,
                Progress::Blocked => Intake::AfterOutput,
                Progress::Held => Intake::AfterPause,
            };
            self.carry_out(effects);
        });
        if self.intake == Intake::AfterPause {
            self.pause = Some(Box::pin(pause_over(Arc::clone(&self.shell))));
        }
    }

    /// Goes on with input that had to wait.
    fn resume(&mut self) {
        let waits = matches!(self.intake, Intake::AfterOutput | Intake::AfterAnswer);
        if waits && self.has_room() {
            self.receive();
        }
    }

    /// Whether the client reads its replies: so little waits for it that further ones may be made.
    fn has_room(&self) -> bool {
        self.output.len() < limits::OUTPUT_SOFT_BYTES && !self.output.is_unmade()
    }

    /// Hands the session what has been settled since it was last asked.
    fn settle(&mut self, first: Settled) {
        buffers::with_effects(|effects| {
            self.prepare(effects, stopwatch());
            let mut next = Some(first);
            while let Some(settled) = next {
                for (ticket, found) in settled {
                    self.session.settle(
                        ticket,
                        found.reply(&self.shell.node.settings.aside),
                        effects,
                    );
                }
                next = self
                    .answers
                    .as_mut()
                    .and_then(|answers| answers.try_recv().ok());
            }
            self.carry_out(effects);
        });
    }

    /// Says what a session has to know to measure.
    fn prepare(&self, effects: &mut Effects, now_us: u64) {
        effects.now_us = now_us;
        effects.done.slow_from_us = self.shell.node.measures.slow_from_us();
    }

    fn tell(&mut self, messages: &[Message]) {
        buffers::with_effects(|effects| {
            for message in messages {
                self.session.hear(message, &mut effects.output);
            }
            self.send(&mut effects.output);
        });
    }

    /// Hands on what is asked of the client, and what it is answered.
    fn asked(&mut self, first: Asked) {
        buffers::with_effects(|effects| {
            let mut next = Some(first);
            while let Some(asked) = next {
                match asked {
                    Asked::Settled(ticket, reply) => self.session.settle(ticket, reply, effects),
                    Asked::Ask(number, call) => {
                        let id = self.session.client.facts.id;
                        self.shell.node.services.taken(id, &call);
                        self.session.ask_client(number, &call, &mut effects.output);
                    }
                }
                let has_room = effects.output.len() < limits::OUTPUT_SOFT_BYTES;
                let services = self.services.as_mut().filter(|_| has_room);
                next = services.and_then(|services| services.try_recv().ok());
            }
            self.carry_out(effects);
        });
    }

    /// Has calls of services made and answered, and tells what is offered.
    fn serve_others(&mut self, effects: &mut Effects) {
        let id = self.session.client.facts.id;
        let services = &self.shell.services;
        let has_offered = mem::take(&mut self.session.client.has_offered);
        if has_offered || !effects.calls.is_empty() {
            self.services.get_or_insert_with(|| services.open(id));
        }
        if has_offered {
            services.offered(id);
        }
        for (ticket, call, deadline_ms) in effects.calls.drain(..) {
            services.call(id, ticket, call, deadline_ms);
        }
        for (number, reply) in effects.answers.drain(..) {
            services.answer(id, number, reply);
        }
    }

    /// Begins to take messages when the client has begun to listen, before it is told that it does;
    /// ceases when it has ceased.
    fn listen(&mut self) {
        let client = &self.session.client;
        let ears = &self.shell.broadcast.ears;
        match (client.subscriptions.is_empty(), &self.messages) {
            (false, None) => self.messages = Some(ears.open(client.facts.id)),
            (true, Some(_)) => {
                ears.close(client.facts.id);
                self.messages = None;
            }
            _ => (),
        }
    }

    fn carry_out(&mut self, effects: &mut Effects) {
        if !effects.output.is_empty() || !effects.asked.is_empty() {
            self.patience = None;
        }
        self.listen();
        self.shell.broadcast.announce();
        if !effects.news.is_empty() {
            self.shell.broadcast.tell(&mut effects.news);
        }
        if !effects.asked.is_empty() {
            self.ask(std::mem::take(&mut effects.asked));
        }
        let Shell { node, clock, .. } = &*self.shell;
        let unix_s = || clock.now().unix_us / 1_000_000;
        let client = &self.session.client.facts;
        node.measures.add(&mut effects.done, client, unix_s);
        for order in effects.orders.drain(..) {
            self.shell.obey(order);
        }
        self.serve_others(effects);
        if effects.attack {
            warn!(addr = self.session.client.facts.addr, "{ATTACK}");
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
    fn send(&mut self, output: &mut Output) {
        if self.output.is_empty() {
            let large = output.len() > buffers::SHARED_BYTES;
            mem::swap(&mut self.output, output);
            self.flush();
            if self.output.is_empty() && !large {
                mem::swap(&mut self.output, output);
            }
        } else {
            self.output.append(output);
        }
        if self.output.len() > limits::OUTPUT_BYTES {
            self.break_off(&io::Error::other("the client does not read its replies"));
        }
    }

    /// Writes what the socket takes at once; not too much of what is made meanwhile, since others
    /// wait.
    fn flush(&mut self) {
        let mut made = 0;
        while !self.output.is_empty() && made < limits::OUTPUT_SOFT_BYTES {
            made += self.output.make();
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.output.slices(&mut slices);
            // The kernel has less to do for one piece, which is what most replies are.
            let sent = match &slices[..count] {
                [piece] => self.stream.try_write(piece),
                pieces => self.stream.try_write_vectored(pieces),
            };
            match sent {
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
            self.output.put(out_of_patience().as_bytes());
            self.flush();
        }
    }

    /// Says how much is kept for the client.
    fn weigh(&mut self, has_moved: bool) {
        let bytes = self.input.kept_bytes() + self.session.kept_bytes() + self.output.owned();
        let is_shared = self.output.is_shared();
        if bytes < LIGHT_BYTES && !is_shared {
            self.burden = None;
            self.recount = None;
            return;
        }
        let burdens = &self.shell.burdens;
        let burden = self.burden.get_or_insert_with(|| Burdens::take_up(burdens));
        burden.weigh(bytes, has_moved);
        if is_shared && self.recount.is_none() {
            let pause = RECOUNT + RECOUNT_OF_EACH * burdens.count();
            self.recount = Some(Box::pin(sleep(pause)));
        }
    }

    /// Lets go of all that is kept for the client. It can be told why where no reply is under way.
    fn make_way(&mut self) {
        self.burden = None;
        self.input = Input::default();
        self.session.let_go();
        if self.output.is_empty() && self.session.client.protocol != Protocol::Native {
            info!(addr = self.session.client.facts.addr, "{TOO_MUCH}");
            self.intake = Intake::Closing;
            self.output.put(format!("-ERR {TOO_MUCH}\r\n").as_bytes());
            self.flush();
        } else {
            self.break_off(&io::Error::other(TOO_MUCH));
        }
    }

    fn break_off(&mut self, error: &io::Error) {
        debug!(addr = self.session.client.facts.addr, %error, "connection broken");
        self.output = Output::default();
        self.intake = Intake::Closing;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let id = self.session.client.facts.id;
        let mut effects = Effects::default();
        let now = self.shell.clock.now();
        self.session.end(&self.shell.node, now, &mut effects);
        if !effects.news.is_empty() {
            self.shell.broadcast.tell(&mut effects.news);
        }
        self.shell.broadcast.ears.close(id);
        self.shell.lines.remove(&id);
        if self.services.is_some() {
            self.shell.services.close(id);
        }
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

/// Waits until clients are paused no more.
async fn pause_over(shell: Arc<Shell>) {
    loop {
        // Who is told after this hears it, whatever is seen of the pause below.
        let resumed = shell.resumed.notified();
        let left_ms = shell.node.pause.left_ms(shell.clock.now().mono_ms);
        if left_ms == 0 {
            return;
        }
        // Either way it is looked at again.
        let _ = timeout(Duration::from_millis(left_ms), resumed).await;
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
pub async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut rest = [0; 4096];
    let read_to_end = async {
        stream.shutdown().await?;
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the client has read the reply cannot be known, and nothing depends on it.
    let _ = timeout(LINGER, read_to_end).await;
}
