//! Calls about keys of any type.

use bytes::Bytes;

use crate::api::commands;
use crate::command::{Arg, Args, Command};
use crate::error::Result;
use crate::options::{ExpireIf, ScanOptions};
use crate::value::FromReply;

commands! {
    /// DEL: removes keys and returns how many there were.
    del(keys: impl Args) -> u64 = ["DEL", keys];
    /// UNLINK: removes keys and returns how many there were.
    unlink(keys: impl Args) -> u64 = ["UNLINK", keys];
    /// EXISTS: returns how many of the keys exist.
    exists(keys: impl Args) -> u64 = ["EXISTS", keys];
    /// TOUCH: returns how many of the keys exist.
    touch(keys: impl Args) -> u64 = ["TOUCH", keys];
    /// TYPE: `hash`, `string` or `none`.
    key_type(key: impl Arg) -> String = ["TYPE", key];
    /// RENAME: what the new name held is replaced.
    rename(key: impl Arg, new: impl Arg) -> () = ["RENAME", key, new];
    /// RENAMENX: says whether the new name was free.
    renamenx(key: impl Arg, new: impl Arg) -> bool = ["RENAMENX", key, new];
    /// COPY: says whether there was something to copy and the other key was free.
    copy(from: impl Arg, to: impl Arg) -> bool = ["COPY", from, to];
    /// COPY … REPLACE: says whether there was something to copy.
    copy_replace(from: impl Arg, to: impl Arg) -> bool = ["COPY", from, to, "REPLACE"];
    /// DUMP: a value as bytes that RESTORE takes.
    dump(key: impl Arg) -> Option<Bytes> = ["DUMP", key];
    /// RESTORE: makes a key of what DUMP has returned; 0 milliseconds mean that it never expires.
    restore(key: impl Arg, millis: u64, value: impl Arg) -> () = ["RESTORE", key, millis, value];
    /// RESTORE … REPLACE: also where there is a key already.
    restore_replace(key: impl Arg, millis: u64, value: impl Arg) -> ()
        = ["RESTORE", key, millis, value, "REPLACE"];
    /// EXPIRE: sets a time to live in seconds; says whether the key exists.
    expire(key: impl Arg, seconds: i64) -> bool = ["EXPIRE", key, seconds];
    /// EXPIRE with a condition; says whether the time was set.
    expire_if(key: impl Arg, seconds: i64, condition: ExpireIf) -> bool
        = ["EXPIRE", key, seconds, condition];
    /// PEXPIRE: sets a time to live in milliseconds; says whether the key exists.
    pexpire(key: impl Arg, millis: i64) -> bool = ["PEXPIRE", key, millis];
    /// PEXPIRE with a condition; says whether the time was set.
    pexpire_if(key: impl Arg, millis: i64, condition: ExpireIf) -> bool
        = ["PEXPIRE", key, millis, condition];
    /// EXPIREAT: sets the Unix time, in seconds, at which a key expires; says whether it exists.
    expireat(key: impl Arg, unix_seconds: i64) -> bool = ["EXPIREAT", key, unix_seconds];
    /// EXPIREAT with a condition; says whether the time was set.
    expireat_if(key: impl Arg, unix_seconds: i64, condition: ExpireIf) -> bool
        = ["EXPIREAT", key, unix_seconds, condition];
    /// PEXPIREAT: likewise in milliseconds.
    pexpireat(key: impl Arg, unix_millis: i64) -> bool = ["PEXPIREAT", key, unix_millis];
    /// PEXPIREAT with a condition; says whether the time was set.
    pexpireat_if(key: impl Arg, unix_millis: i64, condition: ExpireIf) -> bool
        = ["PEXPIREAT", key, unix_millis, condition];
    /// TTL: the time to live in seconds, -1 for none, -2 for no such key.
    ttl(key: impl Arg) -> i64 = ["TTL", key];
    /// PTTL: the time to live in milliseconds, -1 for none, -2 for no such key.
    pttl(key: impl Arg) -> i64 = ["PTTL", key];
    /// EXPIRETIME: the Unix time in seconds at which a key expires, -1 for never, -2 for no such
    /// key.
    expiretime(key: impl Arg) -> i64 = ["EXPIRETIME", key];
    /// PEXPIRETIME: likewise in milliseconds.
    pexpiretime(key: impl Arg) -> i64 = ["PEXPIRETIME", key];
    /// PERSIST: removes the time to live; says whether there was one.
    persist(key: impl Arg) -> bool = ["PERSIST", key];
    /// SCAN: the next cursor, 0 at the end, and some keys of the whole cluster.
    /// [`Client::scan_keys`](crate::Client::scan_keys) follows the cursor.
    scan(cursor: u64, options: &ScanOptions) -> (u64, Vec<Bytes>) = ["SCAN", cursor, options];
    /// SCAN … TYPE: keys of one type.
    scan_type(cursor: u64, options: &ScanOptions, kind: &str) -> (u64, Vec<Bytes>)
        = ["SCAN", cursor, options, "TYPE", kind];
    /// KEYS: all keys of the whole cluster that match a glob pattern.
    keys(pattern: impl Arg) -> Vec<Bytes> = ["KEYS", pattern];
    /// RANDOMKEY: any key, unless there is none.
    randomkey() -> Option<Bytes> = ["RANDOMKEY"];
    /// OBJECT ENCODING: how a value is kept.
    object_encoding(key: impl Arg) -> Option<String> = ["OBJECT ENCODING", key];
    /// OBJECT FREQ: how often a key is used, where that is counted.
    object_freq(key: impl Arg) -> Option<i64> = ["OBJECT FREQ", key];
    /// OBJECT IDLETIME: for how many seconds a key was not used, where that is known.
    object_idletime(key: impl Arg) -> Option<i64> = ["OBJECT IDLETIME", key];
    /// OBJECT REFCOUNT: how many keys share the value.
    object_refcount(key: impl Arg) -> Option<i64> = ["OBJECT REFCOUNT", key];
    /// OBJECT HELP: the subcommands of OBJECT.
    object_help() -> Vec<String> = ["OBJECT HELP"];
}
