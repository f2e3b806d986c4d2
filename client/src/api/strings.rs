//! Calls about strings.

use bytes::Bytes;

use crate::api::commands;
use crate::command::{Arg, Args, Command, CountedPairs, Pairs};
use crate::error::Result;
use crate::options::{Renewal, SetOptions, ValueIs};
use crate::value::FromReply;

commands! {
    /// GET: the string value of a key.
    get(key: impl Arg) -> Option<Bytes> = ["GET", key];
    /// GETDEL: the value of a key, which is removed.
    getdel(key: impl Arg) -> Option<Bytes> = ["GETDEL", key];
    /// GETEX: the value of a key, whose time to live is set or removed.
    getex(key: impl Arg, expiry: Renewal) -> Option<Bytes> = ["GETEX", key, expiry];
    /// GETRANGE: a part of a string; negative positions count from its end.
    getrange(key: impl Arg, start: i64, end: i64) -> Bytes = ["GETRANGE", key, start, end];
    /// SUBSTR: the older name of GETRANGE.
    substr(key: impl Arg, start: i64, end: i64) -> Bytes = ["SUBSTR", key, start, end];
    /// GETSET: writes a value and returns the one before it.
    getset(key: impl Arg, value: impl Arg) -> Option<Bytes> = ["GETSET", key, value];
    /// SET.
    set(key: impl Arg, value: impl Arg) -> () = ["SET", key, value];
    /// SET with options; says whether the value was written.
    set_with(key: impl Arg, value: impl Arg, options: SetOptions) -> bool
        = ["SET", key, value, options];
    /// SET … GET: writes a value and returns the one before it.
    set_get(key: impl Arg, value: impl Arg) -> Option<Bytes> = ["SET", key, value, "GET"];
    /// SET … IFEQ or IFNE: writes if the value is, or is not, the given one; says whether it did.
    set_if(key: impl Arg, value: impl Arg, condition: ValueIs<'_>) -> bool
        = ["SET", key, value, condition];
    /// SETEX: sets a string with a time to live in seconds.
    setex(key: impl Arg, seconds: u64, value: impl Arg) -> () = ["SETEX", key, seconds, value];
    /// PSETEX: sets a string with a time to live in milliseconds.
    psetex(key: impl Arg, millis: u64, value: impl Arg) -> () = ["PSETEX", key, millis, value];
    /// SETNX: sets a string if the key does not exist; says whether it did.
    setnx(key: impl Arg, value: impl Arg) -> bool = ["SETNX", key, value];
    /// SETRANGE: overwrites a part of a string and returns its length.
    setrange(key: impl Arg, offset: u64, value: impl Arg) -> u64
        = ["SETRANGE", key, offset, value];
    /// DELEX: removes a key; says whether there was one.
    delex(key: impl Arg) -> bool = ["DELEX", key];
    /// DIGEST: the XXH3 hash of a string, as hexadecimal digits.
    digest(key: impl Arg) -> Option<String> = ["DIGEST", key];
    /// LCS: the longest common subsequence of two strings of one slot.
    lcs(one: impl Arg, two: impl Arg) -> Bytes = ["LCS", one, two];
    /// LCS … LEN: how long it is.
    lcs_len(one: impl Arg, two: impl Arg) -> u64 = ["LCS", one, two, "LEN"];
    /// DELEX with a condition on its value; says whether the key was removed.
    delex_if(key: impl Arg, condition: ValueIs<'_>) -> bool = ["DELEX", key, condition];
    /// MGET: the string values of several keys, of any slots.
    mget(keys: impl Args) -> Vec<Option<Bytes>> = ["MGET", keys];
    /// MSET: sets several keys, of any slots; atomic within a slot.
    mset(pairs: impl Pairs) -> () = ["MSET", pairs];
    /// MSETNX: sets several keys of one slot if none exists; says whether it did.
    msetnx(pairs: impl Pairs) -> bool = ["MSETNX", pairs];
    /// MSETEX: sets several keys of one slot, all or none; says whether it did.
    msetex(pairs: impl Pairs, options: SetOptions) -> bool
        = ["MSETEX", CountedPairs(pairs), options];
    /// APPEND: appends to a string and returns its length.
    append(key: impl Arg, value: impl Arg) -> u64 = ["APPEND", key, value];
    /// STRLEN: the length of a string.
    strlen(key: impl Arg) -> u64 = ["STRLEN", key];
    /// INCR: adds one and returns the sum.
    incr(key: impl Arg) -> i64 = ["INCR", key];
    /// INCRBY: adds and returns the sum.
    incrby(key: impl Arg, increment: i64) -> i64 = ["INCRBY", key, increment];
    /// INCRBYFLOAT: adds to a float and returns the sum.
    incrbyfloat(key: impl Arg, increment: f64) -> f64 = ["INCRBYFLOAT", key, increment];
    /// DECR: subtracts one and returns the difference.
    decr(key: impl Arg) -> i64 = ["DECR", key];
    /// DECRBY: subtracts and returns the difference.
    decrby(key: impl Arg, decrement: i64) -> i64 = ["DECRBY", key, decrement];
}
