//! The examples of the documents and of the library's own documentation, run as they stand there
//! against a cluster; build.rs has taken them out.

use std::error::Error;
use std::path::Path;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use dht_client::{Client, Result};
use dht_tests::cluster::Cluster;
use dht_tests::process::{Processes, ask};
use dht_tests::python;
use tokio::time::timeout;

type Inside = fn() -> Pin<Box<dyn Future<Output = std::result::Result<(), Box<dyn Error>>>>>;
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

/// Those of machines that are not here are only built.
#[tokio::test]
async fn programs_with_a_node_inside_run() {
    let runs = |document: &str| {
        let of = INSIDE
            .iter()
            .filter(|(name, ..)| name.starts_with(document));
        of.filter(|(_, runs, _)| *runs).count()
    };
    assert_eq!((runs("readme_md_"), runs("embedding_md_")), (1, 1));
    assert!(INSIDE.len() > 2, "the cluster's is built");
    for (name, _, example) in INSIDE.iter().filter(|(_, runs, _)| *runs) {
        let done = timeout(Duration::from_secs(10), example()).await;
        done.expect(name).expect(name);
    }
}

/// Where a document says what its Python prints.
fn printed<'a>(document: &'a str, (before, after): (&str, &str)) -> &'a str {
    let rest = document.split_once(before).expect(before).1;
    rest.split_once(after).expect(after).0
}

#[test]
fn the_python_of_the_documents_prints_what_they_say() {
    let cluster = Processes::start(3);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("example.py");
    for (path, says) in [
        ("README.md", ("print(r.hgetall(\"user:1\"))      # ", "\n")),
        ("docs/clients.md", ("It prints `", "`")),
    ] {
        ask(cluster.client(0), "FLUSHALL").unwrap();
        let document = std::fs::read_to_string(root.join(path)).unwrap();
        let example = printed(&document, ("```python\n", "```"));
        let here = |text: String, node: usize| {
            let port = cluster.client(node).port();
            text.replace(&format!("port=740{node}"), &format!("port={port}"))
        };
        let there = here(here(example.to_owned(), 0), 1);
        assert_ne!(there, example, "{path} has its ports");
        std::fs::write(&program, there).unwrap();
        let out = python::run(program.to_str().unwrap(), &[]);
        assert_eq!(out.trim(), printed(&document, says), "{path}");
    }
}
