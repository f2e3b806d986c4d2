//! Iterations as streams.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use crate::client::Client;
use crate::command::{Arg, Command};
use crate::error::Result;
use crate::options::ScanOptions;
use crate::value::FromReply;

/// What an iteration finds, one after the other; it ends after its first error. Nothing is asked
/// for before it is polled.
pub type Scan<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

impl Client {
    /// SCAN over all pages: keys of the whole cluster. What is there from the beginning to the end
    /// is found, perhaps more than once.
    ///
    /// ```no_run
    /// # async fn example(client: dht_client::Client) -> dht_client::Result<()> {
    /// use dht_client::ScanOptions;
    /// use futures_util::TryStreamExt;
    ///
    /// let pattern = Some("user:*".to_owned());
    /// let options = ScanOptions { pattern, ..ScanOptions::default() };
    /// let mut keys = client.scan_keys(options);
    /// while let Some(key) = keys.try_next().await? {
    ///     println!("{}", key.escape_ascii());
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn scan_keys(&self, options: ScanOptions) -> Scan<Bytes> {
        pages(self.clone(), Command::new("SCAN"), options)
    }

    /// HSCAN over all pages: the fields of a hash with their values.
    #[must_use]
    pub fn scan_fields(&self, key: impl Arg, options: ScanOptions) -> Scan<(Bytes, Bytes)> {
        pages(self.clone(), Command::new("HSCAN").arg(key), options)
    }
}

/// The pages that a command gives when a cursor is put behind it, as one stream.
fn pages<T: FromReply + Send + 'static>(
    client: Client,
    command: Command,
    options: ScanOptions,
) -> Scan<T> {
    let pages = stream::try_unfold(Some(0_u64), move |cursor| {
        let command = cursor.map(|cursor| command.clone().arg(cursor).arg(&options));
        let client = client.clone();
        async move {
            let Some(command) = command else {
                return Ok(None);
            };
            let page = client.run(command).await?;
            let (next, items) = <(u64, Vec<T>)>::from_reply(page)?;
            let next = (next != 0).then_some(next);
            Ok(Some((stream::iter(items.into_iter().map(Ok)), next)))
        }
    });
    pages.try_flatten().boxed()
}
