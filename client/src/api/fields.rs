//! Calls about fields that expire, and about hashes that are changed on conditions.

use bytes::Bytes;

use crate::api::commands;
use crate::command::{Arg, Args, Command, CountedFields, CountedValues, Pairs};
use crate::error::Result;
use crate::options::{ExpireIf, Expiry, Renewal};
use crate::value::FromReply;

commands! {
    /// HEXPIRE: sets the time to live of fields in seconds; of each 1 for done, 2 for removed at
    /// once, -2 for no such field.
    hexpire(key: impl Arg, seconds: i64, fields: impl Args) -> Vec<i64>
        = ["HEXPIRE", key, seconds, CountedFields(fields)];
    /// HEXPIRE with a condition; of each field also 0 where it was not met.
    hexpire_if(key: impl Arg, seconds: i64, condition: ExpireIf, fields: impl Args) -> Vec<i64>
        = ["HEXPIRE", key, seconds, condition, CountedFields(fields)];
    /// HPEXPIRE: likewise in milliseconds.
    hpexpire(key: impl Arg, millis: i64, fields: impl Args) -> Vec<i64>
        = ["HPEXPIRE", key, millis, CountedFields(fields)];
    /// HEXPIREAT: sets the Unix time in seconds at which fields expire.
    hexpireat(key: impl Arg, unix_seconds: i64, fields: impl Args) -> Vec<i64>
        = ["HEXPIREAT", key, unix_seconds, CountedFields(fields)];
    /// HPEXPIREAT: likewise in milliseconds.
    hpexpireat(key: impl Arg, unix_millis: i64, fields: impl Args) -> Vec<i64>
        = ["HPEXPIREAT", key, unix_millis, CountedFields(fields)];
    /// HTTL: the times to live of fields in seconds, -1 for none, -2 for no such field.
    httl(key: impl Arg, fields: impl Args) -> Vec<i64> = ["HTTL", key, CountedFields(fields)];
    /// HPTTL: likewise in milliseconds.
    hpttl(key: impl Arg, fields: impl Args) -> Vec<i64> = ["HPTTL", key, CountedFields(fields)];
    /// HEXPIRETIME: the Unix times in seconds at which fields expire, -1 for never, -2 for no such
    /// field.
    hexpiretime(key: impl Arg, fields: impl Args) -> Vec<i64>
        = ["HEXPIRETIME", key, CountedFields(fields)];
    /// HPEXPIRETIME: likewise in milliseconds.
    hpexpiretime(key: impl Arg, fields: impl Args) -> Vec<i64>
        = ["HPEXPIRETIME", key, CountedFields(fields)];
    /// HPERSIST: removes the time to live of fields; of each 1 for done, -1 for none, -2 for no
    /// such field.
    hpersist(key: impl Arg, fields: impl Args) -> Vec<i64>
        = ["HPERSIST", key, CountedFields(fields)];
    /// HGETEX: the values of fields, whose time to live is set or removed.
    hgetex(key: impl Arg, expiry: Renewal, fields: impl Args) -> Vec<Option<Bytes>>
        = ["HGETEX", key, expiry, CountedFields(fields)];
    /// HGETDEL: the values of fields, which are removed.
    hgetdel(key: impl Arg, fields: impl Args) -> Vec<Option<Bytes>>
        = ["HGETDEL", key, CountedFields(fields)];
    /// HSETEX: sets fields with a time to live.
    hsetex(key: impl Arg, expiry: Expiry, pairs: impl Pairs) -> bool
        = ["HSETEX", key, expiry, CountedValues(pairs)];
    /// HCAS: sets fields if each has the value that is expected: triples of field, expected value
    /// and new one, one after the other. Says whether it did.
    hcas(key: impl Arg, triples: impl Args) -> bool = ["HCAS", key, triples];
    /// HRANDFIELD: a random field.
    hrandfield(key: impl Arg) -> Option<Bytes> = ["HRANDFIELD", key];
    /// HRANDFIELD with a count: so many different fields, or, if it is negative, that many any.
    hrandfields(key: impl Arg, count: i64) -> Vec<Bytes> = ["HRANDFIELD", key, count];
}
