//! An open link to another node: sends it commands, tells their fates, and notices when it falls
//! silent.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use dht_proto::link::{Link, Unanswered};
use dht_proto::rpc::{self, Message};
use dht_proto::{frame, limits};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};
use tokio_util::io::poll_read_buf;

use super::clock::Clock;
use super::cluster::{Errand, FateSender, Settled};
use crate::core::session::{Fate, Ticket};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Ticks from one heartbeat to the next.
const TICKS_A_BEAT: u32 = 10;
/// After so many heartbeats without a byte from the other node the link is given up: within two
/// seconds.
const SILENT_BEATS: u32 = 3;
/// Bytes of requests that are encoded at a time, and room for a read.
const BATCH_BYTES: usize = 64 * 1024;

/// A link on which both sides have said hello.
pub struct OpenLink<'a> {
    clock: &'a Clock,
    stream: TcpStream,
    errands: mpsc::UnboundedReceiver<Errand>,
    /// Without an origin it is a heartbeat.
    requests: Link<Option<Origin>>,
    codec: LengthDelimitedCodec,
    input: BytesMut,
    /// What the socket has not taken.
    output: BytesMut,
    ticks: Interval,
    ticks_since_beat: u32,
    silent_beats: u32,
}

/// Where a forwarded command came from.
struct Origin {
    ticket: Ticket,
    fates: FateSender,
}

/// Everything that can happen to a link.
enum Event {
    /// A command is to be sent.
    Errand(Errand),
    /// So many bytes have arrived; 0 at the end.
    Input(usize),
    /// The socket takes output.
    Writable,
    /// Time has passed.
    Tick,
}

impl<'a> OpenLink<'a> {
    /// A link to the node that has just said hello.
    pub fn new(
        stream: TcpStream,
        errands: mpsc::UnboundedReceiver<Errand>,
        clock: &'a Clock,
    ) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            clock,
            stream,
            errands,
            requests: Link::default(),
            codec: frame::codec(limits::FRAME_BYTES),
            input: BytesMut::new(),
            output: BytesMut::new(),
            ticks,
            ticks_since_beat: 0,
            silent_beats: 0,
        }
    }

    /// Serves until the link breaks; gives the reason. Every command that was taken is settled.
    pub async fn run(&mut self) -> io::Error {
        loop {
            let result = match poll_fn(|cx| self.poll_event(cx)).await {
                Ok(event) => self.handle(event),
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Event>> {
        if let Poll::Ready(Some(errand)) = self.errands.poll_recv(cx) {
            return Poll::Ready(Ok(Event::Errand(errand)));
        }
        self.input.reserve(BATCH_BYTES);
        if let Poll::Ready(result) = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input)
        {
            return Poll::Ready(result.map(Event::Input));
        }
        if !self.output.is_empty()
            && let Poll::Ready(result) = self.stream.poll_write_ready(cx)
        {
            return Poll::Ready(result.map(|()| Event::Writable));
        }
        self.ticks.poll_tick(cx).map(|_| Ok(Event::Tick))
    }

    fn handle(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Errand(errand) => {
                self.push(errand);
                // Whatever else waits goes out in the same write.
                while let Ok(errand) = self.errands.try_recv() {
                    self.push(errand);
                }
                self.transmit()
            }
            Event::Input(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Event::Input(_) => {
                self.silent_beats = 0;
                self.take_answers()
            }
            Event::Writable => {
                // The other node reads, although what it reads may be too long for an answer yet.
                self.silent_beats = 0;
                self.transmit()
            }
            Event::Tick => self.tick(),
        }
    }

    fn push(&mut self, Errand { forward, fates }: Errand) {
        let origin = Origin {
            ticket: forward.ticket,
            fates,
        };
        let full = self
            .requests
            .push(forward.argv, forward.deadline_mono_ms, Some(origin));
        if let Err(origin) = full {
            settle(origin, Fate::NotSent);
        }
    }

    /// Writes what waits, until the socket takes no more.
    fn transmit(&mut self) -> io::Result<()> {
        loop {
            if self.output.is_empty() {
                let now_ms = self.clock.now().mono_ms;
                self.requests
                    .transmit(now_ms, BATCH_BYTES, &mut self.output);
            }
            if self.output.is_empty() {
                return Ok(());
            }
            match self.stream.try_write(&self.output) {
                Ok(bytes) => self.output.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn take_answers(&mut self) -> io::Result<()> {
        while let Some(frame) = self.codec.decode(&mut self.input)? {
            let Message::Response { id, reply } = rpc::decode(&frame).map_err(io::Error::other)?
            else {
                return Err(io::Error::other(
                    "a request from a node that was asked for answers",
                ));
            };
            if let Some(origin) = self.requests.answered(id) {
                settle(origin, Fate::Answered(reply));
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        for (origin, why) in self.requests.expire(self.clock.now().mono_ms) {
            settle(origin, fate(why));
        }
        self.ticks_since_beat += 1;
        if self.ticks_since_beat < TICKS_A_BEAT {
            return Ok(());
        }
        self.ticks_since_beat = 0;
        if self.silent_beats >= SILENT_BEATS {
            return Err(io::Error::other("the node does not answer"));
        }
        self.silent_beats += 1;
        // There may be no room for a heartbeat among requests; their answers are as good.
        let _ = self
            .requests
            .push(vec![Bytes::from_static(b"PING")], u64::MAX, None);
        self.transmit()
    }
}

impl Drop for OpenLink<'_> {
    fn drop(&mut self) {
        for (origin, why) in self.requests.disconnect() {
            settle(origin, fate(why));
        }
        self.errands.close();
        while let Ok(errand) = self.errands.try_recv() {
            errand.not_sent();
        }
    }
}

fn fate(why: Unanswered) -> Fate {
    match why {
        Unanswered::NotSent => Fate::NotSent,
        Unanswered::Lost => Fate::Lost,
    }
}

fn settle(origin: Option<Origin>, fate: Fate) {
    if let Some(Origin { ticket, fates }) = origin {
        // A connection that is gone asks for no fate.
        let _ = fates.send(Settled { ticket, fate });
    }
}
