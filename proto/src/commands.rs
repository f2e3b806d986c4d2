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
                    "1.0.0" "O(1)" "Authenticates the connection."
                    "never_paused";
                "CLIENT CACHING" connection::client_caching LOCAL "<YES | NO>"
                    "6.0.0" "O(1)" "Refuses: nothing is tracked for a client's cache."
                    "loading noscript stale";
                "CLIENT GETNAME" connection::client_getname LOCAL ""
                    "2.6.9" "O(1)" "Returns the name of the connection."
                    "loading noscript stale";
                "CLIENT GETREDIR" connection::client_getredir LOCAL ""
                    "6.0.0" "O(1)" "Returns -1: nothing is tracked for a client's cache."
                    "loading noscript stale";
                "CLIENT HELP" server::help LOCAL ""
                    "5.0.0" "O(1)" "Returns the subcommands of CLIENT."
                    "loading stale";
                "CLIENT ID" connection::client_id LOCAL ""
                    "5.0.0" "O(1)" "Returns the unique id of the connection."
                    "loading noscript stale";
                "CLIENT INFO" connection::client_info LOCAL ""
                    "6.2.0" "O(1)" "Returns information about the connection."
                    "loading noscript stale nondeterministic_output";
                "CLIENT KILL" clients::client_kill LOCAL
                    "<ip:port | <ID client-id | TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB> \
| USER username | ADDR ip:port | LADDR ip:port | SKIPME <YES | NO> | MAXAGE maxage> \
[<ID client-id | TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB> | USER username | \
ADDR ip:port | LADDR ip:port | SKIPME <YES | NO> | MAXAGE maxage> ...]>"
                    "2.4.0" "O(N) where N is the number of connections of this node."
                    "Closes connections of this node."
                    "admin loading noscript stale";
                "CLIENT LIST" clients::client_list LOCAL
                    "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]"
                    "2.4.0" "O(N) where N is the number of connections of this node."
                    "Lists the connections of this node."
                    "admin loading noscript stale nondeterministic_output";
                "CLIENT NO-EVICT" connection::client_no_evict LOCAL "<ON | OFF>"
                    "7.0.0" "O(1)" "Accepted: no connection is ever closed to free memory."
                    "admin loading noscript stale";
                "CLIENT NO-TOUCH" connection::client_no_touch LOCAL "<ON | OFF>"
                    "7.2.0" "O(1)" "Accepted: nobody keeps account of when a key was used."
                    "loading noscript stale";
                "CLIENT PAUSE" clients::client_pause LOCAL "timeout [WRITE | ALL]"
                    "2.9.50" "O(1)" "Has the clients of this node wait, for milliseconds."
                    "admin loading noscript stale";
                "CLIENT REPLY" connection::client_reply LOCAL "<ON | OFF | SKIP>"
                    "3.2.0" "O(1)" "Says which requests of the connection are answered."
                    "loading noscript stale";
                "CLIENT SETINFO" connection::client_setinfo LOCAL
                    "<LIB-NAME libname | LIB-VER libver>"
                    "7.2.0" "O(1)" "Sets what the client library says of itself."
                    "loading noscript stale never_paused";
                "CLIENT SETNAME" connection::client_setname LOCAL "connection-name"
                    "2.6.9" "O(1)" "Sets the name of the connection."
                    "loading noscript stale never_paused";
                "CLIENT TRACKING" connection::client_tracking LOCAL
                    "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] \
[OPTIN] [OPTOUT] [NOLOOP]"
                    "6.0.0" "O(1)"
                    "Accepts OFF, and refuses ON: nothing is tracked for a client's cache."
                    "loading noscript stale";
                "CLIENT TRACKINGINFO" connection::client_trackinginfo LOCAL ""
                    "6.2.0" "O(1)" "Says that nothing is tracked for a client's cache."
                    "loading noscript stale";
                "CLIENT UNBLOCK" clients::client_unblock LOCAL "client-id [TIMEOUT | ERROR]"
                    "5.0.0" "O(1)" "Returns 0: no command waits for others to write."
                    "admin loading noscript stale";
                "CLIENT UNPAUSE" clients::client_unpause LOCAL ""
                    "6.2.0" "O(N) where N is the number of clients that wait."
                    "Lets the clients of this node go on."
                    "admin loading noscript stale never_paused";
                "ECHO" connection::echo LOCAL "message"
                    "1.0.0" "O(1)" "Returns the given string."
                    "fast loading stale";
                "HELLO" connection::hello HANDSHAKE
                    "[protover [AUTH username password] [SETNAME clientname]]"
                    "6.0.0" "O(1)" "Chooses the protocol's version and introduces both sides."
                    "never_paused";
                "PING" connection::ping SIGN "[message]"
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
                "BGSAVE" server::bgsave LOCAL "[SCHEDULE]"
                    "1.0.0" "O(N) in the background, where N is the bytes of the node's data."
                    "Has this node write a snapshot of each of its shards. Writes do not need it."
                    "admin noscript no_async_loading";
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
                "COMMAND GETKEYSANDFLAGS" server::command_getkeysandflags LOCAL
                    "command arg [arg ...]"
                    "7.0.0" "O(N) where N is the number of arguments."
                    "Returns the keys of a full command, each with what is done to it."
                    "loading stale @connection";
                "COMMAND HELP" server::help LOCAL ""
                    "5.0.0" "O(1)" "Returns the subcommands of COMMAND."
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
                "CONFIG HELP" server::help LOCAL ""
                    "5.0.0" "O(1)" "Returns the subcommands of CONFIG."
                    "loading stale";
                "CONFIG RESETSTAT" server::config_resetstat LOCAL ""
                    "2.0.0" "O(1)" "Sets the counters that INFO shows of this node to 0."
                    "admin loading noscript stale";
                "CONFIG REWRITE" server::config_rewrite LOCAL ""
                    "2.8.0" "O(1)" "Refuses: a node changes no file of settings."
                    "admin loading noscript stale";
                "CONFIG SET" server::config_set LOCAL "parameter value [parameter value ...]"
                    "2.0.0" "O(N) where N is the number of parameters."
                    "Changes settings: what is told of keys in the whole cluster, what is slow at \
this node."
                    "admin loading noscript stale request_policy:all_nodes \
response_policy:all_succeeded";
                "DBSIZE" server::dbsize READ_ALL ""
                    "1.0.0" "O(S) where S is the number of shards."
                    "Returns the number of keys in the whole cluster."
                    "fast response_policy:agg_sum";
                "DEBUG" debug::debug LOCAL
                    "<SLEEP seconds | SET-ACTIVE-EXPIRE flag | OBJECT key | \
DIGEST [first-slot last-slot] | HELP>"
                    "1.0.0" "O(1), and O(N) where N is the size of what OBJECT or DIGEST looks at."
                    "Lets an operator do what no program should, where the node allows it."
                    "admin noscript loading stale protected";
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
                "LASTSAVE" server::lastsave LOCAL ""
                    "1.0.0" "O(1)"
                    "Returns the time, in seconds, at which BGSAVE was last done on this node."
                    "fast loading stale @admin @dangerous nondeterministic_output";
                "LATENCY DOCTOR" measured::latency_doctor LOCAL ""
                    "2.8.13" "O(1)" "Says in words what took long at this node."
                    "admin loading noscript stale nondeterministic_output \
request_policy:all_nodes response_policy:special";
                "LATENCY HELP" server::help LOCAL ""
                    "2.8.13" "O(1)" "Returns the subcommands of LATENCY."
                    "loading stale";
                "LATENCY HISTOGRAM" measured::latency_histogram LOCAL
                    "[command-name [command-name ...]]"
                    "7.0.0" "O(N) where N is the number of commands."
                    "Returns how often commands took how long at this node."
                    "admin loading noscript stale nondeterministic_output \
request_policy:all_nodes response_policy:special";
                "LATENCY HISTORY" measured::latency_history LOCAL "event"
                    "2.8.13" "O(1)" "Returns when something of a kind took long at this node, and \
how long."
                    "admin loading noscript stale nondeterministic_output \
request_policy:all_nodes response_policy:special";
                "LATENCY LATEST" measured::latency_latest LOCAL ""
                    "2.8.13" "O(1)" "Returns the last time that each kind of event took long at \
this node."
                    "admin loading noscript stale nondeterministic_output \
request_policy:all_nodes response_policy:special";
                "LATENCY RESET" measured::latency_reset LOCAL "[event [event ...]]"
                    "2.8.13" "O(1)" "Forgets kinds of events that took long; returns how many."
                    "admin loading noscript stale request_policy:all_nodes \
response_policy:all_succeeded";
                "MEMORY HELP" server::help LOCAL ""
                    "4.0.0" "O(1)" "Returns the subcommands of MEMORY."
                    "loading stale";
                "MEMORY USAGE" object::memory_usage READ "key [SAMPLES count]"
                    "4.0.0" "O(1); for a large hash, a step for some hundred fields."
                    "Returns the bytes of memory that a key and its value take."
                    "RO";
                "ROLE" server::role LOCAL ""
                    "2.8.12" "O(1)"
                    "Returns master: every node leads shards, and none replicates another."
                    "fast loading noscript stale @admin @dangerous";
                "SAVE" server::save LOCAL ""
                    "1.0.0" "O(1)"
                    "Does nothing: whatever was acknowledged is on the disk, where there is one."
                    "admin noscript no_async_loading no_multi";
                "SHUTDOWN" server::shutdown LOCAL
                    "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]"
                    "1.0.0" "O(1)" "Ends this node, as SIGTERM does; there is no answer."
                    "admin noscript loading stale no_multi allow_busy";
                "SLOWLOG GET" measured::slowlog_get LOCAL "[count]"
                    "2.2.12" "O(N) where N is the number of commands returned."
                    "Returns the last commands that took long at this node."
                    "admin loading stale request_policy:all_nodes nondeterministic_output";
                "SLOWLOG HELP" server::help LOCAL ""
                    "6.2.0" "O(1)" "Returns the subcommands of SLOWLOG."
                    "loading stale";
                "SLOWLOG LEN" measured::slowlog_len LOCAL ""
                    "2.2.12" "O(1)" "Returns how many slow commands are kept."
                    "admin loading stale request_policy:all_nodes response_policy:agg_sum \
nondeterministic_output";
                "SLOWLOG RESET" measured::slowlog_reset LOCAL ""
                    "2.2.12" "O(N) where N is the number of commands that are kept."
                    "Forgets the slow commands."
                    "admin loading stale request_policy:all_nodes response_policy:all_succeeded";
                "TIME" server::time LOCAL ""
                    "2.6.0" "O(1)" "Returns this node's time: seconds and microseconds."
                    "fast loading stale nondeterministic_output";
            }
            Generic {
                "COPY" generic::copy WRITE
                    "source-key destination-key [DB destination-db] [REPLACE]"
                    "6.2.0" "O(N) where N is the size of the value."
                    "Copies a value with its time to live to another key."
                    "denyoom RO access OW update";
                "DEL" generic::del WRITE_EACH "key [key ...]"
                    "1.0.0" "O(N) where N is the number of keys; memory is freed in slices."
                    "Removes keys and returns how many there were."
                    "RM delete response_policy:agg_sum";
                "DUMP" generic::dump READ "key"
                    "2.6.0" "O(N) where N is the size of the value."
                    "Returns a value as bytes that RESTORE takes, in a format of its own."
                    "nondeterministic_output RO access";
                "EXISTS" generic::exists READ_EACH "key [key ...]"
                    "1.0.0" "O(N) where N is the number of keys."
                    "Returns how many of the keys exist."
                    "fast RO response_policy:agg_sum";
                "EXPIRE" generic::expire WRITE "key seconds [NX | XX | GT | LT]"
                    "1.0.0" "O(1)" "Sets a key's time to live in seconds."
                    "fast";
                "EXPIREAT" generic::expireat WRITE "key unix-time-seconds [NX | XX | GT | LT]"
                    "1.2.0" "O(1)" "Sets the time at which a key expires, in seconds."
                    "fast";
                "EXPIRETIME" generic::expiretime READ "key"
                    "7.0.0" "O(1)" "Returns the time at which a key expires, in seconds."
                    "fast";
                "KEYS" generic::keys READ_ALL "pattern"
                    "1.0.0" "O(N) where N is the number of keys in the whole cluster."
                    "Returns all keys that match a pattern."
                    "@dangerous nondeterministic_output_order";
                "OBJECT ENCODING" object::encoding READ "key"
                    "2.2.3" "O(1)" "Returns how a value is kept."
                    "nondeterministic_output RO";
                "OBJECT FREQ" object::freq READ "key"
                    "4.0.0" "O(1)" "Refuses: nobody counts how often a key is used."
                    "nondeterministic_output RO";
                "OBJECT HELP" server::help LOCAL ""
                    "6.2.0" "O(1)" "Returns the subcommands of OBJECT."
                    "loading stale @keyspace";
                "OBJECT IDLETIME" object::idletime READ "key"
                    "2.2.3" "O(1)" "Returns 0: nobody keeps account of when a key was used."
                    "nondeterministic_output RO";
                "OBJECT REFCOUNT" object::refcount READ "key"
                    "2.2.3" "O(1)" "Returns 1: no two keys share a value."
                    "nondeterministic_output RO";
                "PERSIST" generic::persist WRITE "key"
                    "2.2.0" "O(1)" "Removes a key's time to live."
                    "fast";
                "PEXPIRE" generic::pexpire WRITE "key milliseconds [NX | XX | GT | LT]"
                    "2.6.0" "O(1)" "Sets a key's time to live in milliseconds."
                    "fast";
                "PEXPIREAT" generic::pexpireat WRITE
                    "key unix-time-milliseconds [NX | XX | GT | LT]"
                    "2.6.0" "O(1)" "Sets the time at which a key expires, in milliseconds."
                    "fast";
                "PEXPIRETIME" generic::pexpiretime READ "key"
                    "7.0.0" "O(1)" "Returns the time at which a key expires, in milliseconds."
                    "fast";
                "PTTL" generic::pttl READ "key"
                    "2.6.0" "O(1)" "Returns a key's time to live in milliseconds."
                    "fast nondeterministic_output";
                "RANDOMKEY" generic::randomkey READ_ANY ""
                    "1.0.0" "O(S) where S is the number of slots."
                    "Returns a random key of the whole cluster."
                    "nondeterministic_output";
                "RENAME" generic::rename WRITE "key newkey"
                    "1.0.0" "O(1); O(N) for a large hash of N fields while its shard is copied."
                    "Renames a key; what the new name held is replaced."
                    "RW access delete OW update";
                "RENAMENX" generic::renamenx WRITE "key newkey"
                    "1.0.0" "O(1); O(N) for a large hash of N fields while its shard is copied."
                    "Renames a key if the new name is free."
                    "fast RW access delete OW insert";
                "RESTORE" generic::restore WRITE
                    "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME idle-seconds] \
[FREQ frequency]"
                    "2.6.0" "O(N) where N is the size of the value."
                    "Makes a key of what DUMP has returned."
                    "denyoom @dangerous OW update";
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
                "WAIT" server::wait LOCAL "numreplicas timeout"
                    "3.0.0" "O(1)"
                    "Returns how many other copies have what was acknowledged; it never waits."
                    "noscript @connection request_policy:all_shards response_policy:agg_min";
                "WAITAOF" server::waitaof LOCAL "numlocal numreplicas timeout"
                    "7.2.0" "O(S) where S is the number of shards."
                    "Returns on how many disks each acknowledged write is: here, and elsewhere."
                    "noscript @connection request_policy:all_shards response_policy:agg_min";
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
                "DELEX" string::delex WRITE
                    "key [IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | \
IFDNE ifdne-digest]"
                    "8.4.0"
                    "O(1); with a digest O(N) where N is the length; memory is freed in slices."
                    "Removes a key if its string value, or its digest, is or is not the given one."
                    "fast RW delete";
                "DIGEST" string::digest READ "key"
                    "8.4.0" "O(N) where N is the length of the string."
                    "Returns the XXH3 hash of a string, as 16 hexadecimal digits."
                    "fast";
                "GET" string::get READ "key"
                    "1.0.0" "O(1)" "Returns the string value of a key."
                    "fast";
                "GETDEL" string::getdel WRITE "key"
                    "6.2.0" "O(1)" "Returns the string value of a key and removes the key."
                    "fast RW access delete";
                "GETEX" string::getex WRITE
                    "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
PXAT unix-time-milliseconds | PERSIST]"
                    "6.2.0" "O(1)"
                    "Returns the string value of a key and sets or removes its time to live."
                    "fast RW access update";
                "GETRANGE" string::getrange READ "key start end"
                    "2.4.0" "O(N) where N is the length of the part."
                    "Returns a part of a string, its first and last byte counted from either end."
                    "RO access";
                "GETSET" string::getset WRITE "key value"
                    "1.0.0" "O(1)"
                    "Sets a string and returns the one before; SET with GET does so, too."
                    "denyoom fast RW access update";
                "INCR" string::incr WRITE "key"
                    "1.0.0" "O(1)" "Adds one to an integer."
                    "fast denyoom RW access update";
                "INCRBY" string::incrby WRITE "key increment"
                    "1.0.0" "O(1)" "Adds a number to an integer."
                    "fast denyoom RW access update";
                "INCRBYFLOAT" string::incrbyfloat WRITE "key increment"
                    "2.6.0" "O(1)" "Adds a number to a float."
                    "denyoom fast RW access update";
                "LCS" lcs::lcs READ
                    "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]"
                    "7.0.0" "O(N*M) where N and M are the lengths of the strings."
                    "Returns the longest common subsequence of two strings of one slot."
                    "RO access";
                "MGET" string::mget READ_EACH "key [key ...]"
                    "1.0.0" "O(N) where N is the number of keys."
                    "Returns the string values of several keys."
                    "fast";
                "MSET" string::mset WRITE_EACH "key value [key value ...]"
                    "1.0.1" "O(N) where N is the number of keys."
                    "Sets several keys; atomic within a slot."
                    "denyoom OW update response_policy:all_succeeded";
                "MSETEX" string::msetex WRITE
                    "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | \
EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]"
                    "8.4.0" "O(N) where N is the number of keys."
                    "Sets several keys of one slot, all or none, with one time to live."
                    "denyoom movablekeys OW update";
                "MSETNX" string::msetnx WRITE "key value [key value ...]"
                    "1.0.1" "O(N) where N is the number of keys."
                    "Sets several keys of one slot if none of them exists."
                    "denyoom OW insert request_policy:multi_shard response_policy:agg_min";
                "PSETEX" string::psetex WRITE "key milliseconds value"
                    "2.6.0" "O(1)" "Sets a string with a time to live in milliseconds."
                    "denyoom OW update";
                "SET" string::set WRITE
                    "key value [NX | XX | IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | \
IFDNE ifdne-digest] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
PXAT unix-time-milliseconds | KEEPTTL]"
                    "1.0.0" "O(1)" "Sets the string value of a key."
                    "denyoom RW access update variable_flags";
                "SETEX" string::setex WRITE "key seconds value"
                    "2.0.0" "O(1)" "Sets a string with a time to live in seconds."
                    "denyoom OW update";
                "SETNX" string::setnx WRITE "key value"
                    "1.0.0" "O(1)" "Sets a string if the key does not exist."
                    "denyoom fast OW insert";
                "SETRANGE" string::setrange WRITE "key offset value"
                    "2.2.0" "O(N) where N is the length of the value and of what is padded."
                    "Overwrites a part of a string, which is padded with zero bytes if need be."
                    "denyoom RW update";
                "STRLEN" string::strlen READ "key"
                    "2.2.0" "O(1)" "Returns the length of a string."
                    "fast RO";
                "SUBSTR" string::substr READ "key start end"
                    "1.0.0" "O(N) where N is the length of the part."
                    "Returns a part of a string; the older name of GETRANGE."
                    "RO access";
            }
            Hash {
                "HCAS" hash::hcas WRITE
                    "key [NIL nil-value] field expected new [field expected new ...]"
                    "7.0.0" "O(N) where N is the number of fields given."
                    "Sets fields if each has the expected value, and says whether it did; NIL \
names the word that stands for no field."
                    "denyoom fast RW access update";
                "HDEL" hash::hdel WRITE "key field [field ...]"
                    "2.0.0" "O(N) where N is the number of fields given."
                    "Removes fields of a hash; the last field takes the key with it."
                    "fast RW delete";
                "HEXISTS" hash::hexists READ "key field"
                    "2.0.0" "O(1)" "Says whether a field exists."
                    "fast RO";
                "HEXPIRE" fields::hexpire WRITE
                    "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]"
                    "7.4.0" "O(N) where N is the number of fields given."
                    "Sets the time to live of fields in seconds."
                    "denyoom fast RW update";
                "HEXPIREAT" fields::hexpireat WRITE
                    "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]"
                    "7.4.0" "O(N) where N is the number of fields given."
                    "Sets the time at which fields expire, in seconds."
                    "denyoom fast RW update";
                "HEXPIRETIME" fields::hexpiretime READ
                    "key FIELDS numfields field [field ...]"
                    "7.4.0" "O(N) where N is the number of fields given."
                    "Returns the times at which fields expire, in seconds."
                    "fast";
                "HGET" hash::hget READ "key field"
                    "2.0.0" "O(1)" "Returns the value of a field."
                    "fast";
                "HGETALL" hash::hgetall READ "key"
                    "2.0.0" "O(N) where N is the size of the hash."
                    "Returns all fields and values of a hash."
                    "nondeterministic_output_order";
                "HGETDEL" fields::hgetdel WRITE "key FIELDS numfields field [field ...]"
                    "8.0.0" "O(N) where N is the number of fields given."
                    "Returns the values of fields and removes them."
                    "fast RW access delete";
                "HGETEX" fields::hgetex WRITE
                    "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]"
                    "8.0.0" "O(N) where N is the number of fields given."
                    "Returns the values of fields and sets or removes their time to live."
                    "denyoom fast RW access update";
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
                "HPERSIST" fields::hpersist WRITE "key FIELDS numfields field [field ...]"
                    "7.4.0" "O(N) where N is the number of fields given."
                    "Removes the time to live of fields."
                    "fast RW update";
                "HPEXPIRE" fields::hpexpire WRITE
                    "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]"
                    "7.4.0" "O(N) where N is the number of fields given."
                    "Sets the time to live of fields in milliseconds."
                    "denyoom fast RW update";
                "HPEXPIREAT" fields::hpexpireat WRITE
                    "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field \
[field ...]"
                    "7.4.0" "O(N) where N is the number of fields given."
                    "Sets the time at which fields expire, in milliseconds."
                    "denyoom fast RW update";
                "HPEXPIRETIME" fields::hpexpiretime READ
                    "key FIELDS numfields field [field ...]"
                    "7.4.0" "O(N) where N is the number of fields given."
                    "Returns the times at which fields expire, in milliseconds."
                    "fast";
                "HPTTL" fields::hpttl READ "key FIELDS numfields field [field ...]"
                    "7.4.0" "O(N) where N is the number of fields given."
                    "Returns the times to live of fields in milliseconds."
                    "fast nondeterministic_output";
                "HRANDFIELD" hash::hrandfield READ "key [count [WITHVALUES]]"
                    "6.2.0" "O(N) where N is the number of fields asked for; of a large hash, \
for more than 512, the size of the hash."
                    "Returns random fields of a hash."
                    "nondeterministic_output";
                "HSCAN" hash::hscan READ
                    "key cursor [MATCH pattern] [COUNT count] [NOVALUES]"
                    "2.8.0" "O(COUNT) a call, O(N) for a whole iteration."
                    "Iterates over the fields of a hash."
                    "nondeterministic_output";
                "HSET" hash::hset WRITE "key field value [field value ...]"
                    "2.0.0" "O(N) where N is the number of fields given."
                    "Sets the values of one or more fields of a hash."
                    "fast denyoom";
                "HSETEX" fields::hsetex WRITE
                    "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]"
                    "8.0.0" "O(N) where N is the number of fields given."
                    "Sets fields with a time to live, all or none."
                    "denyoom fast RW update";
                "HSETNX" hash::hsetnx WRITE "key field value"
                    "2.0.0" "O(1)" "Sets a field that does not exist yet."
                    "fast denyoom RW insert";
                "HSTRLEN" hash::hstrlen READ "key field"
                    "3.2.0" "O(1)" "Returns the length of a field's value."
                    "fast RO";
                "HTTL" fields::httl READ "key FIELDS numfields field [field ...]"
                    "7.4.0" "O(N) where N is the number of fields given."
                    "Returns the times to live of fields in seconds."
                    "fast nondeterministic_output";
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
                "EXEC" transaction::exec EXECUTION ""
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
            PubSub {
                "PSUBSCRIBE" pubsub::psubscribe LISTEN "pattern [pattern ...]"
                    "2.0.0" "O(N) where N is the number of patterns."
                    "Listens to the channels that match patterns, at whichever node is spoken."
                    "pubsub noscript loading stale";
                "PUBLISH" pubsub::publish LOCAL "channel message"
                    "2.0.0" "O(N+M) where N is the number of listeners and M that of all patterns."
                    "Sends a message to all who listen to a channel; returns how many are here."
                    "pubsub loading stale fast says";
                "PUBSUB CHANNELS" pubsub::channels LOCAL "[pattern]"
                    "2.8.0" "O(N) where N is the number of channels."
                    "Returns the channels that clients of this node listen to."
                    "pubsub loading stale";
                "PUBSUB HELP" server::help LOCAL ""
                    "6.2.0" "O(1)" "Returns the subcommands of PUBSUB."
                    "loading stale";
                "PUBSUB NUMPAT" pubsub::numpat LOCAL ""
                    "2.8.0" "O(1)"
                    "Returns how many patterns clients of this node listen to."
                    "pubsub loading stale";
                "PUBSUB NUMSUB" pubsub::numsub LOCAL "[channel [channel ...]]"
                    "2.8.0" "O(N) where N is the number of channels given."
                    "Returns how many clients of this node listen to channels."
                    "pubsub loading stale";
                "PUBSUB SHARDCHANNELS" pubsub::shardchannels LOCAL "[pattern]"
                    "7.0.0" "O(N) where N is the number of channels."
                    "Returns the channels of shards that clients of this node listen to."
                    "pubsub loading stale";
                "PUBSUB SHARDNUMSUB" pubsub::shardnumsub LOCAL "[channel [channel ...]]"
                    "7.0.0" "O(N) where N is the number of channels given."
                    "Returns how many clients of this node listen to channels of shards."
                    "pubsub loading stale";
                "PUNSUBSCRIBE" pubsub::punsubscribe LISTEN "[pattern [pattern ...]]"
                    "2.0.0" "O(N) where N is the number of patterns."
                    "Ends to listen to patterns, or to all of them."
                    "pubsub noscript loading stale";
                "SPUBLISH" pubsub::spublish LOCAL "shardchannel message"
                    "7.0.0" "O(N) where N is the number of listeners."
                    "Sends a message to all who listen to a channel of a shard, at every node."
                    "pubsub loading stale fast not_key says";
                "SSUBSCRIBE" pubsub::ssubscribe LISTEN "shardchannel [shardchannel ...]"
                    "7.0.0" "O(N) where N is the number of channels."
                    "Listens to channels of one slot."
                    "pubsub noscript loading stale not_key";
                "SUBSCRIBE" pubsub::subscribe LISTEN "channel [channel ...]"
                    "2.0.0" "O(N) where N is the number of channels."
                    "Listens to channels, at whichever node is spoken."
                    "pubsub noscript loading stale";
                "SUNSUBSCRIBE" pubsub::sunsubscribe LISTEN "[shardchannel [shardchannel ...]]"
                    "7.0.0" "O(N) where N is the number of channels."
                    "Ends to listen to channels of shards, or to all of them."
                    "pubsub noscript loading stale not_key";
                "UNSUBSCRIBE" pubsub::unsubscribe LISTEN "[channel [channel ...]]"
                    "2.0.0" "O(N) where N is the number of channels."
                    "Ends to listen to channels, or to all of them."
                    "pubsub noscript loading stale";
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
                "CLUSTER HELP" server::help LOCAL ""
                    "5.0.0" "O(1)" "Returns the subcommands of CLUSTER."
                    "loading stale";
                "CLUSTER INFO" cluster::info LOCAL ""
                    "3.0.0" "O(1)" "Returns the state of the cluster as this node sees it."
                    "stale nondeterministic_output";
                "CLUSTER KEYSLOT" cluster::keyslot LOCAL "key"
                    "3.0.0" "O(N) where N is the length of the key." "Returns the slot of a key."
                    "stale";
                "CLUSTER LINKS" cluster::links LOCAL ""
                    "7.0.0" "O(1)" "Returns no link between nodes."
                    "stale nondeterministic_output";
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
                "CLUSTER SLOT-STATS" cluster::slot_stats LOCAL
                    "<SLOTSRANGE start-slot end-slot | ORDERBY metric [LIMIT limit] [ASC | DESC]>"
                    "8.2.0" "O(N) where N is the number of slots."
                    "Returns how many keys this node holds of slots that it leads."
                    "loading stale nondeterministic_output";
                "CLUSTER SLOTS" cluster::slots LOCAL ""
                    "3.0.0" "O(N) where N is the number of shards."
                    "Describes which node leads which slots."
                    "stale nondeterministic_output";
                "CLUSTER SNAPSHOT" cluster::snapshot SNAPSHOT "slot [PIECE snapshot-id number]"
                    "7.0.0" "O(N) where N is the bytes of a piece."
                    "Opens a snapshot of a slot's shard, or returns a piece of one that is open."
                    "admin stale nondeterministic_output";
                "READONLY" cluster::readonly LOCAL ""
                    "3.0.0" "O(1)"
                    "Has a node send on reads of what it holds a copy of, in place of MOVED."
                    "fast loading stale @connection";
                "READWRITE" cluster::readwrite LOCAL ""
                    "3.0.0" "O(1)" "Takes back READONLY."
                    "fast loading stale @connection";
            }
            Service {
                "SERVICE CALL" service::call CALL "name method [argument [argument ...]]"
                    "7.0.0" "O(1) besides what the provider does."
                    "Has the provider of a service answer a call, and returns its answer.";
                "SERVICE LIST" service::list LOCAL ""
                    "7.0.0" "O(N) where N is the number of services."
                    "Returns the names of services, and how many there are to answer under each.";
                "SERVICE REGISTER" service::register LOCAL "name"
                    "7.0.0" "O(1)" "Offers to answer calls under a name, on this connection.";
                "SERVICE UNREGISTER" service::unregister LOCAL "name"
                    "7.0.0" "O(1)" "Answers no further calls under a name.";
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
