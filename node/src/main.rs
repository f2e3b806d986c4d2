//! `dht-node`: a node as a process. It reads the configuration, sets up logging and memory, and
//! waits for a signal.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use dht_node::config::LogFormat;
use dht_node::{Config, Listeners};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// File descriptors that a node needs besides those of clients.
const OTHER_FILES: u64 = 128;

fn main() -> ExitCode {
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
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dht-node: {error}");
            ExitCode::FAILURE
        }
    }
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

fn run(config: &Config) -> io::Result<()> {
    raise_file_limit(config.max_clients);
    let listeners = Listeners::bind(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let running = dht_node::start(config, listeners)?;
        tokio::select! {
            _ = terminate.recv() => info!("terminated: ending"),
            _ = interrupt.recv() => info!("interrupted: ending"),
        }
        tokio::select! {
            () = running.shutdown() => info!("ended"),
            _ = interrupt.recv() => warn!("interrupted again: cut off"),
        }
        Ok(())
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
