//! Short names in any case, and what they stand for. Knows nothing of commands.

/// Longest name, in bytes.
const NAME_BYTES: usize = 16;

/// Values by names in any case: a hash table with open addressing, never more than half full.
pub struct Names<T> {
    places: Box<[Option<(Folded, T)>]>,
}

impl<T> Names<T> {
    /// A table of these; a name that is empty or longer than 16 bytes can never be found.
    pub fn new(entries: Vec<(&str, T)>) -> Self {
        let size = (entries.len() * 2).next_power_of_two();
        let mut places: Box<[_]> = (0..size).map(|_| None).collect();
        for (name, value) in entries {
            let Some(name) = Folded::new(name.as_bytes()) else {
                continue;
            };
            let mut at = name.hash();
            while places[at & (size - 1)].is_some() {
                at += 1;
            }
            places[at & (size - 1)] = Some((name, value));
        }
        Self { places }
    }

    /// What a word stands for.
    #[inline]
    pub fn get(&self, word: &[u8]) -> Option<&T> {
        let word = Folded::new(word)?;
        let mut at = word.hash();
        loop {
            let (name, value) = self.places[at & (self.places.len() - 1)].as_ref()?;
            if *name == word {
                return Some(value);
            }
            at += 1;
        }
    }
}

/// A name in upper case: its beginning and its end, which overlap in most, and its length.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Folded {
    head: u64,
    tail: u64,
    length: u8,
}

impl Folded {
    #[inline]
    fn new(name: &[u8]) -> Option<Self> {
        let (head, tail) = match name.len() {
            0 => return None,
            1..4 => {
                let middle = u64::from(name[name.len() / 2]) << 8;
                (u64::from(name[0]) | middle, u64::from(name[name.len() - 1]))
            }
            4..8 => (
                u32::from_le_bytes(*name.first_chunk()?).into(),
                u32::from_le_bytes(*name.last_chunk()?).into(),
            ),
            8..=NAME_BYTES => (
                u64::from_le_bytes(*name.first_chunk()?),
                u64::from_le_bytes(*name.last_chunk()?),
            ),
            _ => return None,
        };
        Some(Self {
            head: upper_case(head),
            tail: upper_case(tail),
            length: name.len() as u8,
        })
    }

    #[inline]
    fn hash(self) -> usize {
        let mixed = (self.head ^ self.tail.rotate_left(23)).wrapping_add(self.length.into());
        (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
    }
}

/// Eight characters at once; bytes that are no ASCII letters stay as they are.
const fn upper_case(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * EACH;
    let low_bits = word & !TOP;
    // The top bit of each byte says whether its low bits are at least `a`, or more than `z`.
    let from_a = low_bits + (0x80 - b'a' as u64) * EACH;
    let above_z = low_bits + (0x7F - b'z' as u64) * EACH;
    let lower_case = from_a & !above_z & !word & TOP;
    word ^ (lower_case >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_characters_are_folded_as_one_is() {
        for byte in 0..=u8::MAX {
            let word = u64::from_le_bytes([byte, b'a', byte, 0xFF, byte, b'Z', 0, byte]);
            let mut each = word.to_le_bytes();
            each.make_ascii_uppercase();
            assert_eq!(upper_case(word).to_le_bytes(), each, "{byte}");
        }
    }

    #[test]
    fn names_of_every_length_are_found_and_no_others() {
        let all = "ABCDEFGHIJKLMNOPQRST";
        let names: Vec<(&str, usize)> = (1..=all.len()).map(|end| (&all[..end], end)).collect();
        let names = Names::new(names);
        for end in 0..=all.len() {
            let expect = (1..=NAME_BYTES).contains(&end).then_some(end);
            let lower = all[..end].to_ascii_lowercase();
            assert_eq!(names.get(lower.as_bytes()).copied(), expect, "{lower}");
            for at in 0..end {
                for other in [b'-', b'['] {
                    let mut word = lower.clone().into_bytes();
                    word[at] = other;
                    assert_eq!(names.get(&word), None, "{lower}");
                }
            }
        }
    }
}
