//! The sharded map. The only file that knows it.

/// All data of a node.
pub struct Store(());

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}
