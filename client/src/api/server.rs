//! Calls about the whole keyspace, the cluster, and the node that answers.

use bytes::Bytes;
use dht_proto::Reply;

use crate::api::commands;
use crate::command::{Arg, Args, Command, Pairs};
use crate::error::Result;
use crate::value::FromReply;

commands! {
    /// PING: answers PONG.
    ping() -> String = ["PING"];

    /// SERVICE LIST: the names of services, and how many there are to answer under each.
    service_list() -> Vec<(Bytes, u64)> = ["SERVICE LIST"];
    /// ECHO: answers the message.
    echo(message: impl Arg) -> Bytes = ["ECHO", message];
    /// DBSIZE: the number of keys in the whole cluster.
    dbsize() -> u64 = ["DBSIZE"];
    /// FLUSHALL: removes every key of the whole cluster.
    flushall() -> () = ["FLUSHALL"];
    /// FLUSHDB: removes every key of the database, which in dht is the whole cluster.
    flushdb() -> () = ["FLUSHDB"];
    /// INFO: facts and counters of the node; all sections when none is named.
    info(sections: impl Args) -> String = ["INFO", sections];
    /// TIME: the node's Unix time in seconds, and microseconds.
    time() -> (u64, u64) = ["TIME"];
    /// MEMORY USAGE: the bytes that a key and its value take.
    memory_usage(key: impl Arg) -> Option<u64> = ["MEMORY USAGE", key];
    /// MEMORY HELP: the subcommands of MEMORY.
    memory_help() -> Vec<String> = ["MEMORY HELP"];
    /// CLUSTER HELP: the subcommands of CLUSTER.
    cluster_help() -> Vec<String> = ["CLUSTER HELP"];
    /// CONFIG GET: settings whose names match one of the patterns.
    config_get(patterns: impl Args) -> Vec<(String, String)> = ["CONFIG GET", patterns];
    /// CONFIG SET: gives settings other values.
    config_set(settings: impl Pairs) -> () = ["CONFIG SET", settings];
    /// COMMAND: describes all commands.
    commands() -> Reply = ["COMMAND"];
    /// COMMAND COUNT: how many commands there are.
    command_count() -> u64 = ["COMMAND COUNT"];
    /// COMMAND DOCS: what commands do; all when none is named.
    command_docs(names: impl Args) -> Reply = ["COMMAND DOCS", names];
    /// COMMAND GETKEYS: the keys of a full command.
    command_getkeys(words: impl Args) -> Vec<Bytes> = ["COMMAND GETKEYS", words];
    /// DEBUG: what an operator may do to a node that allows it.
    debug(words: impl Args) -> Reply = ["DEBUG", words];
    /// COMMAND HELP: the subcommands of COMMAND.
    command_help() -> Vec<String> = ["COMMAND HELP"];
    /// COMMAND INFO: describes commands; all when none is named.
    command_info(names: impl Args) -> Reply = ["COMMAND INFO", names];
    /// COMMAND LIST: the names of all commands.
    command_list() -> Vec<String> = ["COMMAND LIST"];
    /// PUBLISH: sends a message to all who listen to a channel; returns how many are at the node.
    publish(channel: impl Arg, message: impl Arg) -> u64 = ["PUBLISH", channel, message];
    /// SPUBLISH: likewise to a channel of a shard.
    spublish(channel: impl Arg, message: impl Arg) -> u64 = ["SPUBLISH", channel, message];
    /// PUBSUB CHANNELS: the channels matching a pattern that clients of the node listen to.
    pubsub_channels(pattern: impl Arg) -> Vec<Bytes> = ["PUBSUB CHANNELS", pattern];
    /// PUBSUB NUMSUB: how many clients of the node listen to channels.
    pubsub_numsub(channels: impl Args) -> Vec<(Bytes, u64)> = ["PUBSUB NUMSUB", channels];
    /// PUBSUB NUMPAT: how many patterns clients of the node listen to.
    pubsub_numpat() -> u64 = ["PUBSUB NUMPAT"];
    /// PUBSUB SHARDCHANNELS: as PUBSUB CHANNELS, of shards.
    pubsub_shardchannels(pattern: impl Arg) -> Vec<Bytes> = ["PUBSUB SHARDCHANNELS", pattern];
    /// PUBSUB SHARDNUMSUB: as PUBSUB NUMSUB, of shards.
    pubsub_shardnumsub(channels: impl Args) -> Vec<(Bytes, u64)>
        = ["PUBSUB SHARDNUMSUB", channels];
    /// PUBSUB HELP: the subcommands of PUBSUB.
    pubsub_help() -> Vec<String> = ["PUBSUB HELP"];
    /// CONFIG RESETSTAT: sets the counters of INFO to 0.
    config_resetstat() -> () = ["CONFIG RESETSTAT"];
    /// CONFIG REWRITE: writes the file of settings, where there is one.
    config_rewrite() -> () = ["CONFIG REWRITE"];
    /// CONFIG HELP: the subcommands of CONFIG.
    config_help() -> Vec<String> = ["CONFIG HELP"];
    /// COMMAND GETKEYSANDFLAGS: the keys of a full command, and what is done to each.
    command_getkeysandflags(words: impl Args) -> Reply = ["COMMAND GETKEYSANDFLAGS", words];
    /// LATENCY LATEST: the latest latencies that were watched.
    latency_latest() -> Reply = ["LATENCY LATEST"];
    /// LATENCY HISTORY: the latencies of an event.
    latency_history(event: impl Arg) -> Reply = ["LATENCY HISTORY", event];
    /// LATENCY RESET: forgets the latencies of events.
    latency_reset(events: impl Args) -> u64 = ["LATENCY RESET", events];
    /// LATENCY DOCTOR: what took long at the node, in words.
    latency_doctor() -> String = ["LATENCY DOCTOR"];
    /// LATENCY HISTOGRAM: how often commands took how long; all when none is named.
    latency_histogram(names: impl Args) -> Reply = ["LATENCY HISTOGRAM", names];
    /// LATENCY HELP: the subcommands of LATENCY.
    latency_help() -> Vec<String> = ["LATENCY HELP"];
    /// SLOWLOG GET: the last of the slow commands.
    slowlog_get(count: i64) -> Reply = ["SLOWLOG GET", count];
    /// SLOWLOG LEN: how many slow commands are kept.
    slowlog_len() -> u64 = ["SLOWLOG LEN"];
    /// SLOWLOG RESET: forgets the slow commands.
    slowlog_reset() -> () = ["SLOWLOG RESET"];
    /// SLOWLOG HELP: the subcommands of SLOWLOG.
    slowlog_help() -> Vec<String> = ["SLOWLOG HELP"];
    /// SAVE: what was acknowledged is on the disk, where there is one; a Redis writes it all now.
    save() -> () = ["SAVE"];
    /// BGSAVE: has the node begin to write its data to its disk.
    bgsave() -> String = ["BGSAVE"];
    /// LASTSAVE: the Unix time at which the node's data was last written whole.
    lastsave() -> u64 = ["LASTSAVE"];
    /// WAIT: how many other copies have what was acknowledged.
    wait(copies: u64, millis: u64) -> u64 = ["WAIT", copies, millis];
    /// WAITAOF: on how many disks what was acknowledged is: at the node, and elsewhere.
    waitaof(local: u64, copies: u64, millis: u64) -> (u64, u64)
        = ["WAITAOF", local, copies, millis];
    /// CLIENT GETNAME: the name of the connection, which calls share.
    client_getname() -> Option<String> = ["CLIENT GETNAME"];
    /// CLIENT ID: the id of the connection.
    client_id() -> u64 = ["CLIENT ID"];
    /// CLIENT INFO: what the node knows of the connection.
    client_info() -> String = ["CLIENT INFO"];
    /// CLIENT HELP: the subcommands of CLIENT.
    client_help() -> Vec<String> = ["CLIENT HELP"];
    /// CLIENT KILL: closes connections of the node that the filters say; returns how many.
    client_kill(filters: impl Pairs) -> u64 = ["CLIENT KILL", filters];
    /// CLIENT PAUSE: has the clients of the node wait, `WRITE` or `ALL` of their commands.
    client_pause(millis: u64, mode: impl Arg) -> () = ["CLIENT PAUSE", millis, mode];
    /// CLIENT UNBLOCK: ends what a connection waits for, where commands wait; says whether it did.
    client_unblock(id: u64) -> bool = ["CLIENT UNBLOCK", id];
    /// ROLE: whether the server replicates another.
    role() -> Reply = ["ROLE"];
    /// CLIENT UNPAUSE: lets the clients of the node go on.
    client_unpause() -> () = ["CLIENT UNPAUSE"];
    /// CLIENT LIST: what the node knows of all its connections, a line each.
    client_list() -> String = ["CLIENT LIST"];
    /// CLUSTER INFO: the state of the cluster as the node sees it.
    cluster_info() -> String = ["CLUSTER INFO"];
    /// CLUSTER NODES: the nodes and what they lead, a line each.
    cluster_nodes() -> String = ["CLUSTER NODES"];
    /// CLUSTER SHARDS: which nodes hold which slots.
    cluster_shards() -> Reply = ["CLUSTER SHARDS"];
    /// CLUSTER LINKS: no link between nodes.
    cluster_links() -> Reply = ["CLUSTER LINKS"];
    /// CLUSTER SLOT-STATS: how many keys the node holds of slots that it leads, in a range of them.
    cluster_slot_stats(first: u32, last: u32) -> Reply
        = ["CLUSTER SLOT-STATS", "SLOTSRANGE", first, last];
    /// CLUSTER SLOTS: which node leads which slots.
    cluster_slots() -> Reply = ["CLUSTER SLOTS"];
    /// CLUSTER MYID: the id of the node.
    cluster_myid() -> String = ["CLUSTER MYID"];
    /// CLUSTER KEYSLOT: the slot of a key.
    cluster_keyslot(key: impl Arg) -> u64 = ["CLUSTER KEYSLOT", key];
    /// CLUSTER COUNTKEYSINSLOT: how many keys of a slot the node holds.
    cluster_countkeysinslot(slot: u32) -> u64 = ["CLUSTER COUNTKEYSINSLOT", slot];
    /// CLUSTER GETKEYSINSLOT: so many keys of a slot that the node holds.
    cluster_getkeysinslot(slot: u32, count: u64) -> Vec<Bytes>
        = ["CLUSTER GETKEYSINSLOT", slot, count];
    /// CLUSTER SNAPSHOT: opens a snapshot of a slot's shard; gives its id, the first and the last
    /// slot of the shard, and its time in milliseconds.
    cluster_snapshot(slot: u32) -> Vec<u64> = ["CLUSTER SNAPSHOT", slot];
    /// CLUSTER SNAPSHOT PIECE: a piece of an open snapshot, the first being number 0, and whether
    /// it is the last.
    cluster_snapshot_piece(slot: u32, id: u64, number: u64) -> (Bytes, bool)
        = ["CLUSTER SNAPSHOT", slot, "PIECE", id, number];
    /// CLUSTER EMPTY: gives up what shards held that lost most of their replicas.
    cluster_empty(shards: impl Args) -> Reply = ["CLUSTER EMPTY", shards];
}
