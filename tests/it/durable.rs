//! Nodes with data directories: what is left after all of them end at once, after a file was
//! damaged, lost or put elsewhere, and what is said about it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dht_tests::nemesis::load::Load;
use dht_tests::nemesis::workload::{Target, Workload};
use dht_tests::nemesis::{DIGESTS, judge_at_rest};
use dht_tests::process::{Processes, ask, free_addresses, program};
use dht_tests::random::Random;
use dht_tests::wait;

/// Time for what has to happen.
const SOON: Duration = Duration::from_secs(30);
/// What is known by all.
const PASSWORD: &str = "durable";
/// Keys that are written.
const KEYS: usize = 100;

/// How often everything ends.
const ENDS: usize = 4;

#[test]
fn what_was_acknowledged_outlives_the_end_of_all_nodes() {
    let mut random = Random::seeded();
    let seed = random.next();
    let mut processes = Processes::durable(3, &DIGESTS, Some(PASSWORD));
    let target = Target {
        nodes: (0..3).map(|node| processes.client(node)).collect(),
        password: PASSWORD.to_owned(),
    };
    let workload = Workload::start(&target, 12, 5, &mut random);
    for _ in 0..ENDS {
        let before = workload.recorder.done();
        wait::until("clients to be answered", SOON, || {
            (workload.recorder.done() > before + 300).then_some(())
        });
        (0..3).for_each(|node| processes.kill(node));
        (0..3).for_each(|node| processes.begin_again(node));
        (0..3).for_each(|node| processes.await_safe(node));
    }
    let history = workload.stop();
    processes.await_alike(3);
    let report = judge_at_rest(seed, &target, &history);
    println!("{report}");
    assert!(report.kept > 100, "{report}");
}

/// Writes keys one by one, each acknowledged.
fn fill(processes: &Processes, node: usize) {
    for key in 0..KEYS {
        let answer = processes
            .ask(node, &format!("SET key:{key} {key}"))
            .unwrap();
        assert_eq!(answer, "+OK\r\n");
    }
}

fn assert_filled(processes: &Processes, node: usize, keys: usize) {
    for key in 0..keys {
        let value = key.to_string();
        let expect = format!("${}\r\n{value}\r\n", value.len());
        let answer = processes.ask(node, &format!("GET key:{key}")).unwrap();
        assert_eq!(answer, expect, "key:{key}");
    }
}

/// The segments of a node's log, in order.
fn segments(processes: &Processes, node: usize) -> Vec<PathBuf> {
    let folder = processes.data_dir(node).join("log");
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn last_segment(processes: &Processes, node: usize) -> PathBuf {
    segments(processes, node).pop().unwrap()
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// What `CLUSTER MYID` says.
fn id_of(processes: &Processes, node: usize) -> String {
    processes.ask(node, "CLUSTER MYID").unwrap()
}

#[test]
fn a_node_alone_is_a_cluster_of_one_and_keeps_its_data() {
    let mut processes = Processes::durable(1, &[], None);
    let id = id_of(&processes, 0);
    fill(&processes, 0);
    let on_disks = processes.ask(0, "WAITAOF 1 0 0").unwrap();
    assert_eq!(on_disks, "*2\r\n:1\r\n:0\r\n");
    processes.kill(0);
    processes.restart(0);
    assert_filled(&processes, 0, KEYS);
    assert_eq!(id_of(&processes, 0), id);
    assert_eq!(processes.end_by(0, "-TERM"), Some(0));
    processes.restart(0);
    assert_filled(&processes, 0, KEYS);
}

#[test]
fn copies_and_shards_are_fixed_when_the_cluster_is_made() {
    let mut processes = Processes::durable(1, &["--replicas", "1", "--shards", "8"], None);
    fill(&processes, 0);
    for other in ["4", "16"] {
        processes.kill(0);
        processes.give_flags(&["--replicas", "1", "--shards", other]);
        processes.begin_again(0);
        assert_eq!(processes.await_end(0), Some(1));
        let why = format!("made with --shards 8, which --shards {other} cannot change");
        assert!(processes.log(0).contains(&why), "{}", processes.log(0));
        processes.give_flags(&["--replicas", "1", "--shards", "8"]);
        processes.restart(0);
        assert_filled(&processes, 0, KEYS);
    }
    let why = "the cluster was made with --replicas 1: --replicas 3 does not count";
    assert!(!processes.log(0).contains(why));
    processes.kill(0);
    processes.give_flags(&["--replicas", "3", "--shards", "8"]);
    processes.restart(0);
    assert_filled(&processes, 0, KEYS);
    wait::until("a warning", SOON, || {
        processes.log(0).contains(why).then_some(())
    });
}

#[test]
fn a_cluster_of_one_grows_to_three_copies_as_nodes_join() {
    let mut first = Processes::durable(1, &[], None);
    fill(&first, 0);
    let ports = free_addresses(4);
    let folders = [first.data_dir(1), first.data_dir(2)];
    let mut join = first.client(0).to_string();
    let mut joined = Vec::new();
    for (ports, folder) in ports.chunks(2).zip(&folders) {
        join = format!("{join},{}", ports[0]);
        let flags = ["--join", &join, "--data-dir", folder.to_str().unwrap()];
        let node = Processes::try_start_at(ports, &flags);
        node.await_ready(0);
        joined.push(node);
        let info = first.ask(0, "CLUSTER INFO").unwrap();
        let nodes = format!("cluster_known_nodes:{}", joined.len() + 1);
        assert!(info.contains(&nodes), "{info}");
        assert!(
            joined.len() == 2 || info.contains("cluster_safe:0"),
            "{info}"
        );
    }
    joined.iter().for_each(|node| node.await_safe(0));
    first.await_safe(0);
    let on_disks = first.ask(0, "WAITAOF 1 1 0").unwrap();
    assert_eq!(on_disks, "*2\r\n:1\r\n:1\r\n");
    // Told of nobody, it finds its cluster again.
    first.kill(0);
    first.restart(0);
    first.await_safe(0);
    first.kill(0);
    joined.iter().for_each(|node| assert_filled(node, 0, KEYS));
}

#[test]
fn a_batch_that_was_being_written_is_cut_off() {
    let mut processes = Processes::durable(1, &[], None);
    fill(&processes, 0);
    processes.kill(0);
    let path = last_segment(&processes, 0);
    let length = fs::metadata(&path).unwrap().len();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(length - 3).unwrap();
    processes.restart(0);
    let log = processes.log(0);
    assert!(
        log.contains("was being written when the node ended: cut off"),
        "{log}"
    );
    // The batch that is lost in this way is one of the last, if it was of a key at all.
    assert_filled(&processes, 0, KEYS - 5);
}

#[test]
fn a_damaged_log_without_other_nodes_is_refused_in_one_line() {
    let mut processes = Processes::durable(1, &[], None);
    fill(&processes, 0);
    processes.kill(0);
    let path = segments(&processes, 0)[0].clone();
    flip(&path, 1000);
    for _ in 0..2 {
        processes.begin_again(0);
        assert_eq!(processes.await_end(0), Some(1));
    }
    let log = processes.log(0);
    let lines = log.lines().filter(|line| line.starts_with("dht-node: "));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(
        lines[0].contains("log/0000000000000001.seg: a batch is not as it was written"),
        "{log}"
    );
    assert!(
        lines[0].contains("there is no other node to get the data from"),
        "{log}"
    );
    assert_eq!(lines[0], lines[1]);
    flip(&path, 1000);
    processes.restart(0);
    assert_filled(&processes, 0, KEYS);
}

/// Has a node write all its snapshots; gives their files.
fn save(processes: &Processes, node: usize) -> Vec<PathBuf> {
    assert_eq!(processes.ask(node, "SAVE").unwrap(), "+OK\r\n");
    let answer = processes.ask(node, "BGSAVE").unwrap();
    assert_eq!(answer, "+Background saving started\r\n");
    wait::until("snapshots", SOON, || {
        let info = processes.ask(node, "INFO persistence").ok()?;
        info.contains("rdb_bgsave_in_progress:0").then_some(())
    });
    let last = processes.ask(node, "LASTSAVE").unwrap();
    assert!(last.trim_start_matches(':').trim().parse::<u64>().unwrap() > 1_600_000_000);
    let entries = fs::read_dir(processes.data_dir(node).join("snapshots")).unwrap();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(paths.len(), 64, "one a shard");
    paths
}

#[test]
fn snapshots_are_read_again_and_a_damaged_one_is_refused_in_one_line() {
    let mut processes = Processes::durable(1, &[], None);
    fill(&processes, 0);
    let files = save(&processes, 0);
    processes.ask(0, "SET key:0 later").unwrap();
    processes.kill(0);
    processes.restart(0);
    let answer = processes.ask(0, "GET key:0").unwrap();
    assert_eq!(answer, "$5\r\nlater\r\n", "what came after the snapshot");
    processes.ask(0, "SET key:0 0").unwrap();
    assert_filled(&processes, 0, KEYS);
    processes.kill(0);
    let file = files
        .iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len());
    let (file, length) = (file.unwrap(), fs::metadata(file.unwrap()).unwrap().len());
    flip(file, length as usize - 5);
    processes.begin_again(0);
    assert_eq!(processes.await_end(0), Some(1));
    let log = processes.log(0);
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains(".snap: a piece is not as it was written"),
        "{last}"
    );
    flip(file, length as usize - 5);
    processes.restart(0);
    assert_filled(&processes, 0, KEYS);
}

#[test]
fn a_missing_snapshot_is_told_and_healed_from_the_others() {
    heals(true, ".snap: it is missing", |processes| {
        let entries = fs::read_dir(processes.data_dir(2).join("snapshots")).unwrap();
        let path = entries.map(|entry| entry.unwrap().path()).next();
        fs::remove_file(path.unwrap()).unwrap();
    });
}

/// Does something to the data directory of one of three nodes while it does not run, with the
/// others at work or not, and waits until it has its data from the others.
fn heals(others_end: bool, expect: &str, spoil: impl Fn(&Processes)) {
    let mut processes = Processes::durable(3, &[], None);
    fill(&processes, 0);
    processes.await_safe(0);
    let id = id_of(&processes, 2);
    if expect.contains(".snap") {
        save(&processes, 2);
    }
    processes.kill(2);
    if others_end {
        (0..2).for_each(|node| processes.kill(node));
    }
    spoil(&processes);
    if others_end {
        (0..2).for_each(|node| processes.begin_again(node));
    }
    processes.begin_again(2);
    wait::until("another node", SOON, || {
        let now = processes.ask(2, "CLUSTER MYID").ok()?;
        (now.len() == id.len() && now != id).then_some(())
    });
    (0..3).for_each(|node| processes.await_safe(node));
    let log = processes.log(2);
    assert!(log.contains(expect), "{log}");
    assert!(processes.data_dir(2).join("set-aside-1/log").exists());
    // What it has got it keeps: the others are not needed for it.
    (0..3).for_each(|node| processes.kill(node));
    (1..3).for_each(|node| processes.begin_again(node));
    (1..3).for_each(|node| processes.await_ready(node));
    assert_filled(&processes, 2, KEYS);
}

#[test]
fn a_damaged_log_is_told_and_healed_from_the_others() {
    heals(true, "a batch is not as it was written", |processes| {
        flip(&segments(processes, 2)[0], 1000);
    });
}

#[test]
fn a_missing_log_is_told_and_healed_from_the_others() {
    heals(true, "the log is missing", |processes| {
        let segments = segments(processes, 2);
        segments
            .iter()
            .for_each(|path| fs::remove_file(path).unwrap());
    });
}

#[test]
fn a_log_without_its_end_is_noticed_by_those_who_know_of_it() {
    heals(
        false,
        "are missing in the log that were durable",
        |processes| {
            let path = last_segment(processes, 2);
            let length = fs::metadata(&path).unwrap().len();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(length - length / 10).unwrap();
        },
    );
}

#[test]
fn a_directory_that_was_replaced_by_an_empty_one_is_filled_again() {
    let mut processes = Processes::durable(3, &[], None);
    fill(&processes, 0);
    processes.await_safe(0);
    processes.kill(1);
    fs::remove_dir_all(processes.data_dir(1)).unwrap();
    processes.restart(1);
    (0..3).for_each(|node| processes.await_safe(node));
    processes.kill(0);
    processes.kill(2);
    processes.restart(2);
    assert_filled(&processes, 1, KEYS);
}

#[test]
fn a_node_that_ends_while_it_is_given_its_data_is_given_it_again() {
    let mut processes = Processes::durable(3, &[], None);
    let nodes: Vec<_> = (0..3).map(|node| processes.client(node)).collect();
    let load = Load::start(&nodes, 20_000, 1000);
    load.await_more(40_000, 2 * SOON);
    println!("{} writes", load.stop());
    fill(&processes, 0);
    processes.await_safe(0);
    processes.kill(2);
    fs::remove_dir_all(processes.data_dir(2)).unwrap();
    for _ in 0..3 {
        processes.begin_again(2);
        // Some files are there, and not all.
        wait::until("a part of the copies", SOON, || {
            let entries = fs::read_dir(processes.data_dir(2).join("snapshots")).ok()?;
            (entries.count() > 3).then_some(())
        });
        processes.kill(2);
    }
    processes.restart(2);
    (0..3).for_each(|node| processes.await_safe(node));
    (0..2).for_each(|node| processes.kill(node));
    processes.begin_again(0);
    processes.await_ready(0);
    processes.await_ready(2);
    assert_filled(&processes, 2, KEYS);
    let count = processes.ask(2, "DBSIZE").unwrap();
    let at_other = processes.ask(0, "DBSIZE").unwrap();
    assert_eq!(count, at_other);
}

#[test]
fn a_node_that_returns_under_another_address_is_shown_there() {
    let mut processes = Processes::durable(3, &[], None);
    fill(&processes, 0);
    processes.await_safe(0);
    let (id, old) = (id_of(&processes, 2), processes.redirect(2).port());
    for _ in 0..2 {
        processes.kill(2);
        processes.move_away(2);
        processes.restart(2);
        assert_eq!(id_of(&processes, 2), id);
        let new = processes.redirect(2).port();
        assert_ne!(new, old);
        wait::until("the new address to be known", SOON, || {
            (0..3)
                .all(|node| {
                    let nodes = processes.ask(node, "CLUSTER NODES").unwrap_or_default();
                    nodes.contains(&format!("127.0.0.1:{new}@"))
                        && !nodes.contains(&format!("127.0.0.1:{old}@"))
                })
                .then_some(())
        });
        (0..3).for_each(|node| processes.await_safe(node));
    }
    // It is followed there: what the others lead is sent on to it, and back.
    assert_filled(&processes, 2, KEYS);
    assert_filled(&processes, 0, KEYS);
    // It is known still when all come back at once.
    (0..3).for_each(|node| processes.kill(node));
    (0..3).for_each(|node| processes.begin_again(node));
    (0..3).for_each(|node| processes.await_safe(node));
    assert_filled(&processes, 1, KEYS);
}

#[test]
fn while_it_reads_its_data_a_node_says_so_and_how_far_it_is() {
    let mut processes = Processes::durable(1, &[], None);
    let load = Load::start(&[processes.client(0)], 40_000, 1000);
    load.await_more(40_000, 2 * SOON);
    let _ = load.stop();
    fill(&processes, 0);
    processes.kill(0);
    processes.begin_again(0);
    let mut said = Vec::new();
    wait::until("the data", SOON, || {
        let answer = processes.ask(0, "GET key:7").ok()?;
        if answer != "$1\r\n7\r\n" {
            said.push(answer);
            return None;
        }
        Some(())
    });
    let loading = said.iter().filter(|answer| answer.starts_with("-LOADING"));
    assert!(loading.count() > 0, "{said:?}");
    // Nothing was said about data that was not read yet, not even that there is none.
    let is_error = |answer: &String| answer.starts_with('-');
    assert!(said.iter().all(is_error), "{said:?}");
    let log = processes.log(0);
    let at = |what: &str| {
        log.rfind(what)
            .unwrap_or_else(|| panic!("no '{what}' in {log}"))
    };
    assert!(at("reading the log number=1 of=") < at("data read dir="));
    assert!(at("data read dir=") < at("Ready to accept connections"));
}

#[test]
fn a_write_that_fails_ends_the_node_and_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_addresses(2);
    // No file may grow beyond a mebibyte: no lack of room, so nobody knows what is on the disk.
    let limits = "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\"";
    let mut child = Command::new("bash")
        .args(["-c", limits, program("dht-node").to_str().unwrap()])
        .args(["--listen", &ports[0].to_string()])
        .args(["--cluster-listen", &ports[1].to_string()])
        .args(["--data-dir", folder.path().to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let value = "v".repeat(3000);
    let mut acknowledged = 0;
    wait::until("an answer", SOON, || {
        ask(ports[0], "GET k").ok().filter(|it| it == "$-1\r\n")
    });
    while ask(ports[0], &format!("SET key:{acknowledged} {value}")).is_ok_and(|it| it == "+OK\r\n")
    {
        acknowledged += 1;
        assert!(acknowledged < 1000, "the limit has no effect");
    }
    assert!(acknowledged > 100, "{acknowledged}");
    let ended = child.wait().unwrap();
    assert_eq!(ended.signal(), Some(6), "{ended:?}");
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(
        lines[0].contains("the disk has failed: this process ends"),
        "{said}"
    );
    let flags = ["--data-dir", folder.path().to_str().unwrap()];
    let again = Processes::try_start_at(&ports, &flags);
    again.await_ready(0);
    for key in 0..acknowledged {
        assert_eq!(
            again.ask(0, &format!("STRLEN key:{key}")).unwrap(),
            ":3000\r\n"
        );
    }
}

/// A library that a process loads before all others: a call that flushes fails in it as on a bad
/// sector, once the file exists that the environment names.
const FAILING: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int flush(const char *variable, long call, int fd) {
    const char *path = getenv(variable);
    if (path != NULL && access(path, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return (int) syscall(call, fd);
}

int fdatasync(int fd) { return flush("FDATASYNC_FAILS", SYS_fdatasync, fd); }
int fsync(int fd) { return flush("FSYNC_FAILS", SYS_fsync, fd); }
"#;

/// Has `call` fail at one of three nodes under load, where `provoke` sees to it that it is made.
fn ends_when_a_flush_fails(call: &str, provoke: impl Fn(&Processes)) {
    let mut random = Random::seeded();
    let seed = random.next();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (source, library, fault) = (place("failing.c"), place("failing.so"), place("fails"));
    fs::write(&source, FAILING).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o", &library, &source]);
    assert!(compiler.status().expect("cc").success());

    let mut processes = Processes::durable(3, &DIGESTS, Some(PASSWORD));
    let id = id_of(&processes, 2);
    processes.kill(2);
    let variables = [
        format!("LD_PRELOAD={library}"),
        format!("{}_FAILS={fault}", call.to_uppercase()),
    ];
    processes.run_within(2, &["env", &variables[0], &variables[1]]);
    processes.restart(2);
    (0..3).for_each(|node| processes.await_safe(node));
    let target = Target {
        nodes: (0..3).map(|node| processes.client(node)).collect(),
        password: PASSWORD.to_owned(),
    };
    let workload = Workload::start(&target, 12, 5, &mut random);
    let go_on = || {
        let before = workload.recorder.done();
        wait::until("clients to be answered", SOON, || {
            (workload.recorder.done() > before + 300).then_some(())
        });
    };
    go_on();
    File::create(&fault).unwrap();
    provoke(&processes);
    assert_eq!(processes.await_end(2), None, "a signal, and no exit code");
    let log = processes.log(2);
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    for said in ["the disk has failed: this process ends", "os error 5"] {
        assert!(errors[0].contains(said), "{log}");
    }
    go_on();
    fs::remove_file(&fault).unwrap();
    processes.begin_again(2);
    (0..3).for_each(|node| processes.await_safe(node));
    assert_eq!(id_of(&processes, 2), id, "it goes on with what it has");
    go_on();
    let history = workload.stop();
    processes.await_alike(3);
    let report = judge_at_rest(seed, &target, &history);
    println!("{report}");
    assert!(report.kept > 100, "{report}");
}

#[test]
fn a_log_that_cannot_be_flushed_ends_its_node_and_loses_nothing() {
    ends_when_a_flush_fails("fdatasync", |_| ());
}

#[test]
fn a_snapshot_that_cannot_be_flushed_ends_its_node_and_loses_nothing() {
    ends_when_a_flush_fails("fsync", |processes| {
        processes.ask(2, "BGSAVE").unwrap();
    });
}

/// A small disk: memory that is mounted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    const BYTES: u64 = 64 * 1024 * 1024;

    /// One at this place, if this user may mount.
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let size = format!("size={}", Self::BYTES);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path);
        let mounted = mount.output().is_ok_and(|ended| ended.status.success());
        if !mounted {
            println!("skipped: nothing can be mounted here");
        }
        mounted.then_some(Self(path))
    }

    /// Leaves no byte of it free.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        let piece = vec![1; 64 * 1024];
        while file.write_all(&piece).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is left of it goes with the machine.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_writes_and_heals_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("disk")) else {
        return;
    };
    let dir = disk.0.join("data");
    let mut processes = Processes::alone(&["--data-dir", dir.to_str().unwrap()]);
    fill(&processes, 0);
    disk.fill();
    wait::until("a refusal", SOON, || {
        let answer = processes.ask(0, "SET key:0 lost").ok()?;
        if answer == "+OK\r\n" {
            return None;
        }
        assert!(answer.starts_with("-MISCONF the disk is full"), "{answer}");
        Some(())
    });
    let info = processes.ask(0, "INFO persistence").unwrap();
    assert!(info.contains("aof_last_write_status:err"), "{info}");
    let answer = processes.ask(0, "GET key:1").unwrap();
    assert_eq!(answer, "$1\r\n1\r\n", "reads go on");
    disk.make_room();
    wait::until("room", SOON, || {
        let answer = processes.ask(0, "SET key:0 0").ok()?;
        (answer == "+OK\r\n").then_some(())
    });
    processes.kill(0);
    processes.restart(0);
    assert_filled(&processes, 0, KEYS);
}

#[test]
fn a_node_with_a_full_disk_leads_nothing_while_others_have_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("disk")) else {
        return;
    };
    let ports = free_addresses(6);
    let clients: Vec<String> = ports.iter().step_by(2).map(ToString::to_string).collect();
    let dirs = [
        disk.0.join("0"),
        folder.path().join("1"),
        folder.path().join("2"),
    ];
    let nodes: Vec<Processes> = (ports.chunks(2).zip(&dirs))
        .map(|(ports, dir)| {
            let flags = [
                "--join",
                &clients.join(","),
                "--data-dir",
                dir.to_str().unwrap(),
            ];
            Processes::try_start_at(ports, &flags)
        })
        .collect();
    nodes.iter().for_each(|node| node.await_safe(0));
    fill(&nodes[0], 0);
    let leads = |node: &Processes| {
        let asked = |key: usize| {
            node.ask_redirecting(0, &format!("EXISTS key:{key}"))
                .unwrap()
        };
        (0..KEYS).filter(|key| asked(*key).starts_with(':')).count()
    };
    wait::until("the first node to lead", SOON, || {
        (leads(&nodes[0]) > 0).then_some(())
    });
    disk.fill();
    wait::until("it to lead nothing", SOON, || {
        (leads(&nodes[0]) == 0).then_some(())
    });
    // Writes that come in anywhere are done, also where the disk is full.
    fill(&nodes[0], 0);
    fill(&nodes[1], 0);
    disk.make_room();
    wait::until("it to lead again", SOON, || {
        (leads(&nodes[0]) > 0).then_some(())
    });
    nodes.iter().for_each(|node| node.await_safe(0));
    nodes.iter().for_each(|node| assert_filled(node, 0, KEYS));
}

/// Starts a node that has to end by itself; gives what it says last.
fn refused(flags: &[&str]) -> String {
    let ports = free_addresses(2);
    let output = Command::new(program("dht-node"))
        .args(["--listen", &ports[0].to_string()])
        .args(["--cluster-listen", &ports[1].to_string()])
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let last = said.lines().last().unwrap_or_default();
    last.strip_prefix("dht-node: ").unwrap_or(&said).to_owned()
}

#[test]
fn a_directory_that_is_not_this_nodes_is_refused_in_one_line() {
    let mut processes = Processes::durable(3, &[], None);
    fill(&processes, 0);
    let dir = processes.data_dir(0);
    let why = refused(&["--data-dir", dir.to_str().unwrap()]);
    assert!(
        why.ends_with("another process uses this data directory"),
        "{why}"
    );

    let nodes: Vec<String> = (0..3)
        .map(|node| processes.client(node).to_string())
        .collect();
    let copy = processes.data_dir(9);
    copy_folder(&dir, &copy);
    let flags = [
        "--join",
        &nodes.join(","),
        "--data-dir",
        copy.to_str().unwrap(),
    ];
    let why = refused(&flags);
    assert!(why.contains("a copy of this data directory"), "{why}");

    let mut other = Processes::durable(3, &[], None);
    let stranger = other.data_dir(1);
    (0..3).for_each(|node| other.kill(node));
    processes.kill(1);
    fs::remove_dir_all(processes.data_dir(1)).unwrap();
    copy_folder(&stranger, &processes.data_dir(1));
    processes.begin_again(1);
    assert_eq!(processes.await_end(1), Some(1));
    let log = processes.log(1);
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("it belongs to cluster "), "{last}");
    assert!(
        last.contains("but the nodes of --join are cluster "),
        "{last}"
    );

    let identity = copy.join("identity");
    let text = fs::read_to_string(&identity).unwrap();
    fs::write(&identity, text.replace("format 1", "format 2")).unwrap();
    let why = refused(&["--data-dir", copy.to_str().unwrap()]);
    assert!(
        why.ends_with("format 2, which is newer than format 1 of this program"),
        "{why}"
    );
    // The cluster has not suffered from any of it.
    assert_filled(&processes, 2, KEYS);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
