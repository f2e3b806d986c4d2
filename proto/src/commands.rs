//! The command table: the only place where a command is declared.
//!
//! A row is: name, handler, kind, syntax, the Redis version that introduced it, complexity,
//! summary, and what `COMMAND INFO` says of it that does not follow from its kind, if anything.
//! The syntax line is the schema; see [`crate::syntax`]. Rows are sorted by name inside their
//! family.
//!
//! [`for_each_command`](crate::for_each_command) hands the rows to a macro: here it makes
//! [`TABLE`], in the node the table of handlers, so a row without its function does not compile.

use crate::spec::{Family, Kind, Spec};

/// Calls the macro `$with` with every row of the command table.
#[macro_export]
macro_rules! for_each_command {
    ($with:ident) => {
        $with! {
            Connection {
                "AUTH" connection::auth HANDSHAKE "[username] password"
                    "1.0.0" "O(1)" "Authenticates the connection.";
                "CLIENT GETNAME" connection::client_getname LOCAL ""
                    "2.6.9" "O(1)" "Returns the name of the connection."
                    "loading noscript stale";
                "CLIENT ID" connection::client_id LOCAL ""
                    "5.0.0" "O(1)" "Returns the unique id of the connection."
                    "loading noscript stale";
                "CLIENT INFO" connection::client_info LOCAL ""
                    "6.2.0" "O(1)" "Returns information about the connection."
                    "loading noscript stale nondeterministic_output";
                "CLIENT LIST" connection::client_list LOCAL
                    "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]"
                    "2.4.0" "O(N) where N is the number of connections of this node."
                    "Lists the connections of this node."
                    "admin loading noscript stale nondeterministic_output";
                "CLIENT SETINFO" connection::client_setinfo LOCAL
                    "<LIB-NAME libname | LIB-VER libver>"
                    "7.2.0" "O(1)" "Sets what the client library says of itself."
                    "loading noscript stale";
                "CLIENT SETNAME" connection::client_setname LOCAL "connection-name"
                    "2.6.9" "O(1)" "Sets the name of the connection."
                    "loading noscript stale";
                "ECHO" connection::echo LOCAL "message"
                    "1.0.0" "O(1)" "Returns the given string."
                    "fast loading stale";
                "HELLO" connection::hello HANDSHAKE
                    "[protover [AUTH username password] [SETNAME clientname]]"
                    "6.0.0" "O(1)" "Chooses the protocol's version and introduces both sides.";
                "PING" connection::ping LOCAL "[message]"
                    "1.0.0" "O(1)" "Answers PONG, or the given message."
                    "fast request_policy:all_shards response_policy:all_succeeded";
                "QUIT" connection::quit ENDING "[ignored [ignored ...]]"
                    "1.0.0" "O(1)" "Closes the connection after all earlier replies.";
                "RESET" connection::reset ENDING ""
                    "6.2.0" "O(1)" "Puts the connection back into its first state.";
                "SELECT" connection::select LOCAL "index"
                    "1.0.0" "O(1)" "Accepts database 0, the only one."
                    "fast loading stale";
            }
            Server {
                "COMMAND" server::command LOCAL ""
                    "2.8.13" "O(N) where N is the number of commands."
                    "Describes all commands."
                    "loading stale @connection nondeterministic_output_order";
                "COMMAND COUNT" server::command_count LOCAL ""
                    "2.8.13" "O(1)" "Returns the number of commands."
                    "loading stale @connection";
                "COMMAND DOCS" server::command_docs LOCAL "[command-name [command-name ...]]"
                    "7.0.0" "O(N) where N is the number of commands asked for."
                    "Returns the documentation of commands."
                    "loading stale @connection nondeterministic_output_order";
                "COMMAND GETKEYS" server::command_getkeys LOCAL "command arg [arg ...]"
                    "2.8.13" "O(N) where N is the number of arguments."
                    "Returns the keys of a full command."
                    "loading stale @connection";
                "COMMAND INFO" server::command_info LOCAL "[command-name [command-name ...]]"
                    "2.8.13" "O(N) where N is the number of commands asked for."
                    "Describes the named commands."
                    "loading stale @connection nondeterministic_output_order";
                "COMMAND LIST" server::command_list LOCAL
                    "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]"
                    "7.0.0" "O(N) where N is the number of commands."
                    "Returns the names of commands."
                    "loading stale @connection nondeterministic_output_order";
                "CONFIG GET" server::config_get LOCAL "parameter [parameter ...]"
                    "2.0.0" "O(N) where N is the number of parameters."
                    "Returns the values of settings."
                    "admin loading noscript stale";
                "DBSIZE" server::dbsize READ_ALL ""
                    "1.0.0" "O(S) where S is the number of shards."
                    "Returns the number of keys in the whole cluster."
                    "fast response_policy:agg_sum";
                "FLUSHALL" server::flushall WRITE_ALL "[ASYNC | SYNC]"
                    "1.0.0" "O(S) where S is the number of slots; memory is freed in slices."
                    "Removes all keys of the whole cluster.";
                "FLUSHDB" server::flushdb WRITE_ALL "[ASYNC | SYNC]"
                    "1.0.0" "O(S) where S is the number of slots; memory is freed in slices."
                    "Removes all keys of the whole cluster.";
                "INFO" server::info LOCAL "[section [section ...]]"
                    "1.0.0" "O(1)" "Returns facts and counters of this node."
                    "loading stale @dangerous nondeterministic_output request_policy:all_shards \
response_policy:special";
                "TIME" server::time LOCAL ""
                    "2.6.0" "O(1)" "Returns this node's time: seconds and microseconds."
                    "fast loading stale nondeterministic_output";
            }
            Generic {
                "DEL" generic::del WRITE_EACH "key [key ...]"
                    "1.0.0" "O(N) where N is the number of keys; memory is freed in slices."
                    "Removes keys and returns how many there were."
                    "RM delete response_policy:agg_sum";
                "EXISTS" generic::exists READ_EACH "key [key ...]"
                    "1.0.0" "O(N) where N is the number of keys."
                    "Returns how many of the keys exist."
                    "fast RO response_policy:agg_sum";
                "EXPIRE" generic::expire WRITE "key seconds [NX | XX | GT | LT]"
                    "1.0.0" "O(1)" "Sets a key's time to live in seconds."
                    "fast";
                "KEYS" generic::keys READ_ALL "pattern"
                    "1.0.0" "O(N) where N is the number of keys in the whole cluster."
                    "Returns all keys that match a pattern."
                    "@dangerous nondeterministic_output_order";
                "PERSIST" generic::persist WRITE "key"
                    "2.2.0" "O(1)" "Removes a key's time to live."
                    "fast";
                "PEXPIRE" generic::pexpire WRITE "key milliseconds [NX | XX | GT | LT]"
                    "2.6.0" "O(1)" "Sets a key's time to live in milliseconds."
                    "fast";
                "PTTL" generic::pttl READ "key"
                    "2.6.0" "O(1)" "Returns a key's time to live in milliseconds."
                    "fast nondeterministic_output";
                "SCAN" generic::scan CURSOR
                    "cursor [MATCH pattern] [COUNT count] [TYPE type]"
                    "2.8.0" "O(COUNT) a call, O(N) for a whole iteration."
                    "Iterates over the keys of the whole cluster.";
                "TOUCH" generic::touch READ_EACH "key [key ...]"
                    "3.2.1" "O(N) where N is the number of keys."
                    "Returns how many of the keys exist."
                    "fast RO response_policy:agg_sum";
                "TTL" generic::ttl READ "key"
                    "1.0.0" "O(1)" "Returns a key's time to live in seconds."
                    "fast nondeterministic_output";
                "TYPE" generic::type_of READ "key"
                    "1.0.0" "O(1)" "Returns the type of a key's value."
                    "fast RO";
                "UNLINK" generic::unlink WRITE_EACH "key [key ...]"
                    "4.0.0" "O(N) where N is the number of keys; memory is freed in slices."
                    "Removes keys and returns how many there were."
                    "fast RM delete response_policy:agg_sum";
            }
            String {
                "APPEND" string::append WRITE "key value"
                    "2.0.0" "O(1) amortized." "Appends to a string and returns its length."
                    "fast denyoom RW insert";
                "DECR" string::decr WRITE "key"
                    "1.0.0" "O(1)" "Subtracts one from an integer."
                    "fast denyoom RW access update";
                "DECRBY" string::decrby WRITE "key decrement"
                    "1.0.0" "O(1)" "Subtracts a number from an integer."
                    "fast denyoom RW access update";
                "GET" string::get READ "key"
                    "1.0.0" "O(1)" "Returns the string value of a key."
                    "fast";
                "INCR" string::incr WRITE "key"
                    "1.0.0" "O(1)" "Adds one to an integer."
                    "fast denyoom RW access update";
                "INCRBY" string::incrby WRITE "key increment"
                    "1.0.0" "O(1)" "Adds a number to an integer."
                    "fast denyoom RW access update";
                "MGET" string::mget READ_EACH "key [key ...]"
                    "1.0.0" "O(N) where N is the number of keys."
                    "Returns the string values of several keys."
                    "fast";
                "MSET" string::mset WRITE_EACH "key value [key value ...]"
                    "1.0.1" "O(N) where N is the number of keys."
                    "Sets several keys; atomic within a slot."
                    "denyoom OW update response_policy:all_succeeded";
                "SET" string::set WRITE
                    "key value [NX | XX] [GET] [EX seconds | PX milliseconds | \
EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]"
                    "1.0.0" "O(1)" "Sets the string value of a key."
                    "denyoom RW access update variable_flags";
                "STRLEN" string::strlen READ "key"
                    "2.2.0" "O(1)" "Returns the length of a string."
                    "fast RO";
            }
            Hash {
                "HDEL" hash::hdel WRITE "key field [field ...]"
                    "2.0.0" "O(N) where N is the number of fields given."
                    "Removes fields of a hash; the last field takes the key with it."
                    "fast RW delete";
                "HEXISTS" hash::hexists READ "key field"
                    "2.0.0" "O(1)" "Says whether a field exists."
                    "fast RO";
                "HGET" hash::hget READ "key field"
                    "2.0.0" "O(1)" "Returns the value of a field."
                    "fast";
                "HGETALL" hash::hgetall READ "key"
                    "2.0.0" "O(N) where N is the size of the hash."
                    "Returns all fields and values of a hash."
                    "nondeterministic_output_order";
                "HINCRBY" hash::hincrby WRITE "key field increment"
                    "2.0.0" "O(1)" "Adds a number to the integer in a field."
                    "fast denyoom RW access update";
                "HINCRBYFLOAT" hash::hincrbyfloat WRITE "key field increment"
                    "2.6.0" "O(1)" "Adds a number to the float in a field."
                    "fast denyoom RW access update";
                "HKEYS" hash::hkeys READ "key"
                    "2.0.0" "O(N) where N is the size of the hash."
                    "Returns all fields of a hash."
                    "nondeterministic_output_order";
                "HLEN" hash::hlen READ "key"
                    "2.0.0" "O(1)" "Returns the number of fields of a hash."
                    "fast RO";
                "HMGET" hash::hmget READ "key field [field ...]"
                    "2.0.0" "O(N) where N is the number of fields given."
                    "Returns the values of several fields."
                    "fast";
                "HMSET" hash::hmset WRITE "key field value [field value ...]"
                    "2.0.0" "O(N) where N is the number of fields given."
                    "Sets the values of one or more fields; the older form of HSET."
                    "fast denyoom";
                "HSCAN" hash::hscan READ "key cursor [MATCH pattern] [COUNT count]"
                    "2.8.0" "O(COUNT) a call, O(N) for a whole iteration."
                    "Iterates over the fields of a hash."
                    "nondeterministic_output";
                "HSET" hash::hset WRITE "key field value [field value ...]"
                    "2.0.0" "O(N) where N is the number of fields given."
                    "Sets the values of one or more fields of a hash."
                    "fast denyoom";
                "HSETNX" hash::hsetnx WRITE "key field value"
                    "2.0.0" "O(1)" "Sets a field that does not exist yet."
                    "fast denyoom RW insert";
                "HSTRLEN" hash::hstrlen READ "key field"
                    "3.2.0" "O(1)" "Returns the length of a field's value."
                    "fast RO";
                "HVALS" hash::hvals READ "key"
                    "2.0.0" "O(N) where N is the size of the hash."
                    "Returns all values of a hash."
                    "nondeterministic_output_order";
            }
            Transaction {
                "DISCARD" transaction::discard TRANSACTION ""
                    "2.0.0" "O(N) where N is the number of commands since MULTI."
                    "Forgets the commands since MULTI and the watched keys."
                    "allow_busy fast loading noscript stale";
                "EXEC" transaction::exec TRANSACTION ""
                    "1.2.0" "O(N) where N is the cost of the commands since MULTI."
                    "Executes the commands since MULTI together, unless a watched key has changed."
                    "loading noscript skip_slowlog stale";
                "MULTI" transaction::multi TRANSACTION ""
                    "1.2.0" "O(1)" "Begins a transaction: commands wait for EXEC."
                    "allow_busy fast loading noscript stale";
                "UNWATCH" transaction::unwatch LOCAL ""
                    "2.2.0" "O(1)" "Forgets the watched keys."
                    "allow_busy fast loading noscript stale";
                "WATCH" transaction::watch TRANSACTION "key [key ...]"
                    "2.2.0" "O(1) a key."
                    "Watches keys: the next EXEC executes nothing if one has changed."
                    "RO allow_busy fast loading noscript stale";
            }
            Cluster {
                "ASKING" cluster::asking LOCAL ""
                    "3.0.0" "O(1)" "Accepted for clients of Redis Cluster; changes nothing."
                    "fast @connection";
                "CLUSTER COUNTKEYSINSLOT" cluster::countkeysinslot LOCAL "slot"
                    "3.0.0" "O(1)" "Returns how many keys of a slot this node holds."
                    "stale";
                "CLUSTER EMPTY" cluster::empty META "shard [shard ...]"
                    "7.0.0" "O(N) where N is the number of shards given."
                    "Gives up what shards held that lost most of their replicas; they serve again."
                    "admin stale";
                "CLUSTER GETKEYSINSLOT" cluster::getkeysinslot LOCAL "slot count"
                    "3.0.0" "O(N) where N is the number of keys asked for."
                    "Returns keys of a slot that this node holds."
                    "stale nondeterministic_output";
                "CLUSTER INFO" cluster::info LOCAL ""
                    "3.0.0" "O(1)" "Returns the state of the cluster as this node sees it."
                    "stale nondeterministic_output";
                "CLUSTER KEYSLOT" cluster::keyslot LOCAL "key"
                    "3.0.0" "O(N) where N is the length of the key." "Returns the slot of a key."
                    "stale";
                "CLUSTER MYID" cluster::myid LOCAL ""
                    "3.0.0" "O(1)" "Returns the id of this node."
                    "stale";
                "CLUSTER NODES" cluster::nodes LOCAL ""
                    "3.0.0" "O(N) where N is the number of nodes."
                    "Describes the nodes and what they lead, a line each."
                    "stale nondeterministic_output";
                "CLUSTER SESSION" cluster::session SESSION "slot"
                    "7.0.0" "O(1)"
                    "Opens a session with a slot's shard; returns its id and the shard's slots."
                    "stale nondeterministic_output";
                "CLUSTER SHARDS" cluster::shards LOCAL ""
                    "7.0.0" "O(N) where N is the number of nodes."
                    "Describes which nodes hold which slots."
                    "stale nondeterministic_output";
                "CLUSTER SLOTS" cluster::slots LOCAL ""
                    "3.0.0" "O(N) where N is the number of shards."
                    "Describes which node leads which slots."
                    "stale nondeterministic_output";
                "READONLY" cluster::readonly LOCAL ""
                    "3.0.0" "O(1)" "Accepted for clients of Redis Cluster; changes nothing."
                    "fast loading stale @connection";
                "READWRITE" cluster::readwrite LOCAL ""
                    "3.0.0" "O(1)" "Accepted for clients of Redis Cluster; changes nothing."
                    "fast loading stale @connection";
            }
        }
    };
}

macro_rules! table {
    ($($family:ident { $($name:literal $file:ident::$handler:ident $kind:ident
        $syntax:literal $since:literal $complexity:literal $summary:literal
        $($info:literal)?;)* })*) => {
        /// Every command, in the order of the rows above.
        pub static TABLE: &[Spec] = &[$($(Spec {
            name: $name,
            family: Family::$family,
            kind: Kind::$kind,
            syntax: $syntax,
            since: $since,
            complexity: $complexity,
            summary: $summary,
            info: concat!($($info)?),
        },)*)*];
    };
}

for_each_command!(table);
