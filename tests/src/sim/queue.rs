//! What is going to happen, in the order in which it will.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Events by their time; those of one time in the order in which they were added.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Planned<E>>,
    added: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at_us: u64,
    order: u64,
    event: E,
}

impl<E> Queue<E> {
    /// Nothing is going to happen.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            added: 0,
        }
    }

    /// This will happen at that time.
    pub fn add(&mut self, at_us: u64, event: E) {
        self.added += 1;
        self.heap.push(Planned {
            at_us,
            order: self.added,
            event,
        });
    }

    /// What has to wait until then. It stays before what was added after it.
    pub fn put_off(&mut self, at_us: u64, order: u64, event: E) {
        self.heap.push(Planned {
            at_us,
            order,
            event,
        });
    }

    /// What happens next: when, its number, and the event.
    pub fn pop(&mut self) -> Option<(u64, u64, E)> {
        let planned = self.heap.pop()?;
        Some((planned.at_us, planned.order, planned.event))
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Planned<E> {
    const fn key(&self) -> (u64, u64) {
        (self.at_us, self.order)
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The greatest of the heap is what happens first.
        other.key().cmp(&self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_by_time_and_then_by_turn() {
        let mut queue = Queue::new();
        for (at_us, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (4, 'b')] {
            queue.add(at_us, event);
        }
        let mut order = String::new();
        while let Some((at_us, number, event)) = queue.pop() {
            // The first that comes has to wait.
            if event == 'a' && at_us == 3 {
                queue.put_off(5, number, event);
            } else {
                order.push(event);
            }
        }
        assert_eq!(order, "bcad", "it was added after c, and before d");
    }
}
