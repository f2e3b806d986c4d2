//! Prints what is said on channels, as redis-cli does, until Ctrl-C.

use std::io::{self, Write};

use dht_client::{Command, Message, Scheme, Subscription};
use dht_proto::Reply;
use dht_proto::spec::{self, Kind};
use tokio::runtime::Runtime;

use crate::print::{Form, shown};
use crate::session::Session;
use crate::{Outcome, told};

/// Whether a command begins or ends to listen.
pub fn is_about(words: &[Vec<u8>]) -> bool {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    spec::find(&words).is_ok_and(|id| id.spec().kind == Kind::LISTEN)
}

/// Executes such a command on a connection of its own; ends when nothing is listened to, or the
/// user has heard enough.
pub fn run(
    runtime: &Runtime,
    session: &Session,
    form: Form,
    words: Vec<Vec<u8>>,
) -> io::Result<Outcome> {
    let mut subscription = session.subscription();
    let scheme = session.target().scheme;
    runtime.block_on(async {
        tokio::select! {
            outcome = print_all(&mut subscription, (form, scheme), words) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(Outcome::Done),
        }
    })
}

async fn print_all(
    subscription: &mut Subscription,
    (form, scheme): (Form, Scheme),
    words: Vec<Vec<u8>>,
) -> io::Result<Outcome> {
    match subscription.run(Command::from_words(words)).await {
        Ok(Reply::Array(answers)) => {
            if form == Form::Human && !subscription.is_empty() {
                print(b"Reading messages... (press Ctrl-C to quit)\n")?;
            }
            answers
                .iter()
                .try_for_each(|answer| print(&shown(answer, form)))?;
        }
        Ok(reply) => print(&shown(&reply, form))?,
        Err(error) => {
            let (outcome, text) = told(&error, form, scheme);
            let _ = io::stderr().write_all(&text);
            return Ok(outcome);
        }
    }
    while !subscription.is_empty() {
        match subscription.next().await {
            Ok(message) => print(&shown(&as_reply(message), form))?,
            Err(error) => {
                let (outcome, text) = told(&error, form, scheme);
                let _ = io::stderr().write_all(&text);
                if error.is_unreachable() {
                    return Ok(outcome);
                }
            }
        }
    }
    Ok(Outcome::Done)
}

/// Whoever reads it through a pipe is not kept waiting.
fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()
}

fn as_reply(message: Message) -> Reply {
    let kind = match (&message.pattern, message.sharded) {
        (Some(_), _) => "pmessage",
        (None, true) => "smessage",
        (None, false) => "message",
    };
    let words = message.pattern.into_iter();
    let words = words.chain([message.channel, message.text]);
    let words = words.map(Reply::Bulk);
    Reply::Array(std::iter::once(Reply::bulk(kind)).chain(words).collect())
}
