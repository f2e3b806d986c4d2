//! Where the tries of a command go, by what became of the earlier ones.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::client::Shared;
use crate::command::Place;
use crate::node::Node;
use crate::verdict::Turn;

/// So many nodes are asked beside the first.
pub const BESIDE: usize = 2;

/// Where the next try of a command goes.
#[derive(Debug)]
pub struct Course {
    place: Place,
    /// Its keys are of one slot, so that a leader may do it.
    is_of_slot: bool,
    /// Where the next try goes, whatever the routes say.
    next: Option<String>,
    /// The next try has to say that it was redirected for once.
    asking: bool,
    /// Who could not be reached, or has not answered, last.
    failed: Option<Arc<str>>,
    /// How many nodes were asked beside the first.
    beside: usize,
}

impl Course {
    /// For a command that has not been tried.
    pub const fn new(place: Place) -> Self {
        Self {
            place,
            is_of_slot: matches!(place, Place::Slot(_)),
            next: None,
            asking: false,
            failed: None,
            beside: 0,
        }
    }

    /// Where the next try goes, if that was said; it is said once.
    pub const fn next(&mut self) -> Option<String> {
        self.next.take()
    }

    /// Where the next try goes otherwise.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// The node for the next try, by a connection that nobody else has.
    pub fn own_node(&mut self, shared: &Shared) -> Node {
        let find = |address: &str| shared.own_node(address);
        match self.next() {
            Some(address) => find(&address),
            None => shared.next_for(&shared.routes(), self.place, find),
        }
    }

    /// Whether the next try has to say that it was redirected for once; it is asked once.
    pub const fn take_asking(&mut self) -> bool {
        std::mem::replace(&mut self.asking, false)
    }

    /// Prepares the next try after one at an address.
    pub fn turn(&mut self, shared: &Shared, turn: &Turn, from: &Arc<str>) {
        match turn {
            // Whoever forwards may reach it all the same, or hears first who leads in its place.
            Turn::Moved { to, .. } if self.leads_back(shared, to) => {
                self.place = Place::Anywhere;
                self.next = shared.beside(&[to, from], false);
            }
            Turn::Moved { slot, to } => {
                shared.learn(*slot, to);
                self.next = Some(to.clone());
            }
            Turn::Asked { to } => {
                self.next = Some(to.clone());
                self.asking = true;
            }
            Turn::Elsewhere => {
                self.failed = Some(Arc::clone(from));
                shared.avoid_seed(from);
                self.place = Place::Anywhere;
                self.next = shared.beside(&[from], self.is_of_slot);
            }
            Turn::Beside { to } => {
                self.failed = Some(Arc::clone(from));
                self.place = Place::Anywhere;
                self.next = Some(to.clone());
            }
            // Another seed may be better off.
            Turn::Later => shared.avoid_seed(from),
        }
    }

    /// How many nodes were asked beside the first; all that may be when there are no others.
    pub const fn beside(&self) -> usize {
        self.beside
    }

    /// Of those who have been asked none has answered. Gives who can be asked as well, and beside
    /// whom, who is passed by from now on; nothing if there is nobody else.
    pub fn lose_patience(
        &mut self,
        shared: &Shared,
        asked: &[Arc<str>],
    ) -> Option<(Turn, Arc<str>)> {
        let from = asked.last()?;
        let names: SmallVec<[&str; BESIDE + 1]> = asked.iter().map(AsRef::as_ref).collect();
        let to = shared.beside(&names, self.is_of_slot);
        let Some(to) = to.filter(|to| !names.contains(&to.as_str())) else {
            self.beside = BESIDE;
            return None;
        };
        self.beside += 1;
        shared.suspect(from);
        shared.avoid_seed(from);
        Some((Turn::Beside { to }, Arc::clone(from)))
    }

    fn leads_back(&self, shared: &Shared, to: &str) -> bool {
        let has_failed = self.failed.as_deref() == Some(to) || shared.is_suspect(to);
        has_failed && shared.has_others_forward()
    }
}
