//! Commands that are kept, handed over and waited for together, and what becomes of each: one
//! allocation for all that a call needs, and one wake-up for all of a pipeline.
//!
//! Knows neither nodes nor time.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;

use crate::command::Command;
use crate::verdict::Fate;
use crate::word::Word;

/// Commands, mostly one, with room for the fate of each. They are tried once at most.
#[derive(Debug)]
pub struct Parcel {
    commands: Commands,
    state: Mutex<State>,
}

/// Commands, one in place.
pub type Commands = SmallVec<[Command; 1]>;

#[derive(Debug)]
struct State {
    /// By command.
    outcomes: SmallVec<[Outcome; 1]>,
    /// Tickets that have told nothing yet.
    open: usize,
    waiter: Option<Waker>,
    /// The waiter has to know only when all have told.
    wants_all: bool,
}

/// What is known of a command.
#[derive(Debug, Default)]
enum Outcome {
    /// Nothing yet, or it was taken.
    #[default]
    Unknown,
    Told(Fate),
    /// Nobody will ever tell.
    Untold,
}

impl Parcel {
    /// With these commands.
    pub fn new(commands: Commands) -> Arc<Self> {
        let outcomes = commands.iter().map(|_| Outcome::default()).collect();
        let state = State {
            outcomes,
            open: 0,
            waiter: None,
            wants_all: false,
        };
        Arc::new(Self {
            commands,
            state: Mutex::new(state),
        })
    }

    /// With one command.
    pub fn of_one(command: Command) -> Arc<Self> {
        Self::new(Commands::from_buf([command]))
    }

    /// Its commands.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// By which the fate of a command, by its index, will be told.
    pub fn ticket(self: &Arc<Self>, index: usize, is_long: bool) -> Ticket {
        self.lock().open += 1;
        Ticket {
            parcel: Some(Arc::clone(self)),
            index: u32::try_from(index).unwrap_or(u32::MAX),
            is_long,
        }
    }

    /// Takes the fate of one command, if it is known; nothing if nobody will tell.
    pub fn fate(&self, index: usize) -> Poll<Option<Fate>> {
        self.lock().take(index)
    }

    /// The same, and waits for it. One task at a time can wait for something of a parcel.
    pub fn poll_fate(&self, index: usize, context: &Context<'_>) -> Poll<Option<Fate>> {
        let mut state = self.lock();
        match state.take(index) {
            Poll::Pending => state.wait(context, false),
            ready => ready,
        }
    }

    /// Waits until nothing more will be told. Dropped, it can be called again.
    pub async fn whole(&self) {
        poll_fn(|context| self.poll_all(context)).await;
    }

    fn poll_all(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        match state.open {
            0 => Poll::Ready(()),
            _ => state.wait(context, true),
        }
    }

    fn tell(&self, index: usize, outcome: Outcome) {
        let mut state = self.lock();
        state.open -= 1;
        if let Some(at) = state.outcomes.get_mut(index) {
            *at = outcome;
        }
        let is_awaited = state.open == 0 || !state.wants_all;
        let waiter = state.waiter.take_if(|_| is_awaited);
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, index: usize) -> Poll<Option<Fate>> {
        let outcome = self.outcomes.get_mut(index).map(std::mem::take);
        match outcome.unwrap_or_default() {
            Outcome::Told(fate) => Poll::Ready(Some(fate)),
            Outcome::Untold => Poll::Ready(None),
            Outcome::Unknown => Poll::Pending,
        }
    }

    fn wait<T>(&mut self, context: &Context<'_>, wants_all: bool) -> Poll<T> {
        self.wants_all = wants_all;
        match &mut self.waiter {
            Some(waiter) => waiter.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// Tells what becomes of a command, or, dropped, that nobody will.
#[derive(Debug)]
pub struct Ticket {
    /// Until it has told.
    parcel: Option<Arc<Parcel>>,
    index: u32,
    /// The command works through the whole keyspace, and its connection says nothing meanwhile.
    pub is_long: bool,
}

impl Ticket {
    /// The words of the command.
    pub fn words(&self) -> &[Word] {
        let parcel = self.parcel.as_ref();
        let command = parcel.and_then(|parcel| parcel.commands.get(self.index as usize));
        command.map_or(&[], |command| &command.words)
    }

    /// Tells who waits, who may have gone.
    pub fn settle(mut self, fate: Fate) {
        self.tell(Outcome::Told(fate));
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(parcel) = self.parcel.take() {
            parcel.tell(self.index as usize, outcome);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tell(Outcome::Untold);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use dht_proto::Reply;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Sleeper(AtomicUsize);

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Sleeper {
        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn parcel(count: usize) -> (Arc<Parcel>, Vec<Ticket>) {
        let parcel = Parcel::new((0..count).map(|_| Command::new("PING")).collect());
        let tickets = (0..count).map(|index| parcel.ticket(index, false));
        (Arc::clone(&parcel), tickets.collect())
    }

    fn answered(number: i64) -> Fate {
        Fate::Answered(Reply::Int(number))
    }

    #[test]
    fn who_waits_for_all_is_woken_once_and_finds_each_in_its_place() {
        let sleeper = Arc::<Sleeper>::default();
        let waker = Waker::from(Arc::clone(&sleeper));
        let context = Context::from_waker(&waker);
        let (parcel, mut tickets) = parcel(3);
        assert_eq!(parcel.poll_all(&context), Poll::Pending);
        tickets.remove(2).settle(answered(2));
        drop(tickets.remove(0));
        assert_eq!(
            (parcel.poll_all(&context), sleeper.woken()),
            (Poll::Pending, 0)
        );
        tickets.remove(0).settle(answered(1));
        assert_eq!(
            (parcel.poll_all(&context), sleeper.woken()),
            (Poll::Ready(()), 1)
        );
        let found = [0, 1, 2].map(|index| parcel.poll_fate(index, &context));
        let told = |number| Poll::Ready(Some(answered(number)));
        assert_eq!(found, [Poll::Ready(None), told(1), told(2)]);
    }

    #[test]
    fn who_waits_for_one_is_woken_by_each() {
        let sleeper = Arc::<Sleeper>::default();
        let waker = Waker::from(Arc::clone(&sleeper));
        let context = Context::from_waker(&waker);
        let (parcel, mut tickets) = parcel(2);
        assert_eq!(parcel.poll_all(&context), Poll::Pending);
        assert_eq!(parcel.poll_fate(1, &context), Poll::Pending);
        tickets.remove(1).settle(answered(1));
        assert_eq!(sleeper.woken(), 1);
        assert_eq!(
            parcel.poll_fate(1, &context),
            Poll::Ready(Some(answered(1)))
        );
        assert_eq!(parcel.poll_fate(1, &context), Poll::Pending, "it was taken");
    }

    #[test]
    fn words_are_those_of_the_command() {
        let parcel = Parcel::new(["GET", "SET"].map(Command::new).into_iter().collect());
        let words = |index| parcel.ticket(index, false).words()[0].to_vec();
        assert_eq!([words(0), words(1)], [b"GET", b"SET"]);
    }
}
