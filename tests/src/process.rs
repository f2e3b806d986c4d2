//! Clusters of real processes on loopback, for what one process cannot show: kill, freeze, restart.
//!
//! Knows of a node only its command line and what it answers to `CLUSTER INFO`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use dht_proto::slot::slots_of;
use tempfile::TempDir;

use crate::wait;

/// Shards of a cluster that was told nothing else.
pub const SHARDS: usize = 64;

/// Time for a cluster to form, or for a node to come back.
const READY: Duration = Duration::from_secs(30);

/// Time for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Nodes that form a cluster, or one alone, each a process. They end with this value.
pub struct Processes {
    nodes: Vec<Node>,
    /// What every node is started with, besides its ports.
    flags: Vec<String>,
    password: Option<String>,
    /// Each has a data directory.
    is_durable: bool,
    folder: TempDir,
}

/// Where a node is started.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it serves any client.
    pub client: SocketAddr,
    /// Where it redirects cluster-aware clients.
    pub redirect: SocketAddr,
    /// The program that runs it elsewhere than here, with its arguments, if it is to.
    pub within: Vec<String>,
}

struct Node {
    place: Place,
    process: Option<Child>,
}

impl Processes {
    /// A cluster of so many nodes that serves.
    ///
    /// # Panics
    /// When a node does not start, or the cluster does not form in time.
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[])
    }

    /// The same, with further flags for each node.
    ///
    /// # Panics
    /// When a node does not start, or the cluster does not form in time.
    #[must_use]
    pub fn start_with(nodes: usize, flags: &[&str]) -> Self {
        let places = local_places(nodes);
        let join = joined(&places);
        let flags = [&["--join", &join], flags].concat();
        Self::launch_all(places, &flags, None)
    }

    /// A cluster at these places, whose clients and nodes have to know the password; with further
    /// flags for each node.
    ///
    /// # Panics
    /// When a node does not start, or the cluster does not form in time.
    #[must_use]
    pub fn start_at(places: Vec<Place>, password: &str, flags: &[&str]) -> Self {
        let join = joined(&places);
        let flags = [&["--join", &join, "--password", password], flags].concat();
        Self::launch_all(places, &flags, Some(password))
    }

    /// A node that was started alone, with these flags.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn alone(flags: &[&str]) -> Self {
        Self::launch_all(local_places(1), flags, None)
    }

    /// A cluster of so many nodes that keep their data, with further flags for each; one node is
    /// told of no others.
    ///
    /// # Panics
    /// When a node does not start, or the cluster does not form in time.
    #[must_use]
    pub fn durable(nodes: usize, flags: &[&str], password: Option<&str>) -> Self {
        let places = local_places(nodes);
        let join = joined(&places);
        let mut all = flags.to_vec();
        if nodes > 1 {
            all.extend(["--join", &join]);
        }
        all.extend(password.into_iter().flat_map(|it| ["--password", it]));
        let mut cluster = Self::prepared(places, &all, password);
        cluster.is_durable = true;
        cluster.launch_all_and_wait();
        cluster
    }

    /// Where a node keeps its data.
    #[must_use]
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("data-{node}"))
    }

    /// Waits until the process of a node ends by itself; gives its exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn await_end(&mut self, node: usize) -> Option<i32> {
        let mut process = self.nodes[node].process.take().expect("it runs");
        let ended = || process.try_wait().expect("a child");
        wait::until(&format!("node {node} to end"), READY, ended).code()
    }

    /// A node with these flags that may not come to serve.
    #[must_use]
    pub fn try_start(flags: &[&str]) -> Self {
        Self::try_start_at(&free_addresses(2), flags)
    }

    /// The same at these addresses, the second for cluster-aware clients.
    #[must_use]
    pub fn try_start_at(ports: &[SocketAddr], flags: &[&str]) -> Self {
        let cluster = Self::launched(places_at(ports), flags, None);
        wait::until("an answer", READY, || ask(cluster.client(0), "PING").ok());
        cluster
    }

    fn launch_all(places: Vec<Place>, flags: &[&str], password: Option<&str>) -> Self {
        let mut cluster = Self::prepared(places, flags, password);
        cluster.launch_all_and_wait();
        cluster
    }

    fn launch_all_and_wait(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.launch(node));
        (0..self.nodes.len()).for_each(|node| self.await_ready(node));
    }

    fn launched(places: Vec<Place>, flags: &[&str], password: Option<&str>) -> Self {
        let mut cluster = Self::prepared(places, flags, password);
        (0..cluster.nodes.len()).for_each(|node| cluster.launch(node));
        cluster
    }

    fn prepared(places: Vec<Place>, flags: &[&str], password: Option<&str>) -> Self {
        let nodes = places.into_iter().map(|place| Node {
            place,
            process: None,
        });
        Self {
            nodes: nodes.collect(),
            password: password.map(str::to_owned),
            flags: flags.iter().copied().map(str::to_owned).collect(),
            is_durable: false,
            folder: tempfile::tempdir().expect("a folder for logs"),
        }
    }

    /// Resident memory of a node, in bytes.
    ///
    /// # Panics
    /// When the node does not run.
    #[must_use]
    pub fn rss_bytes(&self, node: usize) -> u64 {
        let process = self.nodes[node].process.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        1024 * kib
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("VmRSS in kB")
    }

    /// Where a node serves any client.
    #[must_use]
    pub fn client(&self, node: usize) -> SocketAddr {
        self.nodes[node].place.client
    }

    /// Where a node redirects cluster-aware clients.
    #[must_use]
    pub fn redirect(&self, node: usize) -> SocketAddr {
        self.nodes[node].place.redirect
    }

    /// What clients have to know, if they have to know something.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Ends a node at once, as SIGKILL does.
    ///
    /// # Panics
    /// When the node does not run.
    pub fn kill(&mut self, node: usize) {
        end(self.nodes[node].process.take().expect("it runs"));
    }

    /// Ends a node by a signal, such as `-TERM`, and gives its exit code.
    ///
    /// # Panics
    /// When the node does not run.
    pub fn end_by(&mut self, node: usize, signal: &str) -> Option<i32> {
        self.signal(node, signal);
        self.wait(node)
    }

    /// Waits for the end of a node that was told to, and gives its exit code.
    ///
    /// # Panics
    /// When the node does not run.
    pub fn wait(&mut self, node: usize) -> Option<i32> {
        let mut process = self.nodes[node].process.take().expect("it runs");
        process.wait().expect("a child that was told to end").code()
    }

    /// Tells a node to end by a signal, such as `-TERM`, and waits for nothing.
    pub fn tell(&self, node: usize, signal: &str) {
        self.signal(node, signal);
    }

    /// What a node has logged.
    #[must_use]
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.log_path(node)).unwrap_or_default()
    }

    /// Starts a node that was killed, and waits until it answers.
    pub fn launch_again(&mut self, node: usize) {
        self.launch(node);
        wait::until("an answer", READY, || self.ask(node, "PING").ok());
    }

    /// Starts a node that was killed, and waits until it serves.
    ///
    /// # Panics
    /// When it does not serve in time.
    pub fn restart(&mut self, node: usize) {
        self.begin_again(node);
        self.await_ready(node);
    }

    /// Has a node that was killed serve at other addresses when it is started again.
    pub fn move_away(&mut self, node: usize) {
        if let Some(place) = local_places(1).pop() {
            self.nodes[node].place = place;
        }
    }

    /// From now on a node is run by this program, with these arguments.
    pub fn run_within(&mut self, node: usize, words: &[&str]) {
        self.nodes[node].place.within = words.iter().copied().map(str::to_owned).collect();
    }

    /// From now on nodes are started with these flags, and no others.
    pub fn give_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().copied().map(str::to_owned).collect();
    }

    /// Starts a node again and waits for nothing.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn begin_again(&mut self, node: usize) {
        self.launch(node);
    }

    /// Waits until a node says that any one node may be lost.
    ///
    /// # Panics
    /// When it does not say so in time.
    pub fn await_safe(&self, node: usize) {
        wait::until(
            &format!("node {node} to call the cluster safe"),
            READY,
            || {
                let info = self.ask(node, "CLUSTER INFO").unwrap_or_default();
                info.contains("cluster_safe:1").then_some(())
            },
        );
    }

    /// Waits until the other nodes serve all shards and know that one has gone.
    ///
    /// # Panics
    /// They do not in time.
    pub fn await_served_without(&self, gone: usize) {
        for node in (0..self.nodes.len()).filter(|node| *node != gone) {
            let what = format!("node {node} to serve without node {gone}");
            wait::until(&what, READY, || {
                let info = self.ask(node, "CLUSTER INFO").ok()?;
                let expected = ["cluster_state:ok", "cluster_safe:0"];
                expected.iter().all(|it| info.contains(it)).then_some(())
            });
        }
    }

    /// Waits until the replicas of each shard, so many as there are to be, have the same data and
    /// no other node has any of it. The nodes have to allow DEBUG, and nobody may write.
    ///
    /// # Panics
    /// They stay different.
    pub fn await_alike(&self, replicas: usize) {
        for shard in 0..SHARDS {
            let slots = slots_of(shard, SHARDS);
            let command = format!("DEBUG DIGEST {} {}", slots.start(), slots.end());
            let what = format!("the replicas of shard {shard} to be alike");
            wait::until(&what, READY, || {
                let nodes = 0..self.nodes.len();
                let digests: Option<Vec<String>> =
                    nodes.map(|node| self.ask(node, &command).ok()).collect();
                let mut digests = digests?;
                assert!(digests.iter().all(|it| it.len() == 43), "{digests:?}");
                digests.retain(|it| it.bytes().any(|it| (b'1'..=b'f').contains(&it)));
                let is_alike = digests.windows(2).all(|pair| pair[0] == pair[1]);
                (is_alike && [0, replicas].contains(&digests.len())).then_some(())
            });
        }
    }

    /// Sends one inline command to a node and gives the first piece of the answer.
    ///
    /// # Errors
    /// Nobody listens, or there is no answer in time.
    pub fn ask(&self, node: usize, command: &str) -> io::Result<String> {
        ask_with(self.client(node), self.password.as_deref(), command)
    }

    /// The same on the port that redirects.
    ///
    /// # Errors
    /// Nobody listens, or there is no answer in time.
    pub fn ask_redirecting(&self, node: usize, command: &str) -> io::Result<String> {
        ask_with(self.redirect(node), self.password.as_deref(), command)
    }

    /// The node that leads a key's shard, by its own word.
    #[must_use]
    pub fn leader_of(&self, key: &str) -> Option<usize> {
        let exists = format!("EXISTS {key}");
        (0..self.nodes.len()).find(|node| {
            let answer = self.ask_redirecting(*node, &exists);
            answer.is_ok_and(|answer| answer.starts_with(':'))
        })
    }

    /// Freezes a node; it neither answers nor closes its connections.
    pub fn pause(&self, node: usize) {
        self.signal(node, "-STOP");
        // Its threads stop one after the other, and the last may still answer.
        wait::until("every thread to stop", READY, || {
            self.is_frozen(node).then_some(())
        });
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self, node: usize) {
        self.signal(node, "-CONT");
    }

    fn launch(&mut self, node: usize) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(node))
            .expect("a log");
        let data_dir = self.data_dir(node);
        let Node { place, process } = &mut self.nodes[node];
        let mut words: Vec<OsString> = place.within.iter().map(Into::into).collect();
        words.push(program("dht-node").into());
        let mut command = Command::new(&words[0]);
        if self.is_durable {
            command.env("DHT_DATA_DIR", data_dir);
        }
        let started = command
            .args(&words[1..])
            .args(["--listen", &place.client.to_string()])
            .args(["--cluster-listen", &place.redirect.to_string()])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        *process = Some(started.expect("dht-node"));
    }

    /// Waits until a node serves.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn await_ready(&self, node: usize) {
        wait::until(&format!("node {node}"), READY, || {
            let info = self.ask(node, "CLUSTER INFO").ok()?;
            // One with a password says nothing, and has nothing to wait for when it is alone.
            let serves = info.contains("cluster_state:ok") || info.starts_with("-NOAUTH");
            serves.then_some(())
        });
    }

    fn is_frozen(&self, node: usize) -> bool {
        let process = self.nodes[node].process.as_ref().expect("it runs").id();
        let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
        tasks.flatten().all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state stands behind the name in parentheses.
            stat.rsplit_once(") ")
                .is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    fn signal(&self, node: usize, signal: &str) {
        let process = self.nodes[node]
            .process
            .as_ref()
            .expect("it runs")
            .id()
            .to_string();
        let sent = Command::new("kill")
            .args([signal, &process])
            .status()
            .expect("kill");
        assert!(sent.success(), "{signal} to node {node}");
    }

    fn log_path(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("node-{node}.log"))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.nodes
            .iter_mut()
            .filter_map(|node| node.process.take())
            .for_each(end);
        if thread::panicking() {
            for node in 0..self.nodes.len() {
                eprintln!("--- log of node {node}\n{}", self.log(node));
            }
        }
    }
}

fn end(mut process: Child) {
    process.kill().expect("a child can be killed");
    process.wait().expect("a child that was killed ends");
}

/// Sends one inline command and gives the first piece of the answer.
///
/// # Errors
/// Nobody listens, or there is no answer in time.
pub fn ask(node: SocketAddr, command: &str) -> io::Result<String> {
    ask_with(node, None, command)
}

fn ask_with(node: SocketAddr, password: Option<&str>, command: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&node, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    if let Some(password) = password {
        stream.write_all(format!("AUTH {password}\r\n").as_bytes())?;
        stream.read_exact(&mut [0; "+OK\r\n".len()])?;
    }
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// A program of the workspace, built with the same profile as the test that runs it.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let path = above_this_test(2).join(name);
    assert!(
        path.exists(),
        "there is no {}: run cargo build --bins",
        path.display()
    );
    path
}

/// The target folder; the test itself is in target/PROFILE/deps.
#[must_use]
pub fn target() -> PathBuf {
    above_this_test(3)
}

fn above_this_test(levels: usize) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors()
        .nth(levels)
        .map(Path::to_owned)
        .unwrap_or_default()
}

fn local_places(count: usize) -> Vec<Place> {
    places_at(&free_addresses(2 * count))
}

fn places_at(ports: &[SocketAddr]) -> Vec<Place> {
    let places = ports.chunks(2).map(|pair| Place {
        client: pair[0],
        redirect: pair[1],
        within: Vec::new(),
    });
    places.collect()
}

fn joined(places: &[Place]) -> String {
    let clients = places.iter().map(|place| place.client.to_string());
    clients.collect::<Vec<_>>().join(",")
}

/// Addresses on loopback on which nobody listens; held until all are found, so that they differ.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    let addresses = listeners.iter().map(TcpListener::local_addr);
    addresses
        .collect::<io::Result<_>>()
        .expect("a bound address")
}
