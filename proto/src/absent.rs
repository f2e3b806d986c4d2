//! Redis's commands of families that are out of scope here: their clients are told so, and not that
//! the name is misspelt. The only list of them.

/// Commands that have no row, and why.
#[derive(Debug)]
pub struct Absent {
    /// What is lacking, in a clause that goes on after the command's name.
    pub why: &'static str,
    /// The commands' names, in upper case, separated by blanks: `MEMORY|STATS` is a subcommand,
    /// and `JSON.*` is whatever begins so.
    pub names: &'static str,
}

/// Every family that is known and absent.
pub static ABSENT: &[Absent] = &[
    Absent {
        why: "keys hold hashes and strings here, no lists",
        names: "BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH LINDEX LINSERT LLEN LMOVE LMPOP LPOP LPOS \
                LPUSH LPUSHX LRANGE LREM LSET LTRIM RPOP RPOPLPUSH RPUSH RPUSHX SORT SORT_RO",
    },
    Absent {
        why: "keys hold hashes and strings here, no sets",
        names: "SADD SCARD SDIFF SDIFFSTORE SINTER SINTERCARD SINTERSTORE SISMEMBER SMEMBERS \
                SMISMEMBER SMOVE SPOP SRANDMEMBER SREM SSCAN SUNION SUNIONSTORE",
    },
    Absent {
        why: "keys hold hashes and strings here, no sorted sets",
        names: "BZMPOP BZPOPMAX BZPOPMIN ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER \
                ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE \
                ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK \
                ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE \
                ZUNION ZUNIONSTORE GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUS_RO \
                GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEOSEARCH GEOSEARCHSTORE",
    },
    Absent {
        why: "keys hold hashes and strings here, no streams",
        names: "XACK XACKDEL XADD XAUTOCLAIM XCLAIM XDEL XDELEX XGROUP XINFO XLEN XPENDING XRANGE \
                XREAD XREADGROUP XREVRANGE XSETID XTRIM XNACK XCFGSET",
    },
    Absent {
        why: "strings have no bits and no sketches here",
        names: "BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS GETBIT SETBIT PFADD PFCOUNT PFDEBUG \
                PFMERGE PFSELFTEST",
    },
    Absent {
        why: "there are no scripts; MULTI with WATCH is atomic",
        names: "EVAL EVAL_RO EVALSHA EVALSHA_RO FCALL FCALL_RO FUNCTION SCRIPT",
    },
    Absent {
        why: "there is one database, number 0",
        names: "MOVE SWAPDB",
    },
    Absent {
        why: "the cluster replicates and moves its keys by itself",
        names: "FAILOVER MIGRATE PSYNC REPLCONF REPLICAOF RESTORE-ASKING SLAVEOF SYNC \
                CLUSTER|ADDSLOTS CLUSTER|ADDSLOTSRANGE CLUSTER|BUMPEPOCH \
                CLUSTER|COUNT-FAILURE-REPORTS CLUSTER|DELSLOTS CLUSTER|DELSLOTSRANGE \
                CLUSTER|FAILOVER CLUSTER|FLUSHSLOTS CLUSTER|FORGET CLUSTER|MEET CLUSTER|MIGRATION \
                CLUSTER|REPLICAS CLUSTER|REPLICATE CLUSTER|RESET CLUSTER|SAVECONFIG \
                CLUSTER|SET-CONFIG-EPOCH CLUSTER|SETSLOT CLUSTER|SLAVES CLUSTER|SYNCSLOTS",
    },
    Absent {
        why: "there is one user, named default, and there are no access lists",
        names: "ACL",
    },
    Absent {
        why: "there are no modules",
        names: "MODULE BF.* CF.* CMS.* FT.* JSON.* TDIGEST.* TOPK.* TS.*",
    },
    Absent {
        why: "keys hold hashes and strings here, no vector sets",
        names: "VADD VCARD VDIM VEMB VGETATTR VINFO VISMEMBER VLINKS VRANDMEMBER VRANGE VREM \
                VSETATTR VSIM",
    },
    Absent {
        why: "no client is shown what others send; SLOWLOG GET has what took long",
        names: "MONITOR",
    },
    Absent {
        why: "a log is cut by itself; BGSAVE writes snapshots, behind which it is",
        names: "BGREWRITEAOF",
    },
    Absent {
        why: "it shows which Redis this is, and this is none; INFO server has the version",
        names: "LOLWUT",
    },
    Absent {
        why: "no connection has sets of fields; HSET takes the names with the values",
        names: "HIMPORT",
    },
    Absent {
        why: "INFO hotkeys has what is asked for most",
        names: "HOTKEYS",
    },
    Absent {
        why: "INCRBY and EXPIRE between MULTI and EXEC do the same",
        names: "INCREX",
    },
    Absent {
        why: "INFO memory and MEMORY USAGE have what is known of memory",
        names: "MEMORY|DOCTOR MEMORY|MALLOC-STATS MEMORY|PURGE MEMORY|STATS",
    },
    Absent {
        why: "LATENCY HISTORY has what it would draw",
        names: "LATENCY|GRAPH",
    },
];

/// Why there is no command of this name, if Redis has it and it is out of scope here. A subcommand
/// stands behind the command's name and a `|`.
#[must_use]
pub fn why(name: &[u8]) -> Option<&'static str> {
    let is_it = |known: &str| match known.strip_suffix('*') {
        Some(start) => name
            .get(..start.len())
            .is_some_and(|begins| begins.eq_ignore_ascii_case(start.as_bytes())),
        None => name.eq_ignore_ascii_case(known.as_bytes()),
    };
    let family = ABSENT
        .iter()
        .find(|family| family.names.split(' ').any(is_it));
    family.map(|family| family.why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::TABLE;

    #[test]
    fn what_is_absent_has_no_row_and_one_reason() {
        let names: Vec<&str> = ABSENT
            .iter()
            .flat_map(|family| family.names.split(' '))
            .collect();
        for name in &names {
            let is_sub = name.contains('|');
            let mut rows = TABLE.iter().map(|spec| match spec.name.split_once(' ') {
                Some((container, sub)) if is_sub => format!("{container}|{sub}"),
                Some((container, _)) => container.to_owned(),
                None => spec.name.to_owned(),
            });
            assert!(!rows.any(|row| row == **name), "{name}");
            let times = names.iter().filter(|other| other == &name).count();
            assert_eq!(times, 1, "{name}");
            assert_eq!(name.to_uppercase(), **name);
        }
    }

    #[test]
    fn it_is_found_in_any_case() {
        let lists = "keys hold hashes and strings here, no lists";
        assert_eq!(why(b"lPush"), Some(lists));
        assert_eq!(why(b"json.set"), Some("there are no modules"));
        assert!(why(b"Memory|Stats").is_some());
        for name in [
            &b"LPUS"[..],
            b"",
            b"GET",
            b"LPUSH RPUSH",
            b"JSON",
            b"STATS",
            b"MEMORY|USAGE",
        ] {
            assert_eq!(why(name), None);
        }
    }
}
