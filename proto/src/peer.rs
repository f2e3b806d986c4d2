//! The handshake of a link between two nodes: both prove that they know the cluster's secret, then
//! each says who it is. Fresh random nonces are handed in; nothing here waits or sends.
//!
//! ```text
//! dialer                                acceptor
//!    |  its nonce                           |
//!    |------------------------------------->|
//!    |  its nonce, proof of the acceptor    |
//!    |<-------------------------------------|
//!    |  proof of the dialer, its hello      |
//!    |------------------------------------->|
//!    |  its hello                           |
//!    |<-------------------------------------|
//! ```
//!
//! A proof is HMAC-SHA256, with the secret as its key, over a label of the role, the dialer's nonce
//! and the acceptor's. The label makes it useless for the other role, the nonces on any other
//! connection. A hello is sent only after the other side's proof was checked. What follows is
//! neither encrypted nor signed.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use sha2::Sha256;

use crate::frame::{self, Malformed};
use crate::msgpack::message_pack;
use crate::topology::NodeId;

/// Random bytes that were never used before.
pub type Nonce = [u8; 32];

/// What a node says of itself to one that has proved to belong to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerHello {
    /// Who it is.
    pub node: NodeId,
    /// Where it is reached: `host:port`.
    pub client: String,
    /// It was started alone and takes part in no cluster.
    pub alone: bool,
}

/// What to do after a frame. What is to be sent is whole frames, their lengths included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this and wait for the next frame.
    Send(Bytes),
    /// Send this, if it is not empty; the handshake is over and the link is open.
    Done {
        /// To be sent.
        send: Bytes,
        /// What the other side says of itself.
        hello: PeerHello,
    },
}

/// Why a handshake failed; the connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerError {
    /// The other side does not know the cluster's secret.
    WrongSecret,
    /// The other side does not follow the handshake.
    Malformed(Malformed),
    /// A frame after the end, or after a failure.
    Over,
}

impl From<Malformed> for PeerError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongSecret => f.write_str("the other node has another cluster secret"),
            Self::Malformed(malformed) => write!(f, "malformed handshake: {malformed}"),
            Self::Over => f.write_str("the handshake is over"),
        }
    }
}

impl std::error::Error for PeerError {}

/// The side that opened the connection.
pub struct Dialer {
    own: Own,
    phase: DialerPhase,
}

enum DialerPhase {
    AwaitAnswer,
    AwaitHello,
    Over,
}

/// The side that was connected to.
pub struct Acceptor {
    own: Own,
    phase: AcceptorPhase,
}

enum AcceptorPhase {
    AwaitChallenge,
    AwaitProof { dialer: Nonce },
    Over,
}

struct Own {
    secret: Vec<u8>,
    nonce: Nonce,
    hello: PeerHello,
}

#[derive(Serialize, Deserialize)]
struct Challenge {
    nonce: ByteArray<32>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    nonce: ByteArray<32>,
    proof: ByteArray<32>,
}

#[derive(Serialize, Deserialize)]
struct Introduction {
    proof: ByteArray<32>,
    /// The hello, which is not looked at before the proof was checked.
    hello: ByteBuf,
}

const DIALER: &[u8] = b"dht peer dialer 1";
const ACCEPTOR: &[u8] = b"dht peer acceptor 1";

impl Dialer {
    /// Begins a handshake.
    #[must_use]
    pub fn new(secret: &[u8], nonce: Nonce, hello: PeerHello) -> Self {
        Self {
            own: Own::new(secret, nonce, hello),
            phase: DialerPhase::AwaitAnswer,
        }
    }

    /// The frame with which the handshake begins; sent behind the preface.
    #[must_use]
    pub fn challenge(&self) -> Bytes {
        let nonce = ByteArray::new(self.own.nonce);
        frame_of(&Challenge { nonce })
    }

    /// Takes a frame from the acceptor.
    ///
    /// # Errors
    /// The connection has to be closed.
    pub fn on_frame(&mut self, mut frame: &[u8]) -> Result<Step, PeerError> {
        match std::mem::replace(&mut self.phase, DialerPhase::Over) {
            DialerPhase::AwaitAnswer => {
                let Answer { nonce, proof } = read(&mut frame)?;
                self.own.check(ACCEPTOR, &self.own.nonce, &nonce, &proof)?;
                self.phase = DialerPhase::AwaitHello;
                Ok(Step::Send(frame_of(&Introduction {
                    proof: self.own.prove(DIALER, &self.own.nonce, &nonce),
                    hello: ByteBuf::from(message(&self.own.hello)),
                })))
            }
            DialerPhase::AwaitHello => Ok(Step::Done {
                send: Bytes::new(),
                hello: read(&mut frame)?,
            }),
            DialerPhase::Over => Err(PeerError::Over),
        }
    }
}

impl Acceptor {
    /// Waits for a dialer's challenge.
    #[must_use]
    pub fn new(secret: &[u8], nonce: Nonce, hello: PeerHello) -> Self {
        Self {
            own: Own::new(secret, nonce, hello),
            phase: AcceptorPhase::AwaitChallenge,
        }
    }

    /// Takes a frame from the dialer.
    ///
    /// # Errors
    /// The connection has to be closed.
    pub fn on_frame(&mut self, mut frame: &[u8]) -> Result<Step, PeerError> {
        match std::mem::replace(&mut self.phase, AcceptorPhase::Over) {
            AcceptorPhase::AwaitChallenge => {
                let Challenge { nonce } = read(&mut frame)?;
                let dialer = nonce.into_array();
                self.phase = AcceptorPhase::AwaitProof { dialer };
                Ok(Step::Send(frame_of(&Answer {
                    nonce: ByteArray::new(self.own.nonce),
                    proof: self.own.prove(ACCEPTOR, &dialer, &self.own.nonce),
                })))
            }
            AcceptorPhase::AwaitProof { dialer } => {
                let Introduction { proof, hello } = read(&mut frame)?;
                self.own.check(DIALER, &dialer, &self.own.nonce, &proof)?;
                Ok(Step::Done {
                    send: frame_of(&self.own.hello),
                    hello: read(&mut hello.as_slice())?,
                })
            }
            AcceptorPhase::Over => Err(PeerError::Over),
        }
    }
}

impl Own {
    fn new(secret: &[u8], nonce: Nonce, hello: PeerHello) -> Self {
        Self {
            secret: secret.to_vec(),
            nonce,
            hello,
        }
    }

    fn mac(&self, role: &[u8], dialer: &Nonce, acceptor: &Nonce) -> Hmac<Sha256> {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else {
            unreachable!("HMAC takes keys of any length");
        };
        mac.chain_update(role)
            .chain_update(dialer)
            .chain_update(acceptor)
    }

    fn prove(&self, role: &[u8], dialer: &Nonce, acceptor: &Nonce) -> ByteArray<32> {
        let proof = self.mac(role, dialer, acceptor).finalize().into_bytes();
        ByteArray::new(proof.into())
    }

    /// Checks a proof in a time that does not depend on where it is wrong.
    fn check(
        &self,
        role: &[u8],
        dialer: &Nonce,
        acceptor: &Nonce,
        proof: &[u8; 32],
    ) -> Result<(), PeerError> {
        let mac = self.mac(role, dialer, acceptor);
        mac.verify_slice(proof).map_err(|_| PeerError::WrongSecret)
    }
}

fn read<T: serde::de::DeserializeOwned>(rest: &mut &[u8]) -> Result<T, PeerError> {
    let value = message_pack(rest)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(Malformed("bytes behind the message").into())
    }
}

fn message(value: &impl Serialize) -> Vec<u8> {
    match rmp_serde::to_vec_named(value) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("writing to memory failed: {error}"),
    }
}

fn frame_of(value: &impl Serialize) -> Bytes {
    let mut out = BytesMut::new();
    frame::append(&mut out, |out| out.put_slice(&message(value)));
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: u8) -> PeerHello {
        PeerHello {
            node: NodeId([name; 20]),
            client: format!("client {name}"),
            alone: name == 1,
        }
    }

    fn dialer(secret: &str) -> Dialer {
        Dialer::new(secret.as_bytes(), [1; 32], hello(1))
    }

    fn acceptor(secret: &str, nonce: u8) -> Acceptor {
        Acceptor::new(secret.as_bytes(), [nonce; 32], hello(2))
    }

    fn sent(step: Result<Step, PeerError>) -> Bytes {
        match step.unwrap() {
            Step::Send(frame) => frame.slice(4..),
            Step::Done { send, .. } => send.slice(4..),
        }
    }

    #[test]
    fn nodes_with_one_secret_introduce_themselves() {
        for secret in ["", "secret", &"long".repeat(100)] {
            let (mut dialer, mut acceptor) = (dialer(secret), acceptor(secret, 2));
            let answer = sent(acceptor.on_frame(&dialer.challenge()[4..]));
            let introduction = sent(dialer.on_frame(&answer));
            let Ok(Step::Done { send, hello: first }) = acceptor.on_frame(&introduction) else {
                panic!("the acceptor is not done");
            };
            let Ok(Step::Done {
                send: end,
                hello: second,
            }) = dialer.on_frame(&send[4..])
            else {
                panic!("the dialer is not done");
            };
            assert_eq!((first, second, end), (hello(1), hello(2), Bytes::new()));
            assert_eq!(dialer.on_frame(b""), Err(PeerError::Over));
            assert_eq!(acceptor.on_frame(b""), Err(PeerError::Over));
        }
    }

    #[test]
    fn a_wrong_secret_is_refused_on_either_side() {
        let (mut honest, mut wrong) = (dialer("right"), acceptor("wrong", 2));
        let answer = sent(wrong.on_frame(&honest.challenge()[4..]));
        assert_eq!(honest.on_frame(&answer), Err(PeerError::WrongSecret));
        assert_eq!(
            honest.on_frame(&answer),
            Err(PeerError::Over),
            "no second try"
        );

        // A dialer that does not check still gets nowhere.
        let (mut wrong, mut honest) = (dialer("wrong"), acceptor("right", 2));
        let answer = sent(honest.on_frame(&wrong.challenge()[4..]));
        wrong.phase = DialerPhase::AwaitAnswer;
        let Answer { nonce, .. } = read(&mut &answer[..]).unwrap();
        let proof = wrong.own.prove(DIALER, &wrong.own.nonce, &nonce);
        let forged = message(&Introduction {
            proof,
            hello: ByteBuf::from(message(&hello(1))),
        });
        assert_eq!(honest.on_frame(&forged), Err(PeerError::WrongSecret));
        assert_eq!(honest.on_frame(&forged), Err(PeerError::Over));
    }

    #[test]
    fn our_own_words_prove_nothing_to_us() {
        // Someone without the secret sends a dialer's challenge to an acceptor of the cluster and
        // passes the acceptor's proof off as a dialer's.
        let (victim, mut oracle) = (dialer("secret"), acceptor("secret", 2));
        let mut target = acceptor("secret", 2);
        let answer = sent(oracle.on_frame(&victim.challenge()[4..]));
        sent(target.on_frame(&victim.challenge()[4..]));
        let Answer { proof, .. } = read(&mut &answer[..]).unwrap();
        let forged = message(&Introduction {
            proof,
            hello: ByteBuf::from(message(&hello(9))),
        });
        assert_eq!(target.on_frame(&forged), Err(PeerError::WrongSecret));

        // Someone echoes what a dialer sends.
        let mut victim = dialer("secret");
        let echo = victim.challenge();
        assert!(matches!(
            victim.on_frame(&echo[4..]),
            Err(PeerError::Malformed(_))
        ));
        let mut victim = dialer("secret");
        let own = Answer {
            nonce: ByteArray::new(victim.own.nonce),
            proof: victim
                .own
                .prove(DIALER, &victim.own.nonce, &victim.own.nonce),
        };
        assert_eq!(victim.on_frame(&message(&own)), Err(PeerError::WrongSecret));
    }

    #[test]
    fn a_recorded_handshake_cannot_be_replayed() {
        let (mut dialer, mut first) = (dialer("secret"), acceptor("secret", 2));
        let challenge = dialer.challenge().slice(4..);
        let answer = sent(first.on_frame(&challenge));
        let introduction = sent(dialer.on_frame(&answer));
        assert!(first.on_frame(&introduction).is_ok());

        let mut second = acceptor("secret", 3);
        sent(second.on_frame(&challenge));
        assert_eq!(second.on_frame(&introduction), Err(PeerError::WrongSecret));
        let mut later = Dialer::new(b"secret", [4; 32], hello(1));
        assert_eq!(later.on_frame(&answer), Err(PeerError::WrongSecret));
    }

    #[test]
    fn a_hello_is_sent_only_after_the_proof() {
        let (dialer, mut acceptor) = (dialer("secret"), acceptor("secret", 2));
        let answer = sent(acceptor.on_frame(&dialer.challenge()[4..]));
        for frame in [&dialer.challenge()[..], &answer[..]] {
            for word in ["seat", "client", "redirect"] {
                assert!(
                    memchr::memmem::find(frame, word.as_bytes()).is_none(),
                    "{word}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        for frame in [
            &b""[..],
            b"\xc0",
            b"\x81\xa5nonce\xc4\x01x",
            b"\x80",
            &[0x91; 100],
        ] {
            let error = acceptor("secret", 2).on_frame(frame).unwrap_err();
            assert!(matches!(error, PeerError::Malformed(_)), "{frame:?}");
            let error = dialer("secret").on_frame(frame).unwrap_err();
            assert!(matches!(error, PeerError::Malformed(_)), "{frame:?}");
        }
    }
}
