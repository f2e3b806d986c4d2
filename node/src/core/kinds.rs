//! The kinds of all mails between nodes: the number that each begins with. What follows is known by
//! those who write and read them.

/// Declares the kinds, each under a name, with what docs/protocol.md says of it.
macro_rules! kinds {
    ($($name:ident = $kind:literal, $mail:literal;)*) => {
        $(
            #[doc = concat!("The mail: ", $mail, ".")]
            pub const $name: u64 = $kind;
        )*

        #[cfg(test)]
        const ALL: &[(u64, &str)] = &[$(($kind, $mail)),*];
    };
}

kinds! {
    RAFT = 0, "from one member of a Raft group to another";
    TASK = 1, "a task for the leader of a shard";
    TASK_ANSWER = 2, "what became of a task";
    REFUSED = 3, "the receiver of a task does not lead";
    OPEN = 4, "asks the leader for a session";
    OPENED = 5, "a session was opened";
    LEADS = 6, "what the sender leads, twice a second";
    FORMATION = 7, "how a cluster forms";
    STATE = 8, "members and replicas as the sender knows them";
    WISH = 9, "asks the meta group for a change";
    CHUNK = 10, "a piece of a full copy";
    RECEIVED = 11, "how much of a full copy has arrived";
    SAID = 12, "something was said on a channel";
    LEAVES = 13, "the sender is about to end, and wants to lead nothing any more";
    NOTIFY = 14, "which events of keys are told, once a second";
    ROOM = 15, "whether the sender's disk has room, again and again";
    LEARNS = 16, "the sender is being given full copies, again and again";
    OFFER = 20, "the names of all services that the sender's connections offer, once a second \
                 while there are any";
    CALL = 21, "a call of a service";
    CALL_ANSWER = 22, "the answer to a call";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_protocol_has_these_in_this_order() {
        let text = include_str!("../../../docs/protocol.md");
        let (_, table) = text
            .split_once("| kind | mail |")
            .expect("a table of mails");
        let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
        let rows = rows.map(|row| {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let kind = cells.next().and_then(|kind| kind.parse().ok());
            (kind.expect("a number"), cells.next().expect("a mail"))
        });
        assert_eq!(rows.collect::<Vec<_>>(), ALL);
        assert!(ALL.is_sorted_by(|one, next| one.0 < next.0), "{ALL:?}");
    }
}
