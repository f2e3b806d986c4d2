//! The backend that speaks the protocol of Redis, through the `redis` crate: its connections, TLS
//! and parser.
//!
//! Its client of clusters is left aside: it sends a write again when the connection breaks after it
//! was sent. Here a server is one connection that tells the fate of each request, and what follows
//! is decided where it is decided for frames.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dht_proto::{Reply, ReplyError, limits};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    PushInfo, PushKind, RedisConnectionInfo, RedisError, Value,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::backend::{Backend, Keyspace, Life};
use crate::client::random;
use crate::connection::{refuse_rest, unreachable};
use crate::error::{Cause, Error, Result};
use crate::node::Request;
use crate::url::{Scheme, Target};
use crate::verdict::{Backoff, Fate};

pub mod ear;

/// Time for connecting and for the answer to the greeting.
const CONNECT: Duration = Duration::from_secs(2);
/// Pauses after failed connections, in milliseconds; requests that come meanwhile fail at once.
const PAUSE_FIRST_MS: u64 = 20;
const PAUSE_MOST_MS: u64 = 1000;
/// Requests that are sent together at most.
const BATCH: usize = 512;
/// Batches that may wait for their answers.
const FLYING: usize = limits::IN_FLIGHT / BATCH;
/// So many batches one after the other without an answer in time, and the server counts as gone.
const SILENT: usize = 2;

/// Speaks with servers of Redis's protocol, version 3 (Redis 6 and later, Valkey, dht).
#[derive(Clone)]
pub struct Redis {
    keyspace: Keyspace,
    tls: bool,
    login: RedisConnectionInfo,
}

impl Redis {
    /// For a target whose scheme is one of Redis.
    pub fn new(target: &Target) -> Self {
        let tls = matches!(target.scheme, Scheme::RedisTls | Scheme::ClusterTls);
        if tls {
            // What TLS computes with, unless the program has chosen: where several are built in,
            // nobody else would.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(i64::from(target.database));
        if let Some(credentials) = &target.credentials {
            login = login.set_password(&credentials.password);
            if let Some(user) = &credentials.user {
                login = login.set_username(user);
            }
        }
        Self {
            keyspace: match target.scheme {
                Scheme::Cluster | Scheme::ClusterTls => Keyspace::Slots,
                Scheme::Dht | Scheme::Redis | Scheme::RedisTls => Keyspace::Whole,
            },
            tls,
            login,
        }
    }

    /// What the crate needs to know to connect.
    fn client(&self, address: &str) -> Result<redis::Client> {
        let split = address.rsplit_once(':');
        let (host, port) =
            split.ok_or_else(|| Error::Address(format!("'{address}' has no port")))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = port
            .parse()
            .map_err(|_| Error::Address(format!("'{port}' is no port")))?;
        let to = if self.tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = to
            .into_connection_info()
            .map_err(|error| Error::Address(error.to_string()))?;
        redis::Client::open(info.set_redis_settings(self.login.clone()))
            .map_err(|error| Error::Address(error.to_string()))
    }

    async fn connect(&self, address: &str) -> std::result::Result<Open, Fate> {
        let (sender, pushed) = mpsc::unbounded_channel();
        let connection = self.dial(address, sender).await?;
        Ok(Open { connection, pushed })
    }

    /// A connection of its own; what comes unasked is given to `push`.
    async fn dial(
        &self,
        address: &str,
        push: impl AsyncPushSender,
    ) -> std::result::Result<MultiplexedConnection, Fate> {
        let client = self
            .client(address)
            .map_err(|error| unreachable(address, error.to_string()))?;
        let config = AsyncConnectionConfig::new()
            .set_push_sender(push)
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let connecting = timeout_at(Instant::now() + CONNECT, connection).await;
        match connecting {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(refusal(address, &error)),
            Err(_) => Err(unreachable(address, "it does not answer")),
        }
    }
}

/// A connection, and what comes on it without being asked for.
struct Open {
    connection: MultiplexedConnection,
    pushed: mpsc::UnboundedReceiver<PushInfo>,
}

impl Backend for Redis {
    fn keyspace(&self) -> Keyspace {
        self.keyspace
    }

    fn serve(
        &self,
        address: Arc<str>,
        requests: mpsc::Receiver<Request>,
        life: Life,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(serve(self.clone(), address, requests, life))
    }
}

async fn serve(redis: Redis, address: Arc<str>, mut requests: mpsc::Receiver<Request>, life: Life) {
    let mut backoff = Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS);
    let mut resting: Option<(Instant, Fate)> = None;
    while let Some(first) = requests.recv().await {
        if let Some((until, fate)) = &resting
            && Instant::now() < *until
        {
            first.settle(fate.clone());
            continue;
        }
        match redis.connect(&address).await {
            Ok(open) => {
                (backoff, resting) = (Backoff::new(PAUSE_FIRST_MS, PAUSE_MOST_MS), None);
                exchange(&address, open, first, &mut requests).await;
            }
            Err(fate) => {
                tracing::debug!(%address, ?fate, "no connection");
                first.settle(fate.clone());
                resting = Some((Instant::now() + backoff.pause(random()), fate));
            }
        }
        if life == Life::Once {
            return refuse_rest(&address, requests);
        }
    }
}

/// Sends what comes, in batches, until the connection breaks or nobody needs it any more.
async fn exchange(
    address: &str,
    open: Open,
    first: Request,
    requests: &mut mpsc::Receiver<Request>,
) {
    let Open {
        connection,
        mut pushed,
    } = open;
    let mut flying = FuturesUnordered::new();
    flying.push(fly(address, connection.clone(), vec![first]));
    let mut needed = true;
    let mut silent = 0;
    let mut batch = Vec::new();
    while needed || !flying.is_empty() {
        tokio::select! {
            biased;
            Some(end) = flying.next(), if !flying.is_empty() => match end {
                End::Answered => silent = 0,
                End::Silent => silent += 1,
                End::Broken => needed = false,
            },
            // That a connection has ended is noticed before another request is given to it.
            push = pushed.recv(), if needed => {
                let is_end = |push: PushInfo| push.kind == PushKind::Disconnection;
                needed = !push.is_none_or(is_end);
            }
            count = requests.recv_many(&mut batch, BATCH), if needed && flying.len() < FLYING => {
                needed = count > 0;
                let batch = std::mem::take(&mut batch);
                flying.push(fly(address, connection.clone(), batch));
            }
        }
        // What is on its way settles itself; what has not been taken gets a new connection.
        needed &= silent < SILENT;
    }
}

/// How a batch has ended.
enum End {
    Answered,
    Silent,
    Broken,
}

/// Sends a batch and settles each of its requests.
async fn fly(address: &str, mut connection: MultiplexedConnection, batch: Vec<Request>) -> End {
    let now = Instant::now();
    let (batch, late): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .partition(|request| now < request.deadline);
    for request in late {
        request.settle(Fate::NotSent(Cause::Deadline));
    }
    let Some(deadline) = batch.iter().map(|request| request.deadline).max() else {
        return End::Answered;
    };
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    for request in &batch {
        if request.asking {
            pipeline.cmd("ASKING");
        }
        let mut command = redis::Cmd::with_capacity(request.words().len(), 0);
        for word in request.words() {
            command.arg(&word[..]);
        }
        pipeline.add_command(command);
    }
    let replies = batch.len() + batch.iter().filter(|request| request.asking).count();
    let sending = pin!(connection.send_packed_commands(&pipeline, 0, replies));
    let (fate, end) = match timeout_at(deadline, sending).await {
        Ok(Ok(values)) if values.len() == replies => {
            let mut values = values.into_iter();
            for request in batch {
                let skipped = usize::from(request.asking);
                let value = values.nth(skipped).unwrap_or_default();
                request.settle(Fate::Answered(reply(value)));
            }
            return End::Answered;
        }
        Ok(Ok(_)) => (broken(address, "answers are missing"), End::Broken),
        Ok(Err(error)) => (broken(address, &error.to_string()), End::Broken),
        Err(_) => (Fate::Lost(Cause::Deadline), End::Silent),
    };
    for request in batch {
        request.settle(fate.clone());
    }
    end
}

fn broken(address: &str, why: &str) -> Fate {
    Fate::Lost(Cause::Broken {
        address: address.to_owned(),
        why: why.to_owned(),
    })
}

/// Why there is no connection. A server that refuses who calls has answered.
fn refusal(address: &str, error: &RedisError) -> Fate {
    let detail = error.detail().unwrap_or_default();
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) => {
            let text = match detail.split_once(' ') {
                Some((code, _)) if code.chars().all(|c| c.is_ascii_uppercase()) => {
                    detail.to_owned()
                }
                _ => format!("WRONGPASS {detail}"),
            };
            Fate::Answered(Reply::Error(ReplyError::Received(text)))
        }
        (ErrorKind::Server(_) | ErrorKind::Extension, Some(code)) => {
            let text = format!("{code} {detail}");
            Fate::Answered(Reply::Error(ReplyError::Received(text)))
        }
        _ => unreachable(address, error.to_string()),
    }
}

/// The same value as replies are known here.
fn reply(value: Value) -> Reply {
    let all = |values: Vec<Value>| values.into_iter().map(reply).collect();
    match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Int(number),
        Value::BulkString(bytes) => Reply::Bulk(bytes.into()),
        Value::Array(values) => Reply::Array(all(values)),
        Value::SimpleString(text) => Reply::Status(text.into()),
        Value::Okay => Reply::Ok,
        Value::Map(pairs) => {
            let pair = |(key, value)| (reply(key), reply(value));
            Reply::Map(pairs.into_iter().map(pair).collect())
        }
        Value::Attribute { data, .. } => reply(*data),
        Value::Set(values) => Reply::Set(all(values)),
        Value::Double(number) => Reply::Double(number),
        Value::Boolean(yes) => Reply::Bool(yes),
        Value::VerbatimString { text, .. } => Reply::Text(text.into()),
        Value::BigNumber(digits) => Reply::Bulk(digits.into()),
        Value::Push { data, .. } => Reply::Array(all(data)),
        Value::ServerError(error) => {
            let text = match error.details() {
                Some(details) => format!("{} {details}", error.code()),
                None => error.code().to_owned(),
            };
            Reply::Error(ReplyError::Received(text))
        }
        // A kind of value that the crate may learn.
        other => Reply::Bulk(Bytes::from(format!("{other:?}"))),
    }
}
