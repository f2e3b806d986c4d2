//! Nodes inside of the test's own process, for what needs no process to be killed: started in
//! milliseconds.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use dht_node::{Config, Listeners, Node};

use crate::wait;

/// Time for a cluster to form.
const READY: Duration = Duration::from_secs(30);

/// Nodes that form a cluster, or one alone. They end with this value.
pub struct Cluster {
    nodes: Vec<Option<Node>>,
    configs: Vec<Config>,
    addresses: Vec<(SocketAddr, SocketAddr)>,
}

impl Cluster {
    /// A cluster of so many nodes that serves.
    ///
    /// # Panics
    /// When a node does not start, or the cluster does not form in time.
    pub async fn start(nodes: usize) -> Self {
        let listeners: Vec<_> = (0..nodes).map(|_| bind()).collect();
        let clients = listeners
            .iter()
            .map(|ports| address(&ports.clients[0]).to_string());
        let join = clients.collect::<Vec<_>>().join(",");
        Self::launch(listeners, &["--join", &join]).await
    }

    /// A node that was started alone, with these flags.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn alone(flags: &[&str]) -> Self {
        Self::launch(vec![bind()], flags).await
    }

    async fn launch(listeners: Vec<Listeners>, flags: &[&str]) -> Self {
        let words = ["dht-node"].iter().chain(flags);
        let config = Config::from_args(words).expect("a configuration");
        let mut cluster = Self {
            nodes: Vec::new(),
            configs: vec![config; listeners.len()],
            addresses: Vec::new(),
        };
        for (ports, config) in listeners.into_iter().zip(&cluster.configs) {
            let running = dht_node::start(config, ports).expect("a node");
            cluster
                .addresses
                .push((running.client_addr, running.redirect_addr));
            cluster.nodes.push(Some(running));
        }
        cluster.until_whole().await;
        cluster
    }

    /// Where a node serves any client.
    #[must_use]
    pub fn client(&self, node: usize) -> SocketAddr {
        self.addresses[node].0
    }

    /// Where a node redirects cluster-aware clients.
    #[must_use]
    pub fn redirect(&self, node: usize) -> SocketAddr {
        self.addresses[node].1
    }

    /// A node that runs.
    ///
    /// # Panics
    /// When it was stopped.
    #[must_use]
    pub fn running(&self, node: usize) -> &Node {
        self.nodes[node].as_ref().expect("it runs")
    }

    /// Ends a node, and gives back once it has ended.
    ///
    /// # Panics
    /// When it was stopped already.
    pub async fn stop(&mut self, node: usize) {
        self.nodes[node].take().expect("it runs").shutdown().await;
    }

    /// Starts a node that was stopped, empty, at its old addresses, and waits until every node
    /// knows.
    ///
    /// # Panics
    /// When it does not start, or they do not find it.
    pub async fn restart(&mut self, node: usize) {
        let (client, redirect) = self.addresses[node];
        let ports = Listeners {
            clients: vec![TcpListener::bind(client).expect("its old port")],
            redirect: TcpListener::bind(redirect).expect("its old port"),
        };
        let running = dht_node::start(&self.configs[node], ports).expect("a node");
        self.nodes[node] = Some(running);
        self.until_whole().await;
    }

    /// Waits until every node that runs reaches every node that runs.
    async fn until_whole(&self) {
        let whole = || self.is_whole().then_some(());
        wait::until_async("the nodes to find each other", READY, whole).await;
    }

    fn is_whole(&self) -> bool {
        let running = || self.nodes.iter().flatten();
        running().all(|from| {
            let view = from.node.view.load();
            view.topology.as_ref().is_ok_and(|topology| {
                running().all(|to| {
                    let member = topology.index_of(to.node.id).map(usize::from);
                    member.is_some_and(|member| !view.down[member])
                })
            })
        })
    }
}

fn bind() -> Listeners {
    let port = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    Listeners {
        clients: vec![port()],
        redirect: port(),
    }
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a bound address")
}
