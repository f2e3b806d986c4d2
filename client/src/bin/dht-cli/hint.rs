//! What to do next where a server was not reached: it is looked at what is there instead.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use dht_client::{Cause, Error, Scheme};

/// How long what is there may take to say something.
const PATIENCE: Duration = Duration::from_millis(500);
/// The first byte of what a server says through TLS that was not asked by TLS.
const TLS_ALERT: u8 = 21;

const NOBODY: &str = "Is a node running there? Start one, or name another with -h HOST -p PORT.\n";

/// What is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nobody,
    /// It says nothing: it may be anything that hangs.
    Silent,
    /// It speaks the protocol of Redis, and is not a node of dht.
    Redis,
    /// A node of dht.
    Node,
    Tls,
    Something,
}

/// What to say about an error besides what it says itself; nothing, or a line.
pub fn hint(error: &Error, scheme: Scheme) -> String {
    let (Error::NotDone(cause) | Error::Unknown(cause)) = error else {
        return String::new();
    };
    let (Cause::Unreachable { address, .. } | Cause::Broken { address, .. }) = cause else {
        return String::new();
    };
    match look(address) {
        Found::Nobody if error.is_unreachable() => NOBODY.to_owned(),
        found => told(scheme, found, address),
    }
}

/// What to do where this was looked for, and that was found.
fn told(scheme: Scheme, found: Found, address: &str) -> String {
    let is_tls = matches!(scheme, Scheme::RedisTls | Scheme::ClusterTls);
    match (scheme, found) {
        (Scheme::Dht, Found::Redis | Found::Something) => format!(
            "Something there does not speak the native protocol of dht. If it is a Redis, try \
             -u redis://{address}\n"
        ),
        (Scheme::Dht, Found::Tls) => {
            format!("Something there speaks TLS. If it is a Redis, try -u rediss://{address}\n")
        }
        (_, Found::Redis | Found::Node) if is_tls => {
            let plain = match scheme {
                Scheme::ClusterTls => "redis-cluster",
                _ => "redis",
            };
            format!("What is there speaks without TLS: try {plain}://{address}\n")
        }
        (Scheme::Redis | Scheme::Cluster, Found::Tls | Found::Something) => {
            let tls = match scheme {
                Scheme::Cluster => "rediss-cluster",
                _ => "rediss",
            };
            format!("If what is there speaks TLS, try {tls}://{address}\n")
        }
        _ => String::new(),
    }
}

/// Asks what is there in the protocol of Redis, which a person could type as well.
fn look(address: &str) -> Found {
    let connected = || -> std::io::Result<TcpStream> {
        let mut addresses = address.to_socket_addrs()?;
        let first = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&first, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    let Ok(mut stream) = connected() else {
        return Found::Nobody;
    };
    let mut answer = vec![0; 4096];
    let asked = stream.write_all(b"INFO server\r\n");
    match asked.and_then(|()| stream.read(&mut answer)) {
        Ok(length) => found(&answer[..length]),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Found::Silent,
        // Who breaks it off has understood something else.
        Err(_) => Found::Something,
    }
}

fn found(answer: &[u8]) -> Found {
    let is_node = || answer.windows(12).any(|part| part == b"dht_version:");
    match answer.first() {
        Some(b'$' | b'=') if is_node() => Found::Node,
        Some(b'$' | b'=' | b'-' | b'+') => Found::Redis,
        Some(&TLS_ALERT) => Found::Tls,
        _ => Found::Something,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_says_what_to_try() {
        let check = |scheme, answer: &[u8], expect: &str| {
            let told = told(scheme, found(answer), "h:1");
            assert!(told.contains(expect), "{scheme:?}: {told}");
            assert_eq!(told.is_empty(), expect.is_empty(), "{scheme:?}: {told}");
        };
        let (redis, node) = (&b"$9\r\nredis_version:7"[..], &b"$9\r\ndht_version:1"[..]);
        check(Scheme::Dht, redis, "-u redis://h:1");
        check(Scheme::Dht, b"-NOAUTH who?\r\n", "-u redis://h:1");
        check(Scheme::Dht, b"", "does not speak the native protocol");
        check(Scheme::Dht, node, "");
        check(Scheme::Dht, b"\x15\x03\x01", "-u rediss://h:1");
        check(Scheme::RedisTls, redis, "without TLS: try redis://h:1");
        check(Scheme::RedisTls, node, "without TLS: try redis://h:1");
        check(Scheme::ClusterTls, redis, "try redis-cluster://h:1");
        check(Scheme::Redis, b"\x15\x03\x01", "try rediss://h:1");
        check(Scheme::Cluster, b"\x15\x03\x01", "try rediss-cluster://h:1");
        check(Scheme::Redis, b"", "try rediss://h:1");
        check(Scheme::RedisTls, b"\x15\x03\x01", "");
    }
}
