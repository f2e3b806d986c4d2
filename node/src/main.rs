//! `dht-node`: a node as a process. It reads the configuration, sets up logging and memory, and
//! waits for a signal.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use dht_node::config::LogFormat;
use dht_node::{Asked, Config, Failure, Listeners};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a thread that has done work that takes long is kept for more of it. What it has
/// allocated and others have freed goes back to the system with it.
const THREAD_KEEP_ALIVE: Duration = Duration::from_millis(50);
/// mimalloc's option `purge_delay`, by its number in mimalloc.h.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// After how many milliseconds memory that is free goes back to the system, after ten times as many
/// if it was used as a whole. By default, 10: large values that are replaced quickly then take half
/// as much again as what is kept.
const PURGE_DELAY_MS: std::ffi::c_long = 1;

/// File descriptors that a node needs besides those of clients.
const OTHER_FILES: u64 = 128;

fn main() -> ExitCode {
    // SAFETY: the option may be set at any time, and there is no other precondition.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
    let config = match Config::from_args(std::env::args_os()) {
        Ok(config) => config,
        Err(answer) if answer.is_answer() => {
            print!("{answer}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return usage(&error),
    };
    let filter = match EnvFilter::try_new(&config.log) {
        Ok(filter) => filter,
        Err(error) => return usage(&format_args!("--log {}: {error}", config.log)),
    };
    log_to_stderr(filter, config.log_format);
    loop {
        match run(&config) {
            Ok(Ending::Asked) => return ExitCode::SUCCESS,
            Ok(Ending::StartAgain) => (),
            Err(error) => {
                eprintln!("dht-node: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}

/// How a node has ended.
enum Ending {
    /// It was told to.
    Asked,
    /// It has lost its data, and begins anew.
    StartAgain,
}

fn usage(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("dht-node: {error}");
    ExitCode::from(2)
}

fn log_to_stderr(filter: EnvFilter, format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

fn run(config: &Config) -> io::Result<Ending> {
    raise_file_limit(config.max_clients);
    let listeners = Listeners::bind(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .worker_threads(config.threads())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut running = dht_node::start(config, listeners)?;
        let asked = running.asked();
        let how = tokio::select! {
            _ = terminate.recv() => {
                info!("terminated: ending");
                Asked::InOrder
            }
            _ = interrupt.recv() => {
                info!("interrupted: ending");
                Asked::InOrder
            }
            how = asked => {
                info!("a client said SHUTDOWN: ending");
                how
            }
            failure = running.failed() => return match failure {
                Failure::Fatal(why) => Err(io::Error::other(why)),
                Failure::StartAgain => Ok(Ending::StartAgain),
            },
        };
        let ended = async {
            match how {
                Asked::InOrder => running.shutdown().await,
                Asked::AtOnce => running.shutdown_now().await,
            }
        };
        tokio::select! {
            () = ended => info!("ended"),
            _ = interrupt.recv() => warn!("interrupted again: cut off"),
        }
        Ok(Ending::Asked)
    })
}

/// As many file descriptors as the clients need, or as there may be.
fn raise_file_limit(clients: usize) {
    let wanted = clients as u64 + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current.unwrap_or(u64::MAX);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if before >= wanted {
        return;
    }
    limit.current = Some(wanted.min(most));
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) if most >= wanted => info!(before, now = wanted, "raised the limit of open files"),
        Ok(()) => warn!(
            most,
            wanted, "the limit of open files does not allow for --max-clients"
        ),
        Err(error) => warn!(%error, wanted, "cannot raise the limit of open files"),
    }
}
