//! Drives one client library: `libraries LIBRARY URL COMMAND DEPTH CALLS`. Many tasks share one
//! client. Prints calls a second, and CPU microseconds of this process by call.
//!
//! LIBRARY is `dht`, `redis` or `fred`, COMMAND `HSET`, `HGET` or `GET`. At a DEPTH of 1 each task
//! makes one call after the other, else so many travel together in a pipeline.

use std::error::Error;
use std::time::{Duration, Instant};

use dht_client::Client;
use fred::prelude::{Builder, ClientLike, Config, HashesInterface, KeysInterface};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use rustix::time::{ClockId, clock_gettime};

const TASKS: u64 = 50;
const KEYS: u64 = 100_000;
const FIELD: &str = "name";
const VALUE: &str = "Alice";

type Failed = Box<dyn Error + Send + Sync>;

#[derive(Clone)]
enum Library {
    Dht(Client),
    Redis(MultiplexedConnection),
    Fred(fred::clients::Client),
}

#[derive(Clone, Copy)]
enum Command {
    Hset,
    Hget,
    Get,
}

fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [library, url, command, depth, calls] = words.as_slice() else {
        return Err("usage: libraries LIBRARY URL COMMAND DEPTH CALLS".into());
    };
    let command = match command.as_str() {
        "HSET" => Command::Hset,
        "HGET" => Command::Hget,
        "GET" => Command::Get,
        other => return Err(format!("no command is called {other}").into()),
    };
    let (depth, calls) = (depth.parse()?, calls.parse()?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let library = Library::connect(library, url).await?;
        // Routes, connections and memory are there before anything is measured.
        drive(&library, command, depth, calls / 10).await?;
        let (start, before) = (Instant::now(), cpu()?);
        drive(&library, command, depth, calls).await?;
        let (took, used) = (start.elapsed(), cpu()?.saturating_sub(before));
        let count = calls as f64;
        let rate = count / took.as_secs_f64();
        println!("{rate} {}", used.as_secs_f64() * 1e6 / count);
        Ok(())
    })
}

/// What this process has used of the processors so far.
fn cpu() -> Result<Duration, Failed> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}

/// Makes so many calls, spread over the tasks.
async fn drive(library: &Library, command: Command, depth: u64, calls: u64) -> Result<(), Failed> {
    let tasks = (0..TASKS).map(|task| {
        let library = library.clone();
        tokio::spawn(async move {
            let mut keys = Keys(task + 1);
            for _ in 0..calls / TASKS / depth {
                match depth {
                    1 => library.call(command, &mut keys).await?,
                    _ => library.send(command, &mut keys, depth).await?,
                }
            }
            Ok::<(), Failed>(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}

/// Random keys, the same for all libraries.
struct Keys(u64);

impl Keys {
    fn next(&mut self, command: Command) -> String {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let number = self.0 % KEYS;
        match command {
            Command::Hset | Command::Hget => format!("hash:{number}"),
            Command::Get => format!("string:{number}"),
        }
    }
}

impl Library {
    async fn connect(name: &str, url: &str) -> Result<Self, Failed> {
        Ok(match name {
            "dht" => Self::Dht(Client::connect(url).await?),
            "redis" => {
                let client = redis::Client::open(url)?;
                Self::Redis(client.get_multiplexed_async_connection().await?)
            }
            "fred" => {
                let client = Builder::from_config(Config::from_url(url)?).build()?;
                client.init().await?;
                Self::Fred(client)
            }
            other => return Err(format!("no library is called {other}").into()),
        })
    }

    /// One call.
    async fn call(&self, command: Command, keys: &mut Keys) -> Result<(), Failed> {
        let key = keys.next(command);
        match (self, command) {
            (Self::Dht(client), Command::Hset) => {
                client.hset(key, [(FIELD, VALUE)]).await?;
            }
            (Self::Dht(client), Command::Hget) => drop(client.hget(key, FIELD).await?),
            (Self::Dht(client), Command::Get) => drop(client.get(key).await?),
            (Self::Redis(client), Command::Hset) => {
                let _: i64 = client.clone().hset(key, FIELD, VALUE).await?;
            }
            (Self::Redis(client), Command::Hget) => {
                let _: Option<Vec<u8>> = client.clone().hget(key, FIELD).await?;
            }
            (Self::Redis(client), Command::Get) => {
                let _: Option<Vec<u8>> = client.clone().get(key).await?;
            }
            (Self::Fred(client), Command::Hset) => {
                let _: i64 = client.hset(key, (FIELD, VALUE)).await?;
            }
            (Self::Fred(client), Command::Hget) => {
                let _: Option<Vec<u8>> = client.hget(key, FIELD).await?;
            }
            (Self::Fred(client), Command::Get) => {
                let _: Option<Vec<u8>> = client.get(key).await?;
            }
        }
        Ok(())
    }

    /// So many calls in one pipeline.
    async fn send(&self, command: Command, keys: &mut Keys, depth: u64) -> Result<(), Failed> {
        let keys = (0..depth).map(|_| keys.next(command));
        match self {
            Self::Dht(client) => {
                let pipeline = keys.fold(client.pipeline(), |pipeline, key| match command {
                    Command::Hset => pipeline.hset(key, [(FIELD, VALUE)]),
                    Command::Hget => pipeline.hget(key, FIELD),
                    Command::Get => pipeline.get(key),
                });
                for result in pipeline.send().await {
                    result?;
                }
            }
            Self::Redis(client) => {
                let mut pipeline = redis::Pipeline::new();
                for key in keys {
                    match command {
                        Command::Hset => pipeline.hset(key, FIELD, VALUE),
                        Command::Hget => pipeline.hget(key, FIELD),
                        Command::Get => pipeline.get(key),
                    };
                }
                let _: Vec<redis::Value> = pipeline.query_async(&mut client.clone()).await?;
            }
            Self::Fred(client) => {
                let pipeline = client.pipeline();
                for key in keys {
                    // What is queued answers at once.
                    let _: fred::types::Value = match command {
                        Command::Hset => pipeline.hset(key, (FIELD, VALUE)).await?,
                        Command::Hget => pipeline.hget(key, FIELD).await?,
                        Command::Get => pipeline.get(key).await?,
                    };
                }
                for result in pipeline.try_all::<fred::types::Value>().await {
                    result?;
                }
            }
        }
        Ok(())
    }
}
