//! Typed commands: one list, from which the methods of [`Client`] and of [`Pipeline`] are made.

use bytes::Bytes;

use crate::client::Client;
use crate::command::{Arg, Args, Command, Pairs};
use crate::error::Result;
use crate::options::{ExpireIf, ScanOptions, SetOptions};
use crate::pipeline::Pipeline;
use crate::value::FromReply;

/// The command of a row below.
macro_rules! command {
    ($name:literal) => {
        Command::new($name)
    };
    ($name:literal $(, $word:expr)+) => {{
        let mut command = Command::new($name);
        $($word.append_to(&mut command);)+
        command
    }};
}

/// Makes the methods of a list of commands, each `name(parameters) -> type = [words]`. A word in
/// quotes is sent as it is, any other names a parameter.
macro_rules! commands {
    ($(
        $(#[$doc:meta])*
        $name:ident($($param:ident: $type:ty),*) -> $value:ty = [$($word:expr),+];
    )*) => {
        impl Client {
            $($(#[$doc])*
            ///
            /// # Errors
            /// Any of [`Error`](crate::Error).
            pub async fn $name(&self, $($param: $type),*) -> Result<$value> {
                <$value>::from_reply(self.run(command!($($word),+)).await?)
            })*
        }

        impl Pipeline<'_> {
            $($(#[$doc])*
            pub fn $name(self, $($param: $type),*) -> Self {
                self.command(command!($($word),+))
            })*
        }
    };
}

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
    /// TTL: the time to live in seconds, -1 for none, -2 for no such key.
    ttl(key: impl Arg) -> i64 = ["TTL", key];
    /// PTTL: the time to live in milliseconds, -1 for none, -2 for no such key.
    pttl(key: impl Arg) -> i64 = ["PTTL", key];
    /// PERSIST: removes the time to live; says whether there was one.
    persist(key: impl Arg) -> bool = ["PERSIST", key];
    /// SCAN: the next cursor, 0 at the end, and some keys of the whole cluster.
    scan(cursor: u64, options: &ScanOptions) -> (u64, Vec<Bytes>) = ["SCAN", cursor, options];
    /// KEYS: all keys of the whole cluster that match a glob pattern.
    keys(pattern: impl Arg) -> Vec<Bytes> = ["KEYS", pattern];
    /// DBSIZE: the number of keys in the whole cluster.
    dbsize() -> u64 = ["DBSIZE"];
    /// FLUSHALL: removes every key of the whole cluster.
    flushall() -> () = ["FLUSHALL"];
    /// PING: answers PONG.
    ping() -> String = ["PING"];

    /// GET: the string value of a key.
    get(key: impl Arg) -> Option<Bytes> = ["GET", key];
    /// SET.
    set(key: impl Arg, value: impl Arg) -> () = ["SET", key, value];
    /// SET with options; says whether the value was written.
    set_with(key: impl Arg, value: impl Arg, options: SetOptions) -> bool
        = ["SET", key, value, options];
    /// SET … GET: writes a value and returns the one before it.
    set_get(key: impl Arg, value: impl Arg) -> Option<Bytes> = ["SET", key, value, "GET"];
    /// MGET: the string values of several keys, of any slots.
    mget(keys: impl Args) -> Vec<Option<Bytes>> = ["MGET", keys];
    /// MSET: sets several keys, of any slots; atomic within a slot.
    mset(pairs: impl Pairs) -> () = ["MSET", pairs];
    /// APPEND: appends to a string and returns its length.
    append(key: impl Arg, value: impl Arg) -> u64 = ["APPEND", key, value];
    /// STRLEN: the length of a string.
    strlen(key: impl Arg) -> u64 = ["STRLEN", key];
    /// INCR: adds one and returns the sum.
    incr(key: impl Arg) -> i64 = ["INCR", key];
    /// INCRBY: adds and returns the sum.
    incrby(key: impl Arg, increment: i64) -> i64 = ["INCRBY", key, increment];
    /// DECR: subtracts one and returns the difference.
    decr(key: impl Arg) -> i64 = ["DECR", key];
    /// DECRBY: subtracts and returns the difference.
    decrby(key: impl Arg, decrement: i64) -> i64 = ["DECRBY", key, decrement];

    /// HSET: sets fields and returns how many of them are new.
    hset(key: impl Arg, pairs: impl Pairs) -> u64 = ["HSET", key, pairs];
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
    hscan(key: impl Arg, cursor: u64, options: &ScanOptions) -> (u64, Vec<(Bytes, Bytes)>)
        = ["HSCAN", key, cursor, options];
}
