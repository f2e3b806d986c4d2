//! What commands do otherwise than in Redis, for docs/commands.md. Their scripts in
//! tests/data/commands and tests/data/differences.txt hold the same against servers.

/// Commands that no Redis has.
pub const OWN: [&str; 8] = [
    "CLUSTER EMPTY",
    "CLUSTER SESSION",
    "CLUSTER SNAPSHOT",
    "HCAS",
    "SERVICE CALL",
    "SERVICE LIST",
    "SERVICE REGISTER",
    "SERVICE UNREGISTER",
];

const ONE_SLOT: &str = "In a cluster its keys have to be of one slot, as in Redis Cluster; \
the error names two keys that are not.";
const ANY_SLOTS: &str = "Takes keys of any slots, of which Redis Cluster takes one; atomic within \
each slot.";
const WHOLE: &str = "Is about the whole cluster, not about one node.";
const NOT_QUEUED: &str = "Is refused between MULTI and EXEC.";
const SLOW: &str = "A command takes as long as it is on its way, replication included; of commands \
that were sent together only the time of all may be known.";
const NO_ORDER: &str = "A hash keeps the order of its fields up to 64 of them, whatever their \
length.";
const VALUE: &str = "A string has at most 64 MiB.";

/// Names of commands, and what is otherwise.
pub const DIFFERS: [(&str, &str); 69] = [
    ("APPEND", VALUE),
    (
        "CLIENT TRACKING",
        "ON is refused: a client cannot keep what it has read and be told of changes. \
notify-keyspace-events tells of changes of any key.",
    ),
    ("ASKING", "Is accepted without a cluster, too."),
    (
        "CLIENT KILL",
        "Closes connections of this node; there is one user, default.",
    ),
    (
        "CLIENT PAUSE",
        "Holds up the clients of this node, not those of others, and not what expires.",
    ),
    (
        "CLIENT REPLY",
        "OFF and SKIP are refused in native frames, which have notifications; after MULTI it takes \
effect when EXEC is answered.",
    ),
    (
        "CLIENT UNPAUSE",
        "Is executed even while all wait, as are AUTH, HELLO, CLIENT SETINFO and CLIENT SETNAME: \
who connects can end a pause. In Redis they wait as well.",
    ),
    (
        "CLIENT LIST",
        "Shows this node's connections, once they have sent something: until then nobody knows \
whether it is a client or a node. What they take in memory is 0.",
    ),
    (
        "CLUSTER LINKS",
        "Is always empty; CLUSTER NODES says which nodes can be reached.",
    ),
    (
        "CLUSTER SLOTS",
        "Shows a node that leads anything as a master only, though it holds copies of what others \
lead. One that leads nothing is shown as a replica, once, at a shard that it holds a copy of. A \
slot without a leader is shown at the node that is asked, which waits for one.",
    ),
    (
        "CLUSTER SLOT-STATS",
        "Knows of key-count only, and answers without a cluster, too.",
    ),
    ("COMMAND DOCS", "The texts are our own."),
    (
        "CONFIG GET",
        "Knows the few settings that mean the same here, and shows no password.",
    ),
    (
        "CONFIG SET",
        "Sets notify-keyspace-events for the whole cluster, and for this node \
slowlog-log-slower-than, slowlog-max-len (at most 4096) and latency-monitor-threshold. What cannot \
be changed may be set to what it is, but for a password. Of notify-keyspace-events the letter m \
is refused: reads that find nothing are not told.",
    ),
    ("CONFIG RESETSTAT", "Concerns this node."),
    (
        "CONFIG REWRITE",
        "Is refused also where there is a file: a node reads it, and never writes it.",
    ),
    (
        "COPY",
        "In a cluster its keys have to be of one slot, as in Redis Cluster; the error names two \
keys that are not. There is one database, so DB is 0, or the index is out of range.",
    ),
    ("DBSIZE", WHOLE),
    (
        "DEBUG",
        "Has few subcommands. SLEEP has the clients of the node wait, which goes on to take part \
in its cluster; OBJECT and DIGEST look at the node's own copy, and DIGEST at some slots only when \
they are given. SLEEP and SET-ACTIVE-EXPIRE refuse what is no number.",
    ),
    ("DEL", ANY_SLOTS),
    (
        "DUMP",
        "The format is our own; Redis does not take it, nor does RESTORE Redis's.",
    ),
    ("EXISTS", ANY_SLOTS),
    ("FLUSHALL", WHOLE),
    ("FLUSHDB", WHOLE),
    (
        "HEXPIRE",
        "A hash whose fields have all expired does not exist, even before they are removed.",
    ),
    ("HGETALL", NO_ORDER),
    ("HKEYS", NO_ORDER),
    (
        "HLEN",
        "Fields that have expired do not count; Redis counts them until they are removed.",
    ),
    ("HRANDFIELD", "A negative count is at least -1048576."),
    (
        "HSCAN",
        "Cursors are other numbers; they stay valid while the hash grows.",
    ),
    ("HVALS", NO_ORDER),
    ("INFO", "Has the fields that are true here, of this node."),
    ("KEYS", WHOLE),
    ("LATENCY DOCTOR", "The text is our own."),
    (
        "LCS",
        "In a cluster its keys have to be of one slot. The lengths of the strings, multiplied, are \
at most 16777216.",
    ),
    ("PSUBSCRIBE", NOT_QUEUED),
    (
        "PUBLISH",
        "On a RESP3 connection that listens to its own message, the answer comes before the \
message. Subscribers at other nodes may get it before the keyspace events of what its sender \
changed earlier.",
    ),
    (
        "ROLE",
        "Is always master, without replicas: shards are replicated, not nodes. CLUSTER SHARDS \
shows who leads what.",
    ),
    ("SSUBSCRIBE", NOT_QUEUED),
    ("SUBSCRIBE", NOT_QUEUED),
    ("LATENCY HISTOGRAM", SLOW),
    (
        "LATENCY LATEST",
        "The events are command, fast-command and expire-cycle; SLOWLOG GET says what is measured.",
    ),
    (
        "MEMORY USAGE",
        "Says what our own layout takes, as the allocator gives it. All fields count, however few \
samples are asked for.",
    ),
    ("MGET", ANY_SLOTS),
    ("MSET", ANY_SLOTS),
    ("MSETEX", ONE_SLOT),
    ("MSETNX", ONE_SLOT),
    (
        "OBJECT ENCODING",
        "A hash is a listpack up to 64 fields and 8 KiB, whatever they hold. A string is int, \
embstr or raw by what it holds, also after APPEND and SETRANGE, which make it raw in Redis.",
    ),
    ("OBJECT IDLETIME", "Is always 0."),
    ("OBJECT REFCOUNT", "Is always 1."),
    ("RANDOMKEY", WHOLE),
    (
        "READONLY",
        "Is accepted without a cluster, too. Reads are never stale: a node sends those of what it \
holds a copy of on to the leader, also from the redirecting port. Those of a transaction are \
answered with MOVED.",
    ),
    ("READWRITE", "Is accepted without a cluster, too."),
    ("RENAME", ONE_SLOT),
    ("RENAMENX", ONE_SLOT),
    (
        "RESTORE",
        "Takes what DUMP of this server gives, and nothing else.",
    ),
    (
        "SCAN",
        "Covers the whole cluster from any node with one cursor; cursors are other numbers.",
    ),
    (
        "SELECT",
        "There is one database, 0; any other index is out of range.",
    ),
    ("SET", VALUE),
    ("SETRANGE", VALUE),
    (
        "SHUTDOWN",
        "Hands over what the node leads, but for NOW; SAVE asks for a disk, which has everything \
already. One that has begun is not stopped, so ABORT finds none. Native frames answer OK first.",
    ),
    ("SLOWLOG GET", SLOW),
    ("TOUCH", ANY_SLOTS),
    ("UNLINK", ANY_SLOTS),
    (
        "WAIT",
        "Never waits: an answered write is with a majority of the copies already.",
    ),
    (
        "WAITAOF",
        "Never waits: where nodes have disks, an answered write is on those of a majority already, \
which are counted as one here and the rest elsewhere.",
    ),
    (
        "WATCH",
        "In a cluster its keys have to be of one slot; a watch ends after five minutes.",
    ),
    (
        "HCAS",
        "A field keeps its time to live; docs/consistency.md says how to use it. To name \
a field twice is an error: ERR a field is given twice.",
    ),
    (
        "CLUSTER EMPTY",
        "Gives data up, and asks for no more than the numbers of the shards.",
    ),
];

/// What a command does otherwise.
#[must_use]
pub fn of(name: &str) -> Option<&'static str> {
    let found = DIFFERS.iter().find(|(differs, _)| *differs == name);
    found.map(|(_, how)| *how)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::TABLE;

    #[test]
    fn differences_are_sentences_about_commands_of_the_table() {
        let is_known = |name: &str| TABLE.iter().any(|spec| spec.name == name);
        for (name, how) in DIFFERS {
            assert!(is_known(name), "{name}");
            assert!(how.ends_with('.') && !how.contains("  "), "{name}: {how}");
            assert_eq!(of(name), Some(how), "{name} is there twice");
        }
        assert!(OWN.iter().all(|name| is_known(name)));
    }
}
