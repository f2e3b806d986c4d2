//! Redis's commands of families that are out of scope here: their clients are told so, and not that
//! the name is misspelt. The only list of them.

/// Commands that have no row, and why.
#[derive(Debug)]
pub struct Absent {
    /// What is lacking, in a clause that goes on after the command's name.
    pub why: &'static str,
    /// The commands' names, in upper case, separated by blanks.
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
                XREAD XREADGROUP XREVRANGE XSETID XTRIM",
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
        names: "FAILOVER MIGRATE PSYNC REPLCONF REPLICAOF RESTORE-ASKING SLAVEOF SYNC",
    },
    Absent {
        why: "there is one user, named default, and there are no access lists",
        names: "ACL",
    },
    Absent {
        why: "there are no modules",
        names: "MODULE",
    },
];

/// Why there is no command of this name, if Redis has it and it is out of scope here.
#[must_use]
pub fn why(name: &[u8]) -> Option<&'static str> {
    let is_it = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
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
            let rows = TABLE.iter().map(|spec| spec.name.split(' ').next());
            assert!(!rows.into_iter().any(|row| row == Some(name)), "{name}");
            let times = names.iter().filter(|other| other == &name).count();
            assert_eq!(times, 1, "{name}");
            assert_eq!(name.to_uppercase(), **name);
        }
    }

    #[test]
    fn it_is_found_in_any_case() {
        let lists = "keys hold hashes and strings here, no lists";
        assert_eq!(why(b"lPush"), Some(lists));
        for name in [&b"LPUS"[..], b"", b"GET", b"LPUSH RPUSH"] {
            assert_eq!(why(name), None);
        }
    }
}
