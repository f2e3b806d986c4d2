//! A replica by itself: what it says, and in which order.

use super::super::mail;
use super::*;
use crate::core::pack::Reader;

#[test]
fn a_leader_is_told_again_that_its_copy_is_installed() {
    let mut replica = Replica::<u64>::new((0, SlotSet::all()), (2, &[1, 2]), 0, 1);
    let said = |replica: &mut Replica<u64>| {
        let ready = replica.group.ready().messages.into_iter();
        let answers = ready.filter(raft::accepts_entries);
        answers.map(|message| message.index).collect::<Vec<_>>()
    };
    let now = Now {
        unix_us: 0,
        mono_ms: 0,
    };
    let told = |index| raft::tells_to_install((1, 2), Point { index, term: 1 });
    replica.step(told(raft::BIRTH.index + 1), now);
    assert!(!replica.group.has_ready(), "nothing of it is here");
    replica.step(told(raft::BIRTH.index), now);
    assert_eq!(said(&mut replica), [raft::BIRTH.index]);
}

/// The only replica of a shard.
struct Alone {
    replica: Replica<u64>,
    store: Arc<Store>,
    word: Arc<Word>,
    now: Now,
}

const SENDER: NodeId = NodeId([2; 20]);

impl Alone {
    fn new() -> Self {
        let mut alone = Self {
            replica: Replica::new((0, SlotSet::all()), (1, &[1]), 0, 1),
            store: Arc::new(Store::new()),
            word: Arc::default(),
            now: Now {
                unix_us: 1_000_000_000,
                mono_ms: 1000,
            },
        };
        alone.replica.tick(true);
        alone.turn();
        alone
    }

    /// Has a turn; gives what the sender is told.
    fn turn(&mut self) -> Vec<Bytes> {
        let (mut post, mut settled) = (Post::default(), Vec::new());
        let (mut returned, mut resolved) = (Vec::new(), 0);
        self.now.mono_ms += 10;
        self.replica.turn(&mut Turn {
            now: self.now,
            store: &self.store,
            word: &self.word,
            seats: &[],
            post: &mut post,
            settled: &mut settled,
            returned: &mut returned,
            resolved: &mut resolved,
            copies: &mut Allowance::default(),
            learning: &BTreeMap::new(),
            keeper: &mut Keeper::default(),
            files: &mut Files::default(),
        });
        post.take().into_iter().map(|(_, frame)| frame).collect()
    }

    fn send(&mut self, number: Number, (session, after): (u64, u64), line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let sent = mail::Sent {
            shard: 0,
            number,
            session,
            after,
            task: &task::command(&words),
        };
        self.replica.take_from(SENDER, &sent);
    }
}

#[test]
fn a_read_that_came_late_gets_behind_nothing_that_was_sent_after_it() {
    let mut alone = Alone::new();
    alone.replica.open_session(SENDER);
    let opened = alone.turn();
    let Ok(Mail::Opened(0, session)) = mail::decode(&mut Reader::new(&opened[0])) else {
        panic!("no session");
    };
    alone.send(Number::Logged(1), (session, 0), "SET k v PX 100");
    alone.turn();
    // By the clock the key is due, by the shard's time it is not: who reads it is logged.
    alone.now.unix_us += 200_000;
    alone.send(Number::Logged(2), (session, 0), "INCR n");
    alone.send(Number::Read(1), (session, 1), "GET k");
    let mut answers = Vec::new();
    for frame in [alone.turn(), alone.turn()].concat() {
        let mut mails = Reader::new(&frame);
        while !mails.is_empty() {
            if let Ok(Mail::Answer(answered)) = mail::decode(&mut mails) {
                answers.push((answered.number, answered.answer));
            }
        }
    }
    let refused = |answer: &Answer| match answer {
        Answer::Done(Reply::Error(error)) => error.prefix() == "TRYAGAIN",
        _ => false,
    };
    assert_eq!(answers[0], (Number::Logged(2), Answer::Done(Reply::Int(1))));
    assert_eq!(answers[1].0, Number::Read(1));
    assert!(refused(&answers[1].1), "{:?}", answers[1].1);
}
