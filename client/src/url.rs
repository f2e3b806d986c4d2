//! Where to connect and with what password, read from a URL or a list of addresses.

use std::str::FromStr;

use crate::error::Error;

/// The port of a node unless an address names another.
pub const PORT: u16 = 7400;

/// The port of a Redis server unless an address names another.
const REDIS_PORT: u16 = 6379;

/// What an address may begin with in this program.
const SCHEMES: &str = match cfg!(feature = "redis") {
    true => "are dht://, redis://, rediss://, redis-cluster:// and rediss-cluster://",
    false => "is dht://, and others with dht-client's feature 'redis'",
};

/// The nodes by which a cluster is found, and the credentials that each of them asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is there, and how it is spoken with.
    pub scheme: Scheme,
    /// `host:port` of client ports; at least one. The first that answers is used.
    pub seeds: Vec<String>,
    /// Sent before anything else on every connection.
    pub credentials: Option<Credentials>,
    /// The number of the database, where servers have several.
    pub database: u16,
}

/// What is at the addresses, and how it is spoken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `dht://`: nodes of dht, in frames.
    Dht,
    /// `redis://`, `valkey://`: anything that speaks the protocol of Redis and has every key.
    Redis,
    /// `rediss://`, `valkeys://`: likewise, through TLS.
    RedisTls,
    /// `redis-cluster://`: nodes of a Redis Cluster, or the redirecting ports of dht.
    Cluster,
    /// `rediss-cluster://`: likewise, through TLS.
    ClusterTls,
}

impl Scheme {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "dht" => Self::Dht,
            "redis" | "valkey" => Self::Redis,
            "rediss" | "valkeys" => Self::RedisTls,
            "redis-cluster" | "valkey-cluster" => Self::Cluster,
            "rediss-cluster" | "valkeys-cluster" => Self::ClusterTls,
            _ => return None,
        })
    }

    const fn port(self) -> u16 {
        match self {
            Self::Dht => PORT,
            _ => REDIS_PORT,
        }
    }
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
    /// or with one of the other [schemes](Scheme), and then `/` and the number of a database.
    /// Percent signs escape, as in any URL.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (scheme, rest) = match text.split_once("://") {
            Some((name, rest)) => match Scheme::named(name) {
                Some(scheme) => (scheme, rest),
                None => return wrong(format!("'{name}://' is not supported; there {SCHEMES}")),
            },
            None => (Scheme::Dht, text),
        };
        let (rest, path) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match (scheme, path.parse()) {
            (_, Ok(0)) => 0,
            (Scheme::Redis | Scheme::RedisTls, Ok(number)) => number,
            _ if path.is_empty() => 0,
            _ => return wrong(format!("there is no database '{path}', only 0")),
        };
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, rest),
        };
        let seeds = hosts.split(',').map(|host| address(host, scheme.port()));
        Ok(Self {
            scheme,
            seeds: seeds.collect::<Result<_, _>>()?,
            credentials: login.map(credentials).transpose()?,
            database,
        })
    }
}

/// `host`, `host:port`, `[ipv6]` or `[ipv6]:port`, made whole.
fn address(text: &str, default_port: u16) -> Result<String, Error> {
    let text = text.trim();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    if host.is_empty() || (!bracketed && host.contains([':', '[', ']'])) {
        return wrong(format!("'{text}' is not host:port"));
    }
    match port.map_or(Ok(default_port), str::parse) {
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
        check("redis://a", &["a:6379"], None);
        check("rediss-cluster://a:1,b", &["a:1", "b:6379"], None);
        check("[::1]:7400,[::1]", &["[::1]:7400", "[::1]:7400"], None);
    }

    #[test]
    fn schemes_and_databases() {
        let check = |text: &str, scheme: Scheme, database: u16| {
            let target: Target = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(
                (target.scheme, target.database),
                (scheme, database),
                "{text}"
            );
        };
        check("h", Scheme::Dht, 0);
        check("dht://h/0", Scheme::Dht, 0);
        check("valkey://h", Scheme::Redis, 0);
        check("redis://h/7", Scheme::Redis, 7);
        check("rediss://h/", Scheme::RedisTls, 0);
        check("redis-cluster://h/0", Scheme::Cluster, 0);
        check("valkeys-cluster://h", Scheme::ClusterTls, 0);
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
            "redis-cluster://h/1",
            "redis://h/x",
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
    fn what_is_not_supported_is_told_with_what_is() {
        let why = "http://h".parse::<Target>().unwrap_err().to_string();
        assert_eq!(why, format!("'http://' is not supported; there {SCHEMES}"));
        assert_eq!(
            why.contains("redis-cluster://"),
            cfg!(feature = "redis"),
            "{why}"
        );
    }

    #[test]
    fn a_password_is_not_shown() {
        let target: Target = "dht://:secret@h".parse().unwrap();
        assert!(!format!("{target:?}").contains("secret"));
    }
}
