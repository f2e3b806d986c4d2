//! Whose a data directory is: a few lines of text, written as a whole, with a checksum.

use std::fmt::Write as _;

use dht_proto::topology::NodeId;

use super::segment::Salt;
use crate::core::meta::ClusterId;

/// What the first line begins with.
const TITLE: &str = "dht data directory, format ";
/// The format of everything in the directory that this program writes and reads.
pub const FORMAT: u32 = 1;

/// Whose a data directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node that it was made for, and that nobody else may be.
    pub node: NodeId,
    /// What makes its log unlike any other.
    pub salt: Salt,
    /// The cluster that the node belongs to, once there is something in the log.
    pub cluster: Option<ClusterId>,
}

impl Identity {
    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self {
            node,
            salt: Salt(salt),
            cluster,
        } = self;
        let cluster = cluster.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let mut text =
            format!("{TITLE}{FORMAT}\nnode {node}\nsalt {salt:016x}\ncluster {cluster}\n");
        let checksum = crc32c::crc32c(text.as_bytes());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "checksum {checksum:08x}");
        text
    }

    /// What the text of a file says.
    ///
    /// # Errors
    /// It is of another format, or damaged: which.
    pub fn parse(text: &str) -> Result<Self, String> {
        let first = text.lines().next().unwrap_or_default();
        let format = first
            .strip_prefix(TITLE)
            .and_then(|it| it.parse::<u32>().ok());
        match format {
            Some(FORMAT) => (),
            Some(other) => {
                let age = if other < FORMAT { "older" } else { "newer" };
                return Err(format!(
                    "it has format {other}, which is {age} than format {FORMAT} of this program"
                ));
            }
            None => return Err("it is not the identity of a data directory of dht".to_owned()),
        }
        Self::fields(text).ok_or_else(|| "it is damaged".to_owned())
    }

    fn fields(text: &str) -> Option<Self> {
        let (body, checksum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let body = &text[..=body.len()];
        let checksum = u32::from_str_radix(checksum.strip_prefix("checksum ")?, 16).ok()?;
        if checksum != crc32c::crc32c(body.as_bytes()) {
            return None;
        }
        let mut lines = body.lines().skip(1);
        let mut value = |name: &str| lines.next()?.strip_prefix(name);
        let node = value("node ")?.parse().ok()?;
        let salt = Salt(u64::from_str_radix(value("salt ")?, 16).ok()?);
        let cluster = match value("cluster ")? {
            "none" => None,
            id => Some(ClusterId(u128::from_str_radix(id, 16).ok()?.to_be_bytes())),
        };
        Some(Self {
            node,
            salt,
            cluster,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Identity = Identity {
        node: NodeId([0xab; 20]),
        salt: Salt(7),
        cluster: None,
    };

    #[test]
    fn an_identity_comes_back() {
        let member = Identity {
            cluster: Some(ClusterId([0xfe; 16])),
            ..FRESH
        };
        for identity in [FRESH, member] {
            assert_eq!(Identity::parse(&identity.to_text()), Ok(identity));
        }
    }

    #[test]
    fn what_is_of_another_format_or_damaged_is_told_apart() {
        let text = FRESH.to_text();
        for (text, why) in [
            (
                text.replace("format 1", "format 0"),
                "format 0, which is older",
            ),
            (
                text.replace("format 1", "format 2"),
                "format 2, which is newer",
            ),
            (text.replace("salt 0", "salt 1"), "it is damaged"),
            (text[..text.len() - 1].to_owned(), "it is damaged"),
            ("notes".to_owned(), "it is not the identity"),
        ] {
            let error = Identity::parse(&text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
