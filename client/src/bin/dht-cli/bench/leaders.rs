//! Where requests go: opening connections, and asking a cluster who leads what.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use dht_client::{Cause, Credentials, Error, Routes, Target};
use dht_proto::resp::{ReplyReader, encode_request};
use dht_proto::slot::SLOTS;
use dht_proto::{Reply, ReplyError};

use super::batch::Template;

/// Time for a connection to open, and for each answer before the load begins.
const PATIENCE: Duration = Duration::from_secs(5);

/// The servers that get load.
#[derive(Debug)]
pub struct Leaders {
    /// `host:port`; at least one.
    pub addresses: Vec<String>,
    /// In a cluster, the index of each slot's leader.
    pub of_slots: Option<Arc<[Option<usize>]>>,
}

impl Leaders {
    /// The first of the named servers that answers, whatever the keys.
    ///
    /// # Errors
    /// None answers, or the password is wrong.
    pub fn one(target: &Target) -> Result<Self, Error> {
        let (address, _) = first_of(target)?;
        Ok(Self {
            addresses: vec![address],
            of_slots: None,
        })
    }

    /// The leaders of the cluster behind the target, but for those that none of these requests
    /// concerns.
    ///
    /// # Errors
    /// As of [`one`](Self::one), and the server knows no leaders.
    pub fn of_cluster(target: &Target, template: &Template, keys: u64) -> Result<Self, Error> {
        let (address, mut stream) = first_of(target)?;
        let reply = ask(&mut stream, &address, &["CLUSTER", "SLOTS"])?;
        let Some(routes) = Routes::from_reply(&reply, &address) else {
            let wanted = "a list of slots and their leaders";
            return Err(Error::Mismatch { wanted, reply });
        };
        let leaders: BTreeSet<&Arc<str>> = (0..SLOTS)
            .filter_map(|slot| routes.leader_of(slot))
            .collect();
        let mut addresses: Vec<String> = Vec::new();
        for leader in template
            .slots(keys)
            .filter_map(|slot| routes.leader_of(slot))
        {
            if !addresses.iter().any(|address| **address == **leader) {
                addresses.push(leader.to_string());
            }
            if addresses.len() == leaders.len() {
                break;
            }
        }
        if addresses.is_empty() {
            let why = "no leader is known for any of the keys".into();
            return Err(Error::NotDone(Cause::Cluster(ReplyError::ClusterDown(why))));
        }
        let of_slot = |slot| {
            let leader = routes.leader_of(slot)?;
            addresses.iter().position(|address| **address == **leader)
        };
        Ok(Self {
            of_slots: Some((0..SLOTS).map(of_slot).collect()),
            addresses,
        })
    }
}

/// A connection to the first server of the target that can be reached, and its address.
fn first_of(target: &Target) -> Result<(String, TcpStream), Error> {
    let mut last = Error::Address("no address is given".to_owned());
    for address in &target.seeds {
        match open(address, target.credentials.as_ref()) {
            Ok(stream) => return Ok((address.clone(), stream)),
            Err(error) if error.is_unreachable() => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// A connection that is ready for requests.
///
/// # Errors
/// Nobody answers there, or the password is wrong.
pub fn open(address: &str, credentials: Option<&Credentials>) -> Result<TcpStream, Error> {
    let mut stream = connect(address).map_err(|error| {
        Error::NotDone(Cause::Unreachable {
            address: address.to_owned(),
            why: error.to_string(),
        })
    })?;
    if let Some(Credentials { user, password }) = credentials {
        let words = [Some("AUTH"), user.as_deref(), Some(password)];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        ask(&mut stream, address, &words)?;
    }
    // A server may close a connection on which nothing was said for some time.
    ask(&mut stream, address, &["PING"])?;
    Ok(stream)
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for place in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends a command on a connection on which nothing else is under way, and awaits its reply.
fn ask(stream: &mut TcpStream, address: &str, words: &[&str]) -> Result<Reply, Error> {
    let reply = exchange(stream, words).map_err(|error| {
        Error::NotDone(Cause::Broken {
            address: address.to_owned(),
            why: error.to_string(),
        })
    })?;
    match reply {
        Reply::Error(error) => Err(Error::Reply(error)),
        reply => Ok(reply),
    }
}

fn exchange(stream: &mut TcpStream, words: &[&str]) -> io::Result<Reply> {
    let mut request = BytesMut::new();
    encode_request(words, &mut request);
    stream.write_all(&request)?;
    let (mut reader, mut input, mut piece) = (ReplyReader::default(), BytesMut::new(), [0; 4096]);
    loop {
        let malformed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if let Some(reply) = reader.read(&mut input).map_err(malformed)? {
            return Ok(reply);
        }
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => input.extend_from_slice(&piece[..length]),
        }
    }
}
