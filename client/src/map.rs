//! A hash as a map from names to values of one type.

use std::marker::PhantomData;

use bytes::Bytes;
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::command::Arg;
use crate::error::{Error, Result};
use crate::finite;
use crate::options::ScanOptions;
use crate::scan::Scan;

/// A hash whose values are of one type, each written as JSON; made by [`Client::map`].
pub struct Map<T> {
    client: Client,
    key: Bytes,
    values: PhantomData<fn() -> T>,
}

impl<T> Clone for Map<T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            key: self.key.clone(),
            values: PhantomData,
        }
    }
}

impl Client {
    /// The hash at a key as a map from names to values of a type that serde knows.
    ///
    /// ```no_run
    /// # async fn example(client: dht_client::Client) -> dht_client::Result<()> {
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct User {
    ///     name: String,
    ///     age: u32,
    /// }
    ///
    /// let users = client.map::<User>("users");
    /// users.insert("alice", &User { name: "Alice".into(), age: 25 }).await?;
    /// let alice = users.get("alice").await?;
    /// assert_eq!(alice.map(|user| user.age), Some(25));
    /// assert_eq!(users.len().await?, 1);
    /// # Ok(()) }
    /// ```
    pub fn map<T: Serialize + DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Map<T> {
        Map {
            client: self.clone(),
            key: Bytes::copy_from_slice(key.as_ref()),
            values: PhantomData,
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Map<T> {
    /// The value of a name.
    ///
    /// # Errors
    /// [`Error::Shape`] when it is of another type, otherwise any of [`Error`].
    pub async fn get(&self, name: impl Arg) -> Result<Option<T>> {
        let value = self.client.hget(&self.key, name).await?;
        value.map(|value| read(&value)).transpose()
    }

    /// Sets the value of a name; says whether the name is new.
    ///
    /// # Errors
    /// [`Error::Shape`] when JSON cannot hold the value, as of a number that is none or infinite;
    /// then nothing was sent. Otherwise any of [`Error`].
    pub async fn insert(&self, name: impl Arg, value: &T) -> Result<bool> {
        let new = self
            .client
            .hset(&self.key, [(name, written(value)?)])
            .await?;
        Ok(new > 0)
    }

    /// Sets the value of a name that has none yet; says whether it had none.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub async fn insert_new(&self, name: impl Arg, value: &T) -> Result<bool> {
        self.client.hsetnx(&self.key, name, written(value)?).await
    }

    /// Removes a name; says whether there was one.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn remove(&self, name: impl Arg) -> Result<bool> {
        Ok(self.client.hdel(&self.key, [name]).await? > 0)
    }

    /// Whether there is such a name.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn contains(&self, name: impl Arg) -> Result<bool> {
        self.client.hexists(&self.key, name).await
    }

    /// How many names there are.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn len(&self) -> Result<u64> {
        self.client.hlen(&self.key).await
    }

    /// All names and values, page by page; see [`Client::scan_fields`].
    #[must_use]
    pub fn iter(&self) -> Scan<(String, T)> {
        let fields = self.client.scan_fields(&self.key, ScanOptions::default());
        let entry = |found: Result<(Bytes, Bytes)>| {
            let (name, value) = found?;
            let name = String::from_utf8_lossy(&name).into_owned();
            Ok((name, read(&value)?))
        };
        fields.map(entry).boxed()
    }
}

fn written(value: &impl Serialize) -> Result<Vec<u8>> {
    finite::check(value)?;
    serde_json::to_vec(value).map_err(|error| Error::Shape(error.to_string()))
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| Error::Shape(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_cannot_hold_is_not_written() {
        assert_eq!(written(&1.5).ok(), Some(b"1.5".to_vec()));
        assert_eq!(written(&None::<f64>).ok(), Some(b"null".to_vec()));
        assert!(matches!(written(&f64::NAN), Err(Error::Shape(_))));
        assert!(matches!(
            written(&[0.0, f64::INFINITY]),
            Err(Error::Shape(_))
        ));
        for number in [i128::MIN, 0, i128::MAX] {
            assert_eq!(read::<i128>(&written(&number).unwrap()), Ok(number));
        }
    }
}
