//! Commands of a connection about itself.

use std::borrow::Cow;

use dht_proto::reply::shown;
use dht_proto::{Reply, ReplyError, limits};

use crate::core::args::{Args, parse_int};
use crate::core::client::{Mark, Protocol, Replies};
use crate::core::commands::server::REDIS_VERSION;
use crate::core::execute::Outcome;
use crate::core::local::Local;

/// The only user there is.
pub(super) const USER: &[u8] = b"default";

/// AUTH.
pub fn auth(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let first = args.word()?;
    if args.left() == 0 {
        if ctx.node.settings.password.is_none() {
            return Err(ReplyError::err(
                "AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        return log_in(ctx, USER, first);
    }
    let password = args.word()?;
    args.finish()?;
    log_in(ctx, first, password)
}

fn log_in(ctx: &mut Local<'_>, user: &[u8], password: &[u8]) -> Outcome {
    opens(ctx, user, password)?;
    ctx.client.authenticated = true;
    Ok(Reply::Ok)
}

/// Whether a user and a password let a client in; otherwise the error.
fn opens(ctx: &Local<'_>, user: &[u8], password: &[u8]) -> Result<(), ReplyError> {
    if user == USER && ctx.node.settings.opens(password) {
        Ok(())
    } else {
        Err(ReplyError::WrongPass)
    }
}

/// CLIENT GETNAME.
pub fn client_getname(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let labels = ctx.client.facts.labels.load();
    Ok(Reply::bulk_or_nil(
        Some(&labels.name).filter(|name| !name.is_empty()),
    ))
}

/// CLIENT ID.
pub fn client_id(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(id_reply(ctx))
}

fn id_reply(ctx: &Local<'_>) -> Reply {
    Reply::Int(i64::try_from(ctx.client.facts.id).unwrap_or(i64::MAX))
}

/// CLIENT INFO.
pub fn client_info(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::Text(
        format!("{}\n", ctx.client.facts.line(ctx.now)).into(),
    ))
}

/// CLIENT NO-EVICT.
pub fn client_no_evict(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    switch(ctx, args, Mark::NoEvict)
}

/// CLIENT NO-TOUCH.
pub fn client_no_touch(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    switch(ctx, args, Mark::NoTouch)
}

/// ON or OFF of what makes no difference here but in `CLIENT LIST`.
fn switch(ctx: &Local<'_>, args: &mut Args<'_>, mark: Mark) -> Outcome {
    let is_on = args.option("ON");
    if !is_on && !args.option("OFF") {
        return Err(ReplyError::Syntax);
    }
    ctx.client.facts.marks.set(mark, is_on);
    Ok(Reply::Ok)
}

/// CLIENT REPLY. What it says of its own answer, the session finds in the client.
pub fn client_reply(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let is_on = args.option("ON");
    let is_off = args.option("OFF");
    if !is_on && !is_off && !args.option("SKIP") {
        return Err(ReplyError::Syntax);
    }
    let client = &mut *ctx.client;
    if client.protocol == Protocol::Native && !is_on {
        return Err(ReplyError::err(
            "a request in native frames is always answered: send a notification instead",
        ));
    }
    match client.replies {
        _ if is_on => client.replies = Replies::On,
        _ if is_off => client.replies = Replies::Off,
        Replies::Off => (),
        _ => client.replies = Replies::SkipNext,
    }
    Ok(Reply::Ok)
}

/// CLIENT TRACKINGINFO.
pub fn client_trackinginfo(_: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let entry = |(name, value): (&str, Reply)| (Reply::bulk(name), value);
    let facts = [
        ("flags", Reply::Set(vec![Reply::bulk("off")])),
        ("redirect", Reply::Int(-1)),
        ("prefixes", Reply::Array(Vec::new())),
    ];
    Ok(Reply::Map(facts.into_iter().map(entry).collect()))
}

/// CLIENT TRACKING: what libraries say when they connect, OFF, is no error.
pub fn client_tracking(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let switch = args.word()?;
    while args.left() > 0 {
        if args.left() > 1 && args.option("REDIRECT") {
            let id = u64::try_from(args.int()?).ok();
            if !id.is_some_and(|id| ctx.node.clients.contains_key(&id)) {
                let text = "The client ID you want redirect to does not exist";
                return Err(ReplyError::err(text));
            }
        } else if args.left() > 1 && args.option("PREFIX") {
            args.word()?;
        } else if !["BCAST", "OPTIN", "OPTOUT", "NOLOOP"]
            .into_iter()
            .any(|name| args.option(name))
        {
            return Err(ReplyError::Syntax);
        }
    }
    if switch.eq_ignore_ascii_case(b"OFF") {
        Ok(Reply::Ok)
    } else if switch.eq_ignore_ascii_case(b"ON") {
        Err(ReplyError::err(
            "CLIENT TRACKING ON is not supported: no node tells clients which of the keys that \
             they have read were changed",
        ))
    } else {
        Err(ReplyError::Syntax)
    }
}

/// CLIENT CACHING: as in Redis to a client for which nothing is tracked.
pub fn client_caching(_: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Err(ReplyError::err(
        "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
         OPTOUT mode enabled",
    ))
}

/// CLIENT GETREDIR: as in Redis to a client for which nothing is tracked.
pub fn client_getredir(_: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::Int(-1))
}

/// CLIENT SETINFO.
pub fn client_setinfo(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let option = args.word()?;
    let value = args.word()?;
    let option_name = shown(option, usize::MAX);
    let is_name = option.eq_ignore_ascii_case(b"LIB-NAME");
    if !is_name && !option.eq_ignore_ascii_case(b"LIB-VER") {
        return Err(ReplyError::Other(
            format!("Unrecognized option '{option_name}'").into(),
        ));
    }
    let value = label(value, &option_name)?;
    ctx.client.facts.label(|labels| {
        *(if is_name {
            &mut labels.lib_name
        } else {
            &mut labels.lib_ver
        }) = value;
    });
    Ok(Reply::Ok)
}

/// CLIENT SETNAME.
pub fn client_setname(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let name = client_name(args.word()?)?;
    ctx.client.facts.label(|labels| labels.name = name);
    Ok(Reply::Ok)
}

fn client_name(word: &[u8]) -> Result<String, ReplyError> {
    label(word, "Client names")
}

/// Text that fits into a field of `CLIENT LIST`.
fn label(word: &[u8], what: &str) -> Result<String, ReplyError> {
    if word.len() > limits::LABEL_BYTES {
        let (what, limit) = ("name", limits::LABEL_BYTES);
        return Err(ReplyError::TooLong { what, limit });
    }
    if word.iter().all(u8::is_ascii_graphic) {
        Ok(word.iter().copied().map(char::from).collect())
    } else {
        let sentence = format!("{what} cannot contain spaces, newlines or special characters.");
        Err(ReplyError::Other(sentence.into()))
    }
}

/// ECHO.
pub fn echo(_: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(Reply::bulk(args.word()?))
}

/// HELLO.
pub fn hello(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let protocol = match args.word() {
        Ok(version) => Some(resp_version(version)?),
        Err(_) => None,
    };
    let mut opened = false;
    while args.left() > 0 {
        if args.left() > 2 && args.option("AUTH") {
            opens(ctx, args.word()?, args.word()?)?;
            opened = true;
        } else if args.left() > 1 && args.option("SETNAME") {
            // As in Redis 7.0 at once, whatever is wrong behind it.
            let name = client_name(args.word()?)?;
            ctx.client.facts.label(|labels| labels.name = name);
        } else {
            let option = shown(args.word()?, usize::MAX);
            return Err(ReplyError::Other(
                format!("Syntax error in HELLO option '{option}'").into(),
            ));
        }
    }
    if !ctx.client.authenticated && !opened {
        return Err(ReplyError::NoAuthHello);
    }
    ctx.client.authenticated = true;
    if let Some(protocol) = protocol {
        ctx.client.speak(protocol);
    }
    Ok(introduction(ctx))
}

fn resp_version(word: &[u8]) -> Result<Protocol, ReplyError> {
    match parse_int(word) {
        None => Err(ReplyError::err(
            "Protocol version is not an integer or out of range",
        )),
        Some(2) => Ok(Protocol::Resp2),
        Some(3) => Ok(Protocol::Resp3),
        Some(_) => Err(ReplyError::NoProto),
    }
}

fn introduction(ctx: &Local<'_>) -> Reply {
    let entry = |name: &str, value| (Reply::bulk(name), value);
    Reply::Map(vec![
        entry("server", Reply::bulk("redis")),
        entry("version", Reply::bulk(REDIS_VERSION)),
        entry("proto", Reply::Int(ctx.client.protocol.resp().into())),
        entry("id", id_reply(ctx)),
        entry("mode", Reply::bulk(ctx.node.settings.mode())),
        entry("role", Reply::bulk("master")),
        entry("modules", Reply::Array(Vec::new())),
    ])
}

/// PING.
pub fn ping(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    match args.rest() {
        words @ ([] | [_]) if ctx.client.only_listens() => {
            let message = words.first().copied().unwrap_or_default();
            Ok(Reply::Array(vec![
                Reply::bulk("pong"),
                Reply::bulk(message),
            ]))
        }
        [] => Ok(Reply::Status(Cow::Borrowed("PONG"))),
        [message] => Ok(Reply::bulk(message)),
        _ => Err(ReplyError::Arity(Cow::Borrowed("ping"))),
    }
}

/// QUIT.
pub fn quit(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    ctx.client.closing = true;
    Ok(Reply::Ok)
}

/// RESET.
pub fn reset(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    ctx.client.speak(Protocol::Resp2);
    if ctx.client.replies != Replies::Skip {
        ctx.client.replies = Replies::On;
    }
    ctx.client.authenticated = ctx.node.settings.password.is_none();
    ctx.client.facts.label(|labels| labels.name.clear());
    ctx.client.facts.marks.clear();
    ctx.client.transaction.end();
    let id = ctx.client.facts.id;
    ctx.node.hub.leave_all(id, &mut ctx.client.subscriptions);
    ctx.client.show_subscriptions();
    Ok(Reply::Status(Cow::Borrowed("RESET")))
}

/// SELECT.
pub fn select(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    match args.int()? {
        0 => Ok(Reply::Ok),
        index if i32::try_from(index).is_ok() && !ctx.node.settings.standalone => {
            Err(ReplyError::err("SELECT is not allowed in cluster mode"))
        }
        index if i32::try_from(index).is_ok() => Err(ReplyError::err("DB index is out of range")),
        _ => Err(ReplyError::err(
            "value is out of range, value must between -2147483648 and 2147483647",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::commands::testing::{Desk, check};

    #[test]
    fn names_and_echoes() {
        check(&[
            ("PING", "PONG"),
            ("PING hi", "\"hi\""),
            (
                "PING a b",
                "-ERR wrong number of arguments for 'ping' command",
            ),
            ("ECHO hi", "\"hi\""),
            ("CLIENT GETNAME", "nil"),
            (
                "CLIENT SETNAME a\tb",
                "-ERR Client names cannot contain spaces, newlines or special characters.",
            ),
            (
                "CLIENT SETNAME é",
                "-ERR Client names cannot contain spaces, newlines or special characters.",
            ),
            ("CLIENT SETNAME worker", "OK"),
            ("CLIENT GETNAME", "\"worker\""),
            ("CLIENT ID", "5"),
            ("CLIENT SETINFO lib-name redis-py", "OK"),
            ("CLIENT SETINFO LIB-VER 5.0", "OK"),
            (
                "CLIENT SETINFO lib-ver a\tb",
                "-ERR lib-ver cannot contain spaces, newlines or special characters.",
            ),
            (
                "CLIENT SETINFO color red",
                "-ERR Unrecognized option 'color'",
            ),
            ("RESET", "RESET"),
            ("CLIENT GETNAME", "nil"),
            ("SELECT 0", "OK"),
            ("SELECT 1", "-ERR DB index is out of range"),
            ("SELECT -1", "-ERR DB index is out of range"),
            ("SELECT x", "-ERR value is not an integer or out of range"),
            (
                "SELECT 3000000000",
                "-ERR value is out of range, value must between -2147483648 and 2147483647",
            ),
        ]);
    }

    #[test]
    fn hello_negotiates() {
        let greeting = |proto: u8| {
            format!(
                "{{\"server\": \"redis\", \"version\": \"7.4.0\", \"proto\": {proto}, \"id\": 5, \
                 \"mode\": \"standalone\", \"role\": \"master\", \"modules\": []}}"
            )
        };
        check(&[
            ("HELLO", &greeting(2)),
            ("HELLO 3", &greeting(3)),
            ("HELLO", &greeting(3)),
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
            (
                "HELLO x",
                "-ERR Protocol version is not an integer or out of range",
            ),
            ("HELLO 2 other", "-ERR Syntax error in HELLO option 'other'"),
            (
                "HELLO 2 AUTH default",
                "-ERR Syntax error in HELLO option 'AUTH'",
            ),
            (
                "HELLO 2 setname",
                "-ERR Syntax error in HELLO option 'setname'",
            ),
            (
                "HELLO 2 AUTH other x",
                "-WRONGPASS invalid username-password pair or user is disabled.",
            ),
            (
                "HELLO 2 AUTH other x FOO",
                "-WRONGPASS invalid username-password pair or user is disabled.",
            ),
            (
                "HELLO 2 AUTH default x FOO",
                "-ERR Syntax error in HELLO option 'FOO'",
            ),
            ("HELLO", &greeting(3)),
            ("HELLO 2 AUTH default x SETNAME me", &greeting(2)),
            ("CLIENT GETNAME", "\"me\""),
            (
                "HELLO 3 SETNAME you other",
                "-ERR Syntax error in HELLO option 'other'",
            ),
            ("CLIENT GETNAME", "\"you\""),
            ("HELLO 3", &greeting(3)),
            ("RESET", "RESET"),
            ("HELLO", &greeting(2)),
        ]);
    }

    #[test]
    fn passwords() {
        const NO_HELLO: &str = "-NOAUTH HELLO must be called with the client already \
             authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to \
             authenticate the client and select the RESP protocol version at the same time";
        const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.";
        let mut desk = Desk::with_password("sesame");
        for (line, reply, authenticated) in [
            ("HELLO 3", NO_HELLO, false),
            ("HELLO 9", "-NOPROTO unsupported protocol version", false),
            ("HELLO 3 AUTH default no", WRONG, false),
            (
                "HELLO 3 AUTH default sesame FOO",
                "-ERR Syntax error in HELLO option 'FOO'",
                false,
            ),
            ("AUTH no", WRONG, false),
            ("AUTH other sesame", WRONG, false),
            ("AUTH a b c", "-ERR syntax error", false),
            ("AUTH sesame", "OK", true),
            ("AUTH no", WRONG, true),
            ("RESET", "RESET", false),
            ("AUTH default sesame", "OK", true),
        ] {
            assert_eq!(desk.run(line), reply, "{line}");
            assert_eq!(desk.client.authenticated, authenticated, "{line}");
        }
        check(&[
            (
                "AUTH x",
                "-ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ),
            ("AUTH default x", "OK"),
            ("AUTH other x", WRONG),
        ]);
    }

    #[test]
    fn quit_closes() {
        let mut desk = Desk::standalone();
        assert_eq!(desk.run("QUIT"), "OK");
        assert!(desk.client.closing);
    }

    #[test]
    fn native_frames_stay_native() {
        let mut desk = Desk::standalone();
        desk.client.protocol = Protocol::Native;
        assert!(desk.run("HELLO 2").contains("\"proto\": 3"));
        desk.run("RESET");
        assert_eq!(desk.client.protocol, Protocol::Native);
    }
}
