//! The cluster as Redis Cluster would show it. Every node is a master, since every one is to lead
//! something; CLUSTER SLOTS, which has no room for masters without slots, shows those that lead
//! nothing at present as replicas. The addresses are those of the redirecting port, which is the
//! one that cluster-aware clients have to use.

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dht_proto::slot::{SLOTS, key_slot};
use dht_proto::topology::{Member, Topology};
use dht_proto::{Reply, ReplyError};

use crate::core::args::Args;
use crate::core::client::Mark;
use crate::core::execute::Outcome;
use crate::core::keyspace::Whole;
use crate::core::local::Local;
use crate::core::node::View;

/// ASKING.
pub fn asking(_: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::Ok)
}

/// Whether the keys are here, and not in a backend that is not asked about its slots.
fn keeps_keys(ctx: &Local<'_>) -> Result<(), ReplyError> {
    match ctx.node.settings.backend {
        None => Ok(()),
        Some(_) => Err(ReplyError::err("This node keeps no keys: its backend does")),
    }
}

/// CLUSTER COUNTKEYSINSLOT.
pub fn countkeysinslot(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let slot = args.slot()?;
    keeps_keys(ctx)?;
    Ok(Reply::count(ctx.node.store.keys_in_slot(slot)))
}

/// CLUSTER EMPTY, where there is no meta group that could decide it.
pub fn empty(_: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Err(ReplyError::err(
        "This node is alone and has lost no replicas",
    ))
}

/// CLUSTER GETKEYSINSLOT.
pub fn getkeysinslot(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let slot = u16::try_from(args.int()?).ok();
    let count = usize::try_from(args.int()?).ok();
    let (Some(slot @ ..SLOTS), Some(count)) = (slot, count) else {
        return Err(ReplyError::err("Invalid slot or number of keys"));
    };
    keeps_keys(ctx)?;
    let keys = ctx.node.store.sample_slot(slot, count);
    Ok(Reply::Array(keys.into_iter().map(Reply::Bulk).collect()))
}

/// CLUSTER INFO.
pub fn info(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let view = ctx.view();
    let topology = ctx.topology(&view);
    let (mut assigned, mut masters) = (0, 0);
    for (_, ranges) in led(&topology) {
        assigned += ranges.iter().map(ExactSizeIterator::len).sum::<usize>();
        masters += usize::from(!ranges.is_empty());
    }
    let slots_of = |shard: &u16| ctx.node.slots_of(*shard).len();
    let unled: usize = view.unled.iter().map(slots_of).sum();
    let reachable = assigned - unled.min(assigned);
    let stats = &ctx.node.stats;
    let frames = |count: &AtomicU64| usize::try_from(count.load(Relaxed)).unwrap_or(usize::MAX);
    let short = ctx.node.short.load(Relaxed);
    let facts: [(&str, usize); 12] = [
        ("slots_assigned", assigned),
        ("slots_ok", reachable),
        ("slots_pfail", 0),
        ("slots_fail", assigned - reachable),
        ("known_nodes", topology.members.len()),
        ("size", masters),
        (
            "current_epoch",
            usize::try_from(topology.epoch).unwrap_or(usize::MAX),
        ),
        (
            "my_epoch",
            usize::try_from(topology.epoch).unwrap_or(usize::MAX),
        ),
        // Whether any one node may be lost, and how many groups say no.
        ("safe", usize::from(short == 0)),
        ("groups_short", short),
        ("stats_messages_sent", frames(&stats.frames_sent)),
        ("stats_messages_received", frames(&stats.frames_received)),
    ];
    let state = if reachable == usize::from(SLOTS) {
        "ok"
    } else {
        "fail"
    };
    let mut text = format!("cluster_state:{state}\r\n");
    for (name, value) in facts {
        // Writing to a String cannot fail.
        let _ = write!(text, "cluster_{name}:{value}\r\n");
    }
    // What CLUSTER EMPTY may be given.
    let unled: Vec<String> = view.unled.iter().map(u16::to_string).collect();
    let _ = write!(text, "cluster_shards_unled:{}\r\n", unled.join(","));
    if let Some(backend) = &ctx.node.settings.backend {
        let _ = write!(text, "cluster_backend:{backend}\r\n");
    }
    Ok(Reply::Text(text.into()))
}

/// CLUSTER KEYSLOT.
pub fn keyslot(_: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    Ok(Reply::Int(key_slot(args.word()?).into()))
}

/// CLUSTER LINKS: none that has a direction, an age and buffers of its own, as those of Redis have.
pub fn links(_: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::Array(Vec::new()))
}

/// CLUSTER SLOT-STATS: of slots that this node leads, how many keys it holds of each.
pub fn slot_stats(ctx: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    let wanted = SlotStats::parse(args)?;
    keeps_keys(ctx)?;
    let view = ctx.view();
    let topology = ctx.topology(&view);
    let led = topology.led_by(view.me).into_iter().flatten();
    let led = led.filter(|slot| wanted.slots.contains(slot));
    let mut stats: Vec<(u16, usize)> = led
        .map(|slot| (slot, ctx.node.store.keys_in_slot(slot)))
        .collect();
    match wanted.order {
        None => {}
        Some(Order::Ascending) => stats.sort_by_key(|(slot, keys)| (*keys, *slot)),
        Some(Order::Descending) => {
            stats.sort_by_key(|(slot, keys)| (std::cmp::Reverse(*keys), *slot));
        }
    }
    let entry = |(slot, keys): (u16, usize)| {
        let stats = vec![(Reply::bulk("key-count"), Reply::count(keys))];
        Reply::Array(vec![Reply::Int(slot.into()), Reply::Map(stats)])
    };
    let shown = stats.into_iter().take(wanted.limit);
    Ok(Reply::Array(shown.map(entry).collect()))
}

/// Of which slots somebody wants to know something, and in which order.
struct SlotStats {
    slots: RangeInclusive<u16>,
    /// By how many keys they have; else by their numbers.
    order: Option<Order>,
    limit: usize,
}

#[derive(Clone, Copy)]
enum Order {
    Ascending,
    Descending,
}

impl SlotStats {
    fn parse(args: &mut Args<'_>) -> Result<Self, ReplyError> {
        let mut wanted = Self {
            slots: 0..=SLOTS - 1,
            order: None,
            limit: SLOTS.into(),
        };
        if args.option("SLOTSRANGE") {
            let (first, last) = (args.slot()?, args.slot()?);
            args.finish()?;
            if first > last {
                let why =
                    format!("Start slot number {first} is greater than end slot number {last}");
                return Err(ReplyError::Other(why.into()));
            }
            wanted.slots = first..=last;
            return Ok(wanted);
        }
        if !args.option("ORDERBY") {
            return Err(ReplyError::Syntax);
        }
        if !args.option("KEY-COUNT") {
            let why = "Unrecognized sort metric for ORDERBY.";
            return Err(ReplyError::err(why));
        }
        wanted.order = Some(Order::Descending);
        while args.left() > 0 {
            if args.option("ASC") {
                wanted.order = Some(Order::Ascending);
            } else if args.option("DESC") {
                wanted.order = Some(Order::Descending);
            } else if args.option("LIMIT") {
                let limit = usize::try_from(args.int()?).ok();
                let limit = limit.filter(|limit| (1..=SLOTS.into()).contains(limit));
                wanted.limit = limit.ok_or(ReplyError::err(
                    "Limit has to lie in between 1 and 16384 (maximum number of slots).",
                ))?;
            } else {
                return Err(ReplyError::Syntax);
            }
        }
        Ok(wanted)
    }
}

/// CLUSTER MYID.
pub fn myid(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    Ok(Reply::bulk(ctx.node.id.to_string()))
}

/// CLUSTER NODES. In the place of Redis's bus port is the port that forwards.
pub fn nodes(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let view = ctx.view();
    let topology = ctx.topology(&view);
    let mut text = String::new();
    for (index, ranges) in led(&topology) {
        let Member {
            id,
            client,
            redirect,
            ..
        } = &topology.members[index];
        let ((host, port), (_, other_port)) = (host_and_port(redirect), host_and_port(client));
        let (flags, link) = match (index == usize::from(view.me), is_down(&view, index)) {
            (true, _) => ("myself,master", "connected"),
            (false, false) => ("master", "connected"),
            (false, true) => ("master,fail", "disconnected"),
        };
        let epoch = topology.epoch;
        text += &format!("{id} {host}:{port}@{other_port} {flags} - 0 0 {epoch} {link}");
        for range in ranges {
            let (first, last) = (range.start(), range.end());
            text += &if first == last {
                format!(" {first}")
            } else {
                format!(" {first}-{last}")
            };
        }
        text.push('\n');
    }
    Ok(Reply::Text(text.into()))
}

/// CLUSTER SESSION, where it does not go to a shard.
pub fn session(_: &mut Local<'_>, args: &mut Args<'_>) -> Outcome {
    args.slot()?;
    Err(ReplyError::err("This node is alone and keeps no sessions"))
}

/// CLUSTER SHARDS. A Redis shard is a master with all its slots, so there is one a node.
pub fn shards(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let view = ctx.view();
    let topology = ctx.topology(&view);
    let entry = |name: &str, value| (Reply::bulk(name), value);
    let shard = |(index, ranges): (usize, Vec<RangeInclusive<u16>>)| {
        let member = &topology.members[index];
        let (host, port) = host_and_port(&member.redirect);
        let node = Reply::Map(vec![
            entry("id", Reply::bulk(member.id.to_string())),
            entry("port", Reply::Int(port.into())),
            entry("ip", Reply::bulk(host)),
            entry("endpoint", Reply::bulk(host)),
            entry("role", Reply::bulk("master")),
            entry("replication-offset", Reply::Int(0)),
            entry(
                "health",
                Reply::bulk(if is_down(&view, index) {
                    "failed"
                } else {
                    "online"
                }),
            ),
        ]);
        let ends = ranges
            .iter()
            .flat_map(|range| [*range.start(), *range.end()]);
        Reply::Map(vec![
            entry(
                "slots",
                Reply::Array(ends.map(|slot| Reply::Int(slot.into())).collect()),
            ),
            entry("nodes", Reply::Array(vec![node])),
        ])
    };
    Ok(Reply::Array(led(&topology).map(shard).collect()))
}

/// CLUSTER SLOTS. Clients are not sent to leaders that have gone: here they wait for the next ones.
/// Who leads nothing is shown as a replica.
pub fn slots(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let view = ctx.view();
    let mut topology = ctx.topology(&view);
    for shard in view
        .unled
        .iter()
        .filter(|shard| view.stands_in_for(**shard))
    {
        if let Some(at) = topology.to_mut().shards.get_mut(usize::from(*shard)) {
            at.leader = view.me;
        }
    }
    let followers = followers(&view, &topology);
    let mut ranges: Vec<(RangeInclusive<u16>, Vec<u16>)> = Vec::new();
    for (shard, at) in topology.shards.iter().enumerate() {
        let slots = topology.slots_of(shard);
        let shown = followers.iter().filter(|follower| follower.shard == shard);
        let nodes = std::iter::once(at.leader).chain(shown.map(|follower| follower.member));
        let nodes: Vec<u16> = nodes.collect();
        match ranges.last_mut() {
            Some((range, before)) if *before == nodes => *range = *range.start()..=*slots.end(),
            _ => ranges.push((slots, nodes)),
        }
    }
    let node = |member: u16| {
        let member = &topology.members[usize::from(member)];
        let (host, port) = host_and_port(&member.redirect);
        Reply::Array(vec![
            Reply::bulk(host),
            Reply::Int(port.into()),
            Reply::bulk(member.id.to_string()),
            Reply::Map(Vec::new()),
        ])
    };
    let entry = |(range, nodes): (RangeInclusive<u16>, Vec<u16>)| {
        let ends = [*range.start(), *range.end()].map(|slot| Reply::Int(slot.into()));
        Reply::Array(
            ends.into_iter()
                .chain(nodes.into_iter().map(node))
                .collect(),
        )
    };
    Ok(Reply::Array(ranges.into_iter().map(entry).collect()))
}

/// A node that leads nothing, and the shard at which CLUSTER SLOTS shows it.
struct Follower {
    member: u16,
    shard: usize,
}

/// The nodes that can be reached, hold copies and lead nothing: a client that knew leaders only
/// would know nobody once these go.
///
/// To clients a node is a master or a replica of everything that it has, never both, and masters
/// have all keys between them: so who leads anything is shown as a master only. And a client that
/// is sent to a replica takes the master for the replica from then on, for all of its slots: so a
/// replica is shown at one shard, at which others are to lead before it.
fn followers(view: &View, topology: &Topology) -> Vec<Follower> {
    let leads = |member: u16| topology.shards.iter().any(|at| at.leader == member);
    let follower = |member: u16| {
        let held = topology
            .shards
            .iter()
            .enumerate()
            .filter_map(|(shard, at)| {
                let place = at.replicas.iter().position(|replica| *replica == member)?;
                Some((place, shard))
            });
        let (_, shard) = held.max()?;
        Some(Follower { member, shard })
    };
    (0u16..)
        .take(topology.members.len())
        .filter(|member| !is_down(view, usize::from(*member)) && !leads(*member))
        .filter_map(follower)
        .collect()
}

/// CLUSTER SNAPSHOT.
pub fn snapshot(ctx: &Whole<'_>, args: &mut Args<'_>) -> Outcome {
    args.slot()?;
    if args.left() == 0 {
        let (id, slots) = ctx.export().ok_or_else(|| {
            ReplyError::err(
                "no snapshot can be opened: others are being fetched from this node, or this is \
                 part of a transaction",
            )
        })?;
        let numbers = [
            id,
            (*slots.start()).into(),
            (*slots.end()).into(),
            ctx.stamp,
        ];
        let number = |number| Reply::Int(i64::try_from(number).unwrap_or(i64::MAX));
        return Ok(Reply::Array(numbers.into_iter().map(number).collect()));
    }
    if !args.option("PIECE") {
        return Err(ReplyError::Syntax);
    }
    let (id, number) = (args.int()?, args.int()?);
    args.finish()?;
    let place = u64::try_from(id).ok().zip(u64::try_from(number).ok());
    let piece = place.and_then(|(id, number)| ctx.export_piece(id, number));
    let piece = piece.ok_or(ReplyError::err(
        "no such snapshot at this node, or no such piece",
    ))?;
    Ok(Reply::Array(vec![
        Reply::Bulk(piece.bytes),
        Reply::flag(piece.is_last),
    ]))
}

/// Every member by its index, with the ranges of slots that it leads.
fn led(topology: &Topology) -> impl Iterator<Item = (usize, Vec<RangeInclusive<u16>>)> {
    (0u16..)
        .take(topology.members.len())
        .map(|member| (usize::from(member), topology.led_by(member)))
}

fn is_down(view: &View, member: usize) -> bool {
    view.down.get(member).copied().unwrap_or_default()
}

/// The host of an address, as clients expect it: without brackets; and its port.
pub fn host_and_port(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (
        host.trim_matches(['[', ']']),
        port.parse().unwrap_or_default(),
    )
}

/// READONLY.
pub fn readonly(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    let is_cluster = !ctx.node.settings.standalone;
    ctx.client.facts.marks.set(Mark::ReadOnly, is_cluster);
    Ok(Reply::Ok)
}

/// READWRITE.
pub fn readwrite(ctx: &mut Local<'_>, _: &mut Args<'_>) -> Outcome {
    ctx.client.facts.marks.set(Mark::ReadOnly, false);
    Ok(Reply::Ok)
}

#[cfg(test)]
mod tests {
    use dht_proto::topology::Placement;

    use super::*;
    use crate::core::commands::testing::{Desk, check, cluster};

    #[test]
    fn slots_and_keys() {
        check(&[
            ("CLUSTER KEYSLOT foo", &key_slot(b"foo").to_string()),
            ("CLUSTER COUNTKEYSINSLOT 16383", "0"),
            ("CLUSTER LINKS", "[]"),
            (
                "CLUSTER SLOT-STATS SLOTSRANGE 7 8",
                "[[7, {\"key-count\": 0}], [8, {\"key-count\": 0}]]",
            ),
            (
                "CLUSTER SLOT-STATS orderby key-count limit 1 asc",
                "[[0, {\"key-count\": 0}]]",
            ),
            (
                "CLUSTER SLOT-STATS SLOTSRANGE 8 7",
                "-ERR Start slot number 8 is greater than end slot number 7",
            ),
            (
                "CLUSTER SLOT-STATS ORDERBY cpu-usec",
                "-ERR Unrecognized sort metric for ORDERBY.",
            ),
            ("CLUSTER COUNTKEYSINSLOT 16384", "-ERR Invalid slot"),
            ("CLUSTER COUNTKEYSINSLOT -1", "-ERR Invalid slot"),
            (
                "CLUSTER COUNTKEYSINSLOT x",
                "-ERR value is not an integer or out of range",
            ),
            ("CLUSTER GETKEYSINSLOT 0 10", "[]"),
            (
                "CLUSTER GETKEYSINSLOT 16384 10",
                "-ERR Invalid slot or number of keys",
            ),
            (
                "CLUSTER GETKEYSINSLOT 0 -1",
                "-ERR Invalid slot or number of keys",
            ),
            (
                "CLUSTER GETKEYSINSLOT 0 x",
                "-ERR value is not an integer or out of range",
            ),
            ("READONLY", "OK"),
            ("READWRITE", "OK"),
            ("ASKING", "OK"),
        ]);
    }

    #[test]
    fn a_lone_node_leads_everything() {
        let id = "01".repeat(20);
        check(&[
            ("CLUSTER MYID", &format!("\"{id}\"")),
            (
                "CLUSTER SLOTS",
                &format!("[[0, 16383, [\"127.0.0.1\", 8401, \"{id}\", {{}}]]]"),
            ),
            (
                "CLUSTER NODES",
                &format!("{id} 127.0.0.1:8401@7401 myself,master - 0 0 1 connected 0-16383\n"),
            ),
            (
                "CLUSTER SHARDS",
                &format!(
                    "[{{\"slots\": [0, 16383], \"nodes\": [{{\"id\": \"{id}\", \"port\": 8401, \
                     \"ip\": \"127.0.0.1\", \"endpoint\": \"127.0.0.1\", \"role\": \"master\", \
                     \"replication-offset\": 0, \"health\": \"online\"}}]}}]"
                ),
            ),
            (
                "CLUSTER INFO",
                "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\n\
                 cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:1\r\n\
                 cluster_size:1\r\ncluster_current_epoch:1\r\ncluster_my_epoch:1\r\n\
                 cluster_safe:1\r\ncluster_groups_short:0\r\n\
                 cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
                 cluster_shards_unled:\r\n",
            ),
        ]);
    }

    #[test]
    fn three_nodes_share_the_slots_and_one_of_them_is_down() {
        let mut desk = Desk::at(cluster());
        let short_ids = |reply: String| {
            ["01", "02", "03"]
                .iter()
                .fold(reply, |reply, id| reply.replace(&id.repeat(20), id))
        };
        let slots = short_ids(desk.run("CLUSTER SLOTS"));
        assert_eq!(
            slots,
            "[[0, 4095, [\"127.0.0.1\", 8401, \"01\", {}]], \
             [4096, 8191, [\"127.0.0.1\", 8402, \"02\", {}]], \
             [8192, 12287, [\"::1\", 8403, \"03\", {}]], \
             [12288, 16383, [\"127.0.0.1\", 8401, \"01\", {}]]]"
        );
        let mut view = View::clone(&desk.node.view.load());
        view.down[2] = true;
        view.unled = [2].into();
        desk.node.show(view);
        assert_eq!(
            short_ids(desk.run("CLUSTER NODES")),
            "01 127.0.0.1:8401@7401 myself,master - 0 0 1 connected 0-4095 12288-16383\n\
             02 127.0.0.1:8402@7402 master - 0 0 1 connected 4096-8191\n\
             03 ::1:8403@7403 master,fail - 0 0 1 disconnected 8192-12287\n"
        );
        assert_eq!(
            short_ids(desk.run("CLUSTER SLOTS")),
            "[[0, 4095, [\"127.0.0.1\", 8401, \"01\", {}]], \
             [4096, 8191, [\"127.0.0.1\", 8402, \"02\", {}]], \
             [8192, 16383, [\"127.0.0.1\", 8401, \"01\", {}]]]"
        );
        // One that is cut off elects nobody: others may be better off.
        let mut cut_off = View::clone(&desk.node.view.load());
        cut_off.down[1] = true;
        let seen = View::clone(&desk.node.view.load());
        desk.node.show(cut_off);
        assert_eq!(short_ids(desk.run("CLUSTER SLOTS")), slots);
        desk.node.show(seen);
        let info = desk.run("CLUSTER INFO");
        for fact in [
            "state:fail",
            "slots_ok:12288",
            "slots_fail:4096",
            "size:3",
            "known_nodes:3",
            "shards_unled:2",
        ] {
            assert!(
                info.contains(&format!("cluster_{fact}\r\n")),
                "{fact} in {info}"
            );
        }
        assert!(
            desk.run("CLUSTER SHARDS")
                .contains("\"health\": \"failed\"")
        );
    }

    /// What CLUSTER SLOTS says at the first of three nodes: the slots, and the ports of the nodes.
    #[track_caller]
    fn check_slots(shards: [(u16, &[u16]); 4], down: &[usize], expect: &str) {
        let mut desk = Desk::at(cluster());
        let mut view = View::clone(&desk.node.view.load());
        let placement = |(leader, replicas): (u16, &[u16])| Placement {
            leader,
            replicas: replicas.to_vec(),
        };
        view.topology.as_mut().unwrap().shards = shards.map(placement).to_vec();
        down.iter().for_each(|member| view.down[*member] = true);
        desk.node.show(view);
        let mut shown = desk.run("CLUSTER SLOTS");
        for (number, host) in [(1, "127.0.0.1"), (2, "127.0.0.1"), (3, "::1")] {
            let id = format!("0{number}").repeat(20);
            let node = format!("[\"{host}\", 840{number}, \"{id}\", {{}}]");
            shown = shown.replace(&node, &format!("840{number}"));
        }
        assert_eq!(shown, expect);
    }

    #[test]
    fn who_leads_nothing_is_shown_as_a_replica_where_it_leads_last() {
        let one_leads: [(u16, &[u16]); 4] = [
            (0, &[0, 1, 2]),
            (0, &[1, 2, 0]),
            (0, &[2, 0, 1]),
            (0, &[0, 2, 1]),
        ];
        check_slots(
            one_leads,
            &[],
            "[[0, 4095, 8401, 8403], [4096, 12287, 8401], [12288, 16383, 8401, 8402]]",
        );
        check_slots(
            one_leads,
            &[2],
            "[[0, 12287, 8401], [12288, 16383, 8401, 8402]]",
        );
        // Who leads anything is a master, and nothing else.
        let two_lead: [(u16, &[u16]); 4] = [(0, &[0, 1]), (1, &[0, 1]), (1, &[1, 2]), (1, &[2, 1])];
        check_slots(
            two_lead,
            &[],
            "[[0, 4095, 8401], [4096, 8191, 8402], [8192, 12287, 8402, 8403], \
             [12288, 16383, 8402]]",
        );
        // Who has no copy is of no use.
        let by_one: [(u16, &[u16]); 4] = [(1, &[1]); 4];
        check_slots(by_one, &[], "[[0, 16383, 8402]]");
    }

    #[test]
    fn a_cluster_that_forms_answers_too() {
        let node = cluster();
        node.publish(Err("waiting for 127.0.0.1:7402".to_owned()));
        let mut desk = Desk::at(node);
        assert_eq!(desk.run("CLUSTER SLOTS"), "[]");
        assert_eq!(
            desk.run("CLUSTER NODES"),
            "0101010101010101010101010101010101010101 127.0.0.1:8401@7401 myself,master - 0 0 0 \
             connected\n"
        );
        assert!(
            desk.run("CLUSTER INFO")
                .starts_with("cluster_state:fail\r\ncluster_slots_assigned:0\r\n")
        );
    }
}
