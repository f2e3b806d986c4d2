//! Commands about the connections of a node: which there are, ending them, having them wait.

use std::sync::atomic::Ordering::Relaxed;

use dht_proto::reply::shown;
use dht_proto::{Reply, ReplyError};

use super::connection::USER;
use super::wrong_subcommand;
use crate::core::args::{Args, parse_int};
use crate::core::client::{Facts, Order};
use crate::core::execute::Outcome;
use crate::core::local::Local;
use crate::core::time::Now;

/// CLIENT KILL.
pub fn client_kill(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    if args.left() > 1 {
        let wanted = Wanted::parse(args)?;
        return Ok(Reply::count(kill(ctx, &wanted)));
    }
    let wanted = Wanted {
        addr: Some(args.word()?),
        with_me: true,
        ..Wanted::default()
    };
    match kill(ctx, &wanted) {
        0 => Err(ReplyError::err("No such client")),
        _ => Ok(Reply::Ok),
    }
}

/// Which connections CLIENT KILL ends: those of which all is true that is said.
#[derive(Default)]
struct Wanted<'a> {
    id: Option<u64>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    is_of_type: Option<Type>,
    age_s: u64,
    with_me: bool,
}

impl<'a> Wanted<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, ReplyError> {
        let mut wanted = Self::default();
        while args.left() > 0 {
            wanted.take_filter(args)?;
        }
        Ok(wanted)
    }

    fn take_filter(&mut self, args: &mut Args<'a>) -> Result<(), ReplyError> {
        if args.left() < 2 {
            return Err(ReplyError::Syntax);
        }
        if args.option("ID") {
            let id = parse_int(args.word()?).and_then(|id| u64::try_from(id).ok());
            let id = id.filter(|id| *id > 0);
            self.id = Some(id.ok_or(ReplyError::err("client-id should be greater than 0"))?);
        } else if args.option("TYPE") {
            self.is_of_type = Some(type_named(args.word()?)?);
        } else if args.option("USER") {
            user(args.word()?)?;
        } else if args.option("ADDR") {
            self.addr = Some(args.word()?);
        } else if args.option("LADDR") {
            self.laddr = Some(args.word()?);
        } else if args.option("SKIPME") {
            self.with_me = args.option("NO");
            if !self.with_me && !args.option("YES") {
                return Err(ReplyError::Syntax);
            }
        } else if args.option("MAXAGE") {
            self.age_s = age_s(args.word()?)?;
        } else {
            return Err(ReplyError::Syntax);
        }
        Ok(())
    }

    fn is(&self, client: &Facts, me: u64, now: Now) -> bool {
        let age_s = now.mono_ms.saturating_sub(client.since_mono_ms) / 1000;
        let is_of_type = |is_of: Type| is_of(client.labels.load().is_listening());
        self.id.is_none_or(|id| id == client.id)
            && self.addr.is_none_or(|addr| addr == client.addr.as_bytes())
            && self
                .laddr
                .is_none_or(|addr| addr == client.laddr.as_bytes())
            && self.is_of_type.is_none_or(is_of_type)
            && age_s >= self.age_s
            && (self.with_me || client.id != me)
    }
}

/// There is one user, whom every connection is of.
fn user(name: &[u8]) -> Result<(), ReplyError> {
    if name == USER {
        return Ok(());
    }
    let name = shown(name, usize::MAX);
    Err(ReplyError::Other(format!("No such user '{name}'").into()))
}

fn age_s(word: &[u8]) -> Result<u64, ReplyError> {
    let age = parse_int(word);
    let age = age.ok_or(ReplyError::err("maxage is not an integer or out of range"))?;
    let age = u64::try_from(age).ok().filter(|age| *age > 0);
    age.ok_or(ReplyError::err("maxage should be greater than 0"))
}

/// Ends connections; gives how many.
fn kill(ctx: &mut Local<'_>, wanted: &Wanted<'_>) -> usize {
    let me = ctx.client.facts.id;
    let clients = ctx.node.clients.iter();
    let found: Vec<u64> = clients
        .filter(|client| wanted.is(client, me, ctx.now))
        .map(|client| client.id)
        .collect();
    for id in &found {
        if *id == me {
            ctx.client.closing = true;
        } else if let Some((_, client)) = ctx.node.clients.remove(id) {
            client.is_killed.store(true, Relaxed);
            ctx.client.orders.push(Order::HangUp(*id));
        }
    }
    found.len()
}

/// CLIENT LIST.
pub fn client_list(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let mut ids = if args.left() == 0 || (args.left() == 2 && args.option("TYPE")) {
        let is_wanted = args.word().map_or(Ok::<Type, _>(|_| true), type_named)?;
        let clients = ctx.node.clients.iter();
        let wanted = clients.filter(|client| is_wanted(client.labels.load().is_listening()));
        wanted.map(|client| *client.key()).collect()
    } else if args.left() > 1 && args.option("ID") {
        client_ids(args.rest())?
    } else {
        return Err(ReplyError::Syntax);
    };
    ids.sort_unstable();
    ids.dedup();
    let mut lines = String::new();
    for client in ids.iter().filter_map(|id| ctx.node.clients.get(id)) {
        lines.push_str(&client.line(ctx.now));
        lines.push('\n');
    }
    Ok(Reply::Text(lines.into()))
}

/// Whether a connection is shown, by whether it listens to messages.
type Type = fn(bool) -> bool;

/// Which connections are of a type: those that listen, or that do not.
fn type_named(word: &[u8]) -> Result<Type, ReplyError> {
    let known: [(&str, Type); 5] = [
        ("normal", |listens| !listens),
        ("master", |_| false),
        ("slave", |_| false),
        ("replica", |_| false),
        ("pubsub", |listens| listens),
    ];
    let found = known
        .iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, wanted)| *wanted).ok_or_else(|| {
        let word = shown(word, usize::MAX);
        ReplyError::Other(format!("Unknown client type '{word}'").into())
    })
}

/// Ids that nobody can have are no error.
fn client_ids(words: &[&[u8]]) -> Result<Vec<u64>, ReplyError> {
    words
        .iter()
        .map(|word| parse_int(word).map(|id| u64::try_from(id).unwrap_or_default()))
        .collect::<Option<Vec<u64>>>()
        .ok_or(ReplyError::err("Invalid client ID"))
}

/// CLIENT PAUSE.
pub fn client_pause(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let timeout = args.word()?;
    if args.left() > 1 {
        return Err(wrong_subcommand(args));
    }
    let all = args.option("ALL") || !args.option("WRITE");
    if args.left() > 0 {
        let text = "CLIENT PAUSE mode must be WRITE or ALL";
        return Err(ReplyError::err(text));
    }
    let timeout = parse_int(timeout);
    let timeout = timeout.ok_or(ReplyError::err("timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(timeout);
    let timeout_ms = timeout_ms.map_err(|_| ReplyError::err("timeout is negative"))?;
    ctx.node.pause.begin(ctx.now.mono_ms, timeout_ms, all);
    Ok(Reply::Ok)
}

/// CLIENT UNBLOCK: no command waits for others to write, so there is nobody to unblock.
pub fn client_unblock(_: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let id = args.word()?;
    if args.left() > 1 {
        return Err(wrong_subcommand(args));
    }
    if !args.option("TIMEOUT") && !args.option("ERROR") && args.left() > 0 {
        let text = "CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
        return Err(ReplyError::err(text));
    }
    parse_int(id).ok_or(ReplyError::NotInteger)?;
    Ok(Reply::flag(false))
}

/// CLIENT UNPAUSE.
pub fn client_unpause(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    ctx.node.pause.end();
    ctx.client.orders.push(Order::Resume);
    Ok(Reply::Ok)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::commands::testing::{Desk, check};
    use crate::core::pause::Held;

    #[test]
    fn client_list_has_a_line_a_connection() {
        const ME: &str = "id=5 addr=127.0.0.1:50000 laddr=127.0.0.1:7401 fd=-1 name=me age=3 \
             idle=1 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 \
             multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=auth user=default \
             redir=-1 resp=2 lib-name= lib-ver=\n";
        check(&[
            ("CLIENT SETNAME me", "OK"),
            ("CLIENT INFO", ME),
            ("CLIENT LIST", ME),
            ("CLIENT LIST TYPE Normal", ME),
            ("CLIENT LIST TYPE replica", ""),
            ("CLIENT LIST TYPE other", "-ERR Unknown client type 'other'"),
            ("CLIENT LIST TYPE", "-ERR syntax error"),
            ("CLIENT LIST ID 5 7 5", ME),
            ("CLIENT LIST ID 7", ""),
            ("CLIENT LIST ID 5 x", "-ERR Invalid client ID"),
            ("CLIENT LIST ID 0 -1", ""),
            ("CLIENT LIST ID", "-ERR syntax error"),
            ("CLIENT LIST TYPE normal ID 5", "-ERR syntax error"),
            ("CLIENT LIST other", "-ERR syntax error"),
        ]);
    }

    #[test]
    fn a_kill_ends_those_of_whom_all_is_true() {
        let mut desk = Desk::standalone();
        let other = |id: u64, since_mono_ms| {
            let labels = desk.client.facts.labels.load_full();
            let facts = Facts {
                id,
                addr: format!("127.0.0.1:{id}"),
                laddr: "127.0.0.1:7401".to_owned(),
                since_mono_ms,
                last_mono_ms: 0.into(),
                last_command: 0.into(),
                marks: Default::default(),
                is_killed: false.into(),
                labels: labels.into(),
            };
            desk.node.clients.insert(id, Arc::new(facts));
        };
        (10..16).for_each(|id| other(id, 1000));
        other(16, 3000);
        for (line, expect) in [
            ("CLIENT KILL 127.0.0.1:9", "-ERR No such client"),
            ("CLIENT KILL 127.0.0.1:10", "OK"),
            ("CLIENT KILL 127.0.0.1:10", "-ERR No such client"),
            ("CLIENT KILL ID 11 ADDR 127.0.0.1:12", "0"),
            ("CLIENT KILL ID 11 ADDR 127.0.0.1:11", "1"),
            ("CLIENT KILL ID 5", "0"),
            ("CLIENT KILL TYPE pubsub", "0"),
            ("CLIENT KILL MAXAGE 4", "0"),
            ("CLIENT KILL MAXAGE 3 id 12", "1"),
            ("CLIENT KILL MAXAGE 2 USER default", "3"),
            (
                "CLIENT KILL MAXAGE 0",
                "-ERR maxage should be greater than 0",
            ),
            (
                "CLIENT KILL MAXAGE x",
                "-ERR maxage is not an integer or out of range",
            ),
            ("CLIENT KILL TYPE normal LADDR 127.0.0.1:7401", "1"),
            ("CLIENT KILL ID", "-ERR No such client"),
            ("CLIENT KILL TYPE normal ID", "-ERR syntax error"),
        ] {
            assert_eq!(desk.run(line), expect, "{line}");
        }
        let orders = desk.client.orders.iter();
        let ended = orders.filter_map(|order| match order {
            Order::HangUp(id) => Some(*id),
            _ => None,
        });
        let ended: Vec<u64> = ended.collect();
        assert_eq!(ended[..3], [10, 11, 12]);
        assert_eq!(ended.len(), 7);
        assert_eq!(desk.node.clients.len(), 1);
        assert!(!desk.client.closing);
        assert_eq!(desk.run("CLIENT KILL SKIPME no TYPE normal"), "1");
        assert!(desk.client.closing, "after the answer");
    }

    #[test]
    fn a_pause_is_the_node_s() {
        let mut desk = Desk::standalone();
        for (line, expect, held) in [
            ("CLIENT PAUSE 0", "OK", Held::Nothing),
            ("CLIENT PAUSE 100 write", "OK", Held::Writes),
            ("CLIENT PAUSE 10 ALL", "OK", Held::All),
            ("CLIENT UNPAUSE", "OK", Held::Nothing),
            ("CLIENT PAUSE 10", "OK", Held::All),
        ] {
            assert_eq!(desk.run(line), expect, "{line}");
            assert_eq!(desk.node.pause.at(desk.now.mono_ms), held, "{line}");
        }
        assert_eq!(desk.client.orders, [Order::Resume]);
    }
}
