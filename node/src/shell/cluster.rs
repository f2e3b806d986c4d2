//! The other nodes as they are at present: the links that are up, and what formation makes of what
//! was said over them. It does not know how links come about.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use dht_proto::peer::PeerHello;
use dht_proto::topology::NodeId;
use tokio::sync::mpsc;
use tracing::info;

use crate::core::node::Node;
use crate::core::seating::{Formation, Hello, Refusal};
use crate::core::session::{Fate, Forward, Ticket};

/// The links of this node and its part in the formation of the cluster.
pub struct Cluster {
    /// What the nodes of the cluster prove to each other that they know.
    pub secret: String,
    node: Arc<Node>,
    shards: u32,
    formation: Mutex<Formation>,
    /// Where forwarded commands for a node go, while its link is up.
    links: DashMap<NodeId, mpsc::UnboundedSender<Errand>>,
}

/// A forwarded command on its way to a link, and where its fate is to be told.
pub struct Errand {
    /// The command.
    pub forward: Forward,
    /// The connection that it came from.
    pub fates: FateSender,
}

/// Where a connection is told what became of its forwarded commands.
pub type FateSender = mpsc::UnboundedSender<Settled>;

/// What became of a forwarded command.
#[derive(Debug)]
pub struct Settled {
    /// Which command.
    pub ticket: Ticket,
    /// What became of it.
    pub fate: Fate,
}

impl Errand {
    /// Tells the connection that no byte of the command left this node.
    pub fn not_sent(self) {
        // A connection that is gone asks for no fate.
        let _ = self.fates.send(Settled {
            ticket: self.forward.ticket,
            fate: Fate::NotSent,
        });
    }
}

impl Cluster {
    /// No link is up yet.
    pub fn new(node: Arc<Node>, formation: Formation, shards: u32, secret: String) -> Self {
        let cluster = Self {
            secret,
            node,
            shards,
            formation: Mutex::new(formation),
            links: DashMap::new(),
        };
        if cluster.node.settings.standalone {
            info!("Ready to accept connections");
        } else {
            cluster.publish(&cluster.formation());
        }
        cluster
    }

    /// Sends a command to its node, or settles it at once when there is no link.
    pub fn send(&self, forward: Forward, fates: &FateSender) {
        let errand = Errand {
            forward,
            fates: fates.clone(),
        };
        let unsent = match self.links.get(&errand.forward.to) {
            Some(link) => link.send(errand).err().map(|unsent| unsent.0),
            None => Some(errand),
        };
        if let Some(errand) = unsent {
            errand.not_sent();
        }
    }

    /// What this node says of itself.
    pub fn hello(&self) -> PeerHello {
        let formation = self.formation();
        PeerHello {
            member: formation.me().clone(),
            seats: formation.seats().iter().cloned().collect(),
            shards: self.shards,
            topology: formation.topology().ok(),
        }
    }

    /// The seats at which other nodes are to be found. One of them may turn out to be this node.
    pub fn others(&self) -> Vec<String> {
        let formation = self.formation();
        let own = &formation.me().seat;
        let others = formation.seats().iter().filter(|seat| *seat != own);
        others.cloned().collect()
    }

    /// Takes what was said over a link to a seat, over which commands can be sent from now on;
    /// gives them, or nothing when the node at the seat is this one.
    ///
    /// # Errors
    /// The two nodes cannot be in one cluster.
    pub fn link_up(
        &self,
        seat: &str,
        hello: &PeerHello,
    ) -> Result<Option<mpsc::UnboundedReceiver<Errand>>, Refusal> {
        let mut formation = self.formation();
        let said = Hello {
            member: &hello.member,
            seats: &hello.seats,
            shards: hello.shards,
            topology: hello.topology.as_ref(),
        };
        formation.hear(Some(seat), said)?;
        let itself = hello.member.id == formation.me().id;
        let errands = (!itself).then(|| {
            let (link, errands) = mpsc::unbounded_channel();
            self.links.insert(hello.member.id, link);
            errands
        });
        self.publish(&formation);
        Ok(errands)
    }

    /// The link to a seat is down.
    pub fn link_down(&self, seat: &str, node: NodeId) {
        let mut formation = self.formation();
        self.links.remove(&node);
        formation.lose(seat);
        self.publish(&formation);
    }

    /// Puts in force what is known. The guard shows that nobody else does at the same time.
    fn publish(&self, formation: &MutexGuard<'_, Formation>) {
        let topology = formation.topology();
        let was_formed = self.node.view.load().topology.is_ok();
        self.node.publish(topology.clone());
        match topology {
            Ok(topology) => {
                for member in &topology.members {
                    let down = member.id != self.node.id && !self.links.contains_key(&member.id);
                    self.node.set_down(member.id, down);
                }
                if !was_formed {
                    let (nodes, epoch) = (topology.members.len(), topology.epoch);
                    info!(nodes, epoch, "Ready to accept connections");
                }
            }
            Err(reason) => info!(%reason, "the cluster is forming"),
        }
    }

    fn formation(&self) -> MutexGuard<'_, Formation> {
        // A panic leaves nothing half done that the next hello would not repair.
        self.formation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
