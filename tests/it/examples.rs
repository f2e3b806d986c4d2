//! The examples of the documents and of the library's own documentation, run as they stand there
//! against a cluster; build.rs has taken them out.

use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use dht_client::{Client, Result};
use dht_tests::cluster::Cluster;
use tokio::time::timeout;

type Example = fn(Client) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

include!(concat!(env!("OUT_DIR"), "/examples.rs"));

static URL: OnceLock<String> = OnceLock::new();

/// What stands in the place of the addresses in the examples.
fn url() -> &'static str {
    URL.get().expect("the cluster was started")
}

#[tokio::test]
async fn all_of_them_run() {
    let cluster = Cluster::start(3).await;
    let nodes = [0, 1].map(|node| cluster.client(node).to_string());
    let url = URL.get_or_init(|| format!("dht://{}", nodes.join(",")));
    assert!(ALL.len() > 10, "{} were found", ALL.len());
    for (name, example) in ALL {
        let client = Client::connect(url).await.unwrap();
        client.flushall().await.unwrap();
        client.set("{shoe}left", 7).await.unwrap();
        let calculator = client.provide("Calculator", |asked| async move {
            let (a, b): (i64, i64) = asked.arguments()?;
            asked.answer(&(a + b))
        });
        let calculator = calculator.await.unwrap();
        let run = tokio::spawn(example(client.clone()));
        let abort = run.abort_handle();
        match timeout(Duration::from_secs(2), run).await {
            Ok(done) => assert_eq!(done.expect(name), Ok(()), "{name}"),
            // Who listens does so for ever.
            Err(_) => {
                let asked = client.call(["PUBSUB", "CHANNELS"]).await.unwrap();
                let heard = dht_client::Reply::Array(vec![dht_client::Reply::bulk("news")]);
                assert_eq!(asked, heard, "{name} does not end");
            }
        }
        abort.abort();
        drop(calculator);
    }
}
