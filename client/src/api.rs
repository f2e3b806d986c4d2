//! Typed commands: lists, a file a subject, from which the methods of [`Client`], [`Node`],
//! [`Watch`] and [`Pipeline`] are made.
//!
//! A row of the command table has one call or more, or is among [`OF_CONNECTIONS`].

use crate::client::Client;
use crate::node::Node;
use crate::pipeline::Pipeline;
use crate::transaction::Watch;

mod fields;
mod hashes;
mod keys;
mod server;
mod strings;

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
        $name:ident($($param:ident: $type:ty),*) -> $value:ty
            = [$first:literal $(, $word:expr)*];
    )*) => {
        $crate::api::commands!(calls $crate::api::Client [$(
            ($(#[$doc])*) $name($($param: $type),*) -> $value = [$first $(, $word)*];)*]);
        $crate::api::commands!(calls $crate::api::Node [$(
            ($(#[$doc])*) $name($($param: $type),*) -> $value = [$first $(, $word)*];)*]);
        $crate::api::commands!(calls $crate::api::Watch [$(
            ($(#[$doc])*) $name($($param: $type),*) -> $value = [$first $(, $word)*];)*]);

        impl $crate::api::Pipeline<'_> {
            $($(#[$doc])*
            pub fn $name(self, $($param: $type),*) -> Self {
                self.command($crate::api::command!($first $(, $word)*))
            })*
        }

        /// The commands of the calls above.
        #[cfg(test)]
        pub const TYPED: &[&str] = &[$($first),*];
    };
    (calls $on:ty [$(
        ($(#[$doc:meta])*) $name:ident($($param:ident: $type:ty),*) -> $value:ty
            = [$first:literal $(, $word:expr)*];
    )*]) => {
        impl $on {
            $($(#[$doc])*
            ///
            /// # Errors
            /// Any of [`Error`](crate::Error).
            pub async fn $name(&self, $($param: $type),*) -> Result<$value> {
                let command = $crate::api::command!($first $(, $word)*);
                <$value>::from_reply(self.run(command).await?)
            })*
        }
    };
}

use {command, commands};

/// Commands that say something of one connection, and have no calls: connections are shared, and
/// made anew when they break.
#[cfg(test)]
const OF_CONNECTIONS: &[(&str, &[&str])] = &[
    (
        "a connection begins with them, by what the URL says",
        &[
            "AUTH",
            "HELLO",
            "SELECT",
            "CLIENT SETINFO",
            "CLIENT SETNAME",
        ],
    ),
    (
        "they say how one connection is treated",
        &[
            "CLIENT CACHING",
            "CLIENT GETREDIR",
            "CLIENT NO-EVICT",
            "CLIENT NO-TOUCH",
            "CLIENT REPLY",
            "CLIENT TRACKING",
            "CLIENT TRACKINGINFO",
        ],
    ),
    ("connections end by themselves", &["QUIT", "RESET"]),
    (
        "Client::service and Client::provide send them",
        &["SERVICE CALL", "SERVICE REGISTER", "SERVICE UNREGISTER"],
    ),
    (
        "a node that ends answers nothing: dht-cli, or a signal",
        &["SHUTDOWN"],
    ),
    (
        "Client::watch, Watch::exec and Pipeline::exec send them",
        &["DISCARD", "EXEC", "MULTI", "UNWATCH", "WATCH"],
    ),
    (
        "Client::subscription sends them, on a connection to itself",
        &[
            "PSUBSCRIBE",
            "PUNSUBSCRIBE",
            "SSUBSCRIBE",
            "SUBSCRIBE",
            "SUNSUBSCRIBE",
            "UNSUBSCRIBE",
        ],
    ),
    (
        "the routing sends them where they are needed",
        &["ASKING", "READONLY", "READWRITE", "CLUSTER SESSION"],
    ),
];

#[cfg(test)]
mod tests {
    use dht_proto::commands::TABLE;

    use super::*;

    #[test]
    fn every_row_of_the_table_has_a_call_or_a_reason() {
        let typed = [
            fields::TYPED,
            hashes::TYPED,
            keys::TYPED,
            server::TYPED,
            strings::TYPED,
        ]
        .concat();
        let without: Vec<&str> = OF_CONNECTIONS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        let rows: Vec<&str> = TABLE.iter().map(|spec| spec.name).collect();
        let missing: Vec<_> = rows
            .iter()
            .filter(|row| typed.contains(row) == without.contains(row))
            .collect();
        assert!(
            missing.is_empty(),
            "client/src/api lacks, or has in both lists: {missing:?}"
        );
        let strange: Vec<_> = typed
            .iter()
            .chain(&without)
            .filter(|name| !rows.contains(name))
            .collect();
        assert!(strange.is_empty(), "not in the table: {strange:?}");
    }
}
