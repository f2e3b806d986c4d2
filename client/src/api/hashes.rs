//! Calls about hashes.

use bytes::Bytes;

use crate::api::commands;
use crate::command::{Arg, Args, Command, Pairs};
use crate::error::Result;
use crate::options::ScanOptions;
use crate::value::FromReply;

commands! {
    /// HSET: sets fields and returns how many of them are new.
    hset(key: impl Arg, pairs: impl Pairs) -> u64 = ["HSET", key, pairs];
    /// HMSET: the older form of HSET.
    hmset(key: impl Arg, pairs: impl Pairs) -> () = ["HMSET", key, pairs];
    /// HSETNX: sets a field that does not exist yet; says whether it did.
    hsetnx(key: impl Arg, field: impl Arg, value: impl Arg) -> bool = ["HSETNX", key, field, value];
    /// HGET: the value of a field.
    hget(key: impl Arg, field: impl Arg) -> Option<Bytes> = ["HGET", key, field];
    /// HMGET: the values of several fields.
    hmget(key: impl Arg, fields: impl Args) -> Vec<Option<Bytes>> = ["HMGET", key, fields];
    /// HGETALL: all fields and values.
    hgetall(key: impl Arg) -> Vec<(Bytes, Bytes)> = ["HGETALL", key];
    /// HKEYS: all fields.
    hkeys(key: impl Arg) -> Vec<Bytes> = ["HKEYS", key];
    /// HVALS: all values.
    hvals(key: impl Arg) -> Vec<Bytes> = ["HVALS", key];
    /// HLEN: the number of fields.
    hlen(key: impl Arg) -> u64 = ["HLEN", key];
    /// HSTRLEN: the length of a field's value.
    hstrlen(key: impl Arg, field: impl Arg) -> u64 = ["HSTRLEN", key, field];
    /// HEXISTS: whether a field exists.
    hexists(key: impl Arg, field: impl Arg) -> bool = ["HEXISTS", key, field];
    /// HDEL: removes fields and returns how many there were.
    hdel(key: impl Arg, fields: impl Args) -> u64 = ["HDEL", key, fields];
    /// HINCRBY: adds to the integer in a field and returns the sum.
    hincrby(key: impl Arg, field: impl Arg, increment: i64) -> i64
        = ["HINCRBY", key, field, increment];
    /// HINCRBYFLOAT: adds to the float in a field and returns the sum.
    hincrbyfloat(key: impl Arg, field: impl Arg, increment: f64) -> f64
        = ["HINCRBYFLOAT", key, field, increment];
    /// HSCAN: the next cursor, 0 at the end, and some fields with their values.
    /// [`Client::scan_fields`](crate::Client::scan_fields) follows the cursor.
    hscan(key: impl Arg, cursor: u64, options: &ScanOptions) -> (u64, Vec<(Bytes, Bytes)>)
        = ["HSCAN", key, cursor, options];
}
