//! What became of commands that were handed over together, for one who waits for all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::verdict::Fate;

/// The fates of some commands, as they come.
pub struct Group {
    state: Mutex<State>,
    done: Notify,
}

struct State {
    fates: Vec<Option<Fate>>,
    /// How many have not come, nor will never.
    left: usize,
}

impl Group {
    /// Of so many commands.
    pub fn new(count: usize) -> Arc<Self> {
        let state = State {
            fates: std::iter::repeat_with(|| None).take(count).collect(),
            left: count,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            done: Notify::new(),
        })
    }

    /// The place of one command, to be taken once.
    pub fn member(self: &Arc<Self>, index: usize) -> Member {
        Member {
            group: Some(Arc::clone(self)),
            index,
        }
    }

    /// Waits until all have come that will.
    pub async fn whole(&self) {
        while self.lock().left > 0 {
            self.done.notified().await;
        }
    }

    /// What has come.
    pub fn take(&self) -> Vec<Option<Fate>> {
        std::mem::take(&mut self.lock().fates)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, index: usize, fate: Option<Fate>) {
        let mut state = self.lock();
        // Who has waited for long enough has taken what there was.
        if let Some(at) = state.fates.get_mut(index) {
            *at = fate;
        }
        state.left -= 1;
        if state.left == 0 {
            self.done.notify_one();
        }
    }
}

/// The place of a command in a group; dropped, it will never have a fate.
pub struct Member {
    group: Option<Arc<Group>>,
    index: usize,
}

impl Member {
    /// Tells what became of it.
    pub fn settle(mut self, fate: Fate) {
        if let Some(group) = self.group.take() {
            group.settle(self.index, Some(fate));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            group.settle(self.index, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use dht_proto::Reply;
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn all_are_waited_for_and_each_has_its_own() {
        let group = Group::new(3);
        let [first, second, third] = [0, 1, 2].map(|index| group.member(index));
        third.settle(Fate::Answered(Reply::Int(3)));
        assert_eq!(group.whole().now_or_never(), None);
        drop(first);
        second.settle(Fate::Answered(Reply::Int(2)));
        assert_eq!(group.whole().now_or_never(), Some(()));
        let answered = |number| Some(Fate::Answered(Reply::Int(number)));
        assert_eq!(group.take(), [None, answered(2), answered(3)]);
    }

    #[test]
    fn who_is_late_finds_nobody() {
        let group = Group::new(1);
        let late = group.member(0);
        assert_eq!(group.take(), [None]);
        late.settle(Fate::Answered(Reply::Ok));
        assert_eq!(group.take(), []);
    }
}
