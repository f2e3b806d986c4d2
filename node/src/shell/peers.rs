//! How links between nodes come about: dialling, answering, and the handshake on both sides. Before
//! it is over, nothing that arrives reaches the core.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dht_proto::frame::{self, Role};
use dht_proto::limits;
use dht_proto::peer::{Acceptor, Dialer, PeerError, PeerHello, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::link::OpenLink;
use super::listener::{self, tune};
use super::{Shell, random};
use crate::core::client::{Door, Protocol};

/// Time for connecting and for the handshake together.
const DIAL: Duration = Duration::from_secs(2);
/// The pause after the first failure to dial; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Answers a node that has sent the preface of one, and serves it until the link ends.
pub async fn serve(
    shell: Arc<Shell>,
    mut stream: TcpStream,
    addr: SocketAddr,
    deadline: Instant,
) -> io::Result<()> {
    let mut acceptor = Acceptor::new(secret(&shell), random()?, shell.cluster.hello());
    let handshake = shake_hands(&mut stream, |frame| acceptor.on_frame(frame));
    let hello = timeout_at(deadline, handshake).await??;
    if shell.node.settings.standalone {
        warn!(%addr, "a node wanted to join, but this one was started alone; start it with --join");
        return Ok(());
    }
    debug!(%addr, node = %hello.member.id, "a node has connected");
    let session = listener::session(&shell, &stream, addr, (Door::Peer, Protocol::Native))?;
    Connection::new(shell, stream, session, None).run().await;
    Ok(())
}

/// Keeps a link to the node at a seat, until it turns out to be this one.
pub async fn keep_linked(shell: Arc<Shell>, seat: String) {
    let mut pause = FIRST_PAUSE;
    let mut last_failure = String::new();
    loop {
        let failure = match timeout(DIAL, dial(&shell, &seat)).await {
            Ok(Ok((stream, hello))) => match shell.cluster.link_up(&seat, &hello) {
                Ok(None) => return,
                Ok(Some(errands)) => {
                    let node = hello.member.id;
                    info!(seat, %node, "link up");
                    let error = OpenLink::new(stream, errands, &shell.clock).run().await;
                    shell.cluster.link_down(&seat, node);
                    warn!(seat, %node, %error, "link down");
                    pause = FIRST_PAUSE;
                    String::new()
                }
                Err(refusal) => format!("not of this cluster: {refusal}"),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if !failure.is_empty() && failure != last_failure {
            warn!(seat, failure, "no link");
        }
        last_failure = failure;
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn dial(shell: &Shell, seat: &str) -> io::Result<(TcpStream, PeerHello)> {
    let mut stream = TcpStream::connect(seat).await?;
    tune(&stream)?;
    let mut dialer = Dialer::new(secret(shell), random()?, shell.cluster.hello());
    stream.write_all(&frame::preface(Role::Peer)).await?;
    stream.write_all(&dialer.challenge()).await?;
    let hello = shake_hands(&mut stream, |frame| dialer.on_frame(frame)).await?;
    Ok((stream, hello))
}

fn secret(shell: &Shell) -> &[u8] {
    shell.cluster.secret.as_bytes()
}

/// Exchanges frames until both sides know each other.
async fn shake_hands(
    stream: &mut TcpStream,
    mut on_frame: impl FnMut(&[u8]) -> Result<Step, PeerError>,
) -> io::Result<PeerHello> {
    loop {
        let frame = read_frame(stream).await?;
        match on_frame(&frame).map_err(io::Error::other)? {
            Step::Send(answer) => stream.write_all(&answer).await?,
            Step::Done { send, hello } => {
                stream.write_all(&send).await?;
                return Ok(*hello);
            }
        }
    }
}

async fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    if length as usize > limits::HANDSHAKE_BYTES {
        return Err(io::Error::other("a frame too long for a handshake"));
    }
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

/// Between a half and the whole, so that nodes that lost each other do not meet in step.
fn jittered(pause: Duration) -> Duration {
    let random = random::<1>().map_or(0, |[byte]| u32::from(byte));
    pause / 2 + pause * random / 512
}
