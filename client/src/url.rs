//! Where to connect and with what password, read from a URL or a list of addresses.

use std::str::FromStr;

use crate::error::Error;

/// The port of a node unless an address names another.
pub const PORT: u16 = 7400;

/// The nodes by which a cluster is found, and the credentials that each of them asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host:port` of client ports; at least one. The first that answers is used.
    pub seeds: Vec<String>,
    /// Sent before anything else on every connection.
    pub credentials: Option<Credentials>,
}

/// What a node asks of its clients.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user, where one is named.
    pub user: Option<String>,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials(user: {:?})", self.user)
    }
}

impl FromStr for Target {
    type Err = Error;

    /// Reads `dht://[[user]:password@]host[:port][,host[:port]…]`, or the same without the scheme;
    /// `redis://` and `valkey://` are taken too, with a database 0 or none. Percent signs escape,
    /// as in any URL.
    fn from_str(text: &str) -> Result<Self, Error> {
        let rest = match text.split_once("://") {
            Some(("dht" | "redis" | "valkey", rest)) => rest,
            Some((scheme, _)) => {
                return wrong(format!("'{scheme}://' is not supported; use dht://"));
            }
            None => text,
        };
        let (rest, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(path, "" | "0") {
            return wrong(format!("there is no database '{path}', only 0"));
        }
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, rest),
        };
        Ok(Self {
            seeds: hosts.split(',').map(address).collect::<Result<_, _>>()?,
            credentials: login.map(credentials).transpose()?,
        })
    }
}

/// `host`, `host:port`, `[ipv6]` or `[ipv6]:port`, made whole.
fn address(text: &str) -> Result<String, Error> {
    let text = text.trim();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    if host.is_empty() || (!bracketed && host.contains([':', '[', ']'])) {
        return wrong(format!("'{text}' is not host:port"));
    }
    match port.map_or(Ok(PORT), str::parse) {
        Ok(port) if port > 0 => Ok(format!("{host}:{port}")),
        _ => wrong(format!("'{text}' has no valid port")),
    }
}

fn credentials(login: &str) -> Result<Credentials, Error> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    if password.is_empty() {
        return wrong("a password is written as dht://:password@host".to_owned());
    }
    let user = unescaped(user)?;
    Ok(Credentials {
        user: (!user.is_empty()).then_some(user),
        password: unescaped(password)?,
    })
}

fn unescaped(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = after.get(..2).and_then(|two| str::from_utf8(two).ok());
        match digits.map(|two| u8::from_str_radix(two, 16)) {
            Some(Ok(byte)) => bytes.push(byte),
            _ => return wrong("a '%' in a URL is followed by two hexadecimal digits".to_owned()),
        }
        rest = &after[2..];
    }
    String::from_utf8(bytes).or_else(|_| wrong("the URL is not UTF-8".to_owned()))
}

const fn wrong<T>(why: String) -> Result<T, Error> {
    Err(Error::Address(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let check = |text: &str, seeds: &[&str], login: Option<(Option<&str>, &str)>| {
            let target: Target = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(target.seeds, seeds, "{text}");
            let credentials = login.map(|(user, password)| Credentials {
                user: user.map(str::to_owned),
                password: password.to_owned(),
            });
            assert_eq!(target.credentials, credentials, "{text}");
        };
        check("localhost", &["localhost:7400"], None);
        check("a:1, b:2,c", &["a:1", "b:2", "c:7400"], None);
        check("dht://127.0.0.1:7401", &["127.0.0.1:7401"], None);
        check("redis://h:6379/0", &["h:6379"], None);
        check("dht://:p%40ss@h/", &["h:7400"], Some((None, "p@ss")));
        check("dht://me:a:b@c@h", &["h:7400"], Some((Some("me"), "a:b@c")));
        check("[::1]:7400,[::1]", &["[::1]:7400", "[::1]:7400"], None);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "a,,b",
            "h:0",
            "h:x",
            "h:65536",
            ":1",
            "::1",
            "http://h",
            "h/1",
            "me@h",
            ":@h",
            "dht://:%zz@h",
            "dht://:%f@h",
            "dht://:%ff@h",
            "[]:1",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let target: Target = "dht://:secret@h".parse().unwrap();
        assert!(!format!("{target:?}").contains("secret"));
    }
}
