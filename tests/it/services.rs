//! Services: offered at one node, called through any.

use std::time::Duration;

use bytes::Bytes;
use dht_client::{Answer, Asked, Client, Error, Provider};
use dht_proto::{Reply, limits};
use dht_tests::cluster::Cluster;
use dht_tests::native_client::NativeClient;
use dht_tests::process::Processes;
use dht_tests::python;
use dht_tests::resp_client::RespClient;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Time for what takes much less.
const SOON: Duration = Duration::from_secs(20);

async fn calculate(asked: Asked) -> Result<Answer, String> {
    match &*asked.method {
        "add" => {
            let (a, b): (i64, i64) = asked.arguments()?;
            asked.answer(&(a + b))
        }
        "fail" => panic!("as it was asked to"),
        // Never, as far as the caller is concerned.
        "sleep" => std::future::pending().await,
        _ => Err(asked.unknown()),
    }
}

async fn calculator(client: &Client) -> Provider {
    client.provide("Calculator", calculate).await.unwrap()
}

async fn outside(cluster: &Cluster, node: usize) -> Client {
    Client::connect(&cluster.client(node).to_string())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_called_through_any_node() {
    let cluster = Cluster::start(3).await;
    let _provider = calculator(&outside(&cluster, 0).await).await;
    for node in 0..3 {
        for client in [
            outside(&cluster, node).await,
            cluster.running(node).client(),
        ] {
            let service = client.service("Calculator");
            assert_eq!(service.call("add", &(2, node)).await, Ok(2 + node as i64));
            let refused = service.call::<i64>("subtract", &(2, 3)).await.unwrap_err();
            assert_eq!(refused.to_string(), "SERVICE there is no method 'subtract'");
            let failed = service.call::<i64>("fail", &()).await.unwrap_err();
            assert_eq!(failed.to_string(), "SERVICE the provider has failed");
        }
        let listed = cluster.running(node).client().service_list().await;
        assert_eq!(listed, Ok(vec![("Calculator".into(), 1)]));
    }
    let nobody = outside(&cluster, 1).await.service("Nobody");
    let error = nobody.call::<i64>("add", &(1, 2)).await.unwrap_err();
    let text = "ERR no service is registered under the name 'Nobody'";
    assert_eq!(error.to_string(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_are_in_flight_at_once() {
    let cluster = Cluster::start(3).await;
    // Each call waits until all have come.
    let all = std::sync::Arc::new(tokio::sync::Barrier::new(100));
    let inside = cluster.running(2).client();
    let provider = inside.provide("Together", move |asked| {
        let all = std::sync::Arc::clone(&all);
        async move {
            all.wait().await;
            asked.answer(&asked.arguments::<(u64,)>()?.0)
        }
    });
    let _provider = provider.await.unwrap();
    let service = outside(&cluster, 0).await.service("Together");
    let mut calls = JoinSet::new();
    for n in 0..100_u64 {
        let service = service.clone();
        calls.spawn(async move { (n, service.call::<u64>("wait", &(n,)).await) });
    }
    while let Some(called) = calls.join_next().await {
        let (n, answer) = called.unwrap();
        assert_eq!(answer, Ok(n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_when_the_provider_is_gone_or_slow() {
    let cluster = Cluster::start(3).await;
    let provider = calculator(&outside(&cluster, 0).await).await;
    let client = outside(&cluster, 1)
        .await
        .with_deadline(Duration::from_secs(2));
    let service = client.service("Calculator");
    assert_eq!(service.call("add", &(2, 3)).await, Ok(5));
    // It does not answer.
    let begun = Instant::now();
    let late = service.call::<()>("sleep", &()).await.unwrap_err();
    assert!(matches!(late, Error::Unknown(_)), "{late}");
    assert!(
        begun.elapsed() < Duration::from_millis(2500),
        "{:?}",
        begun.elapsed()
    );
    // It goes while it is waited for.
    let long = client.with_deadline(SOON).service("Calculator");
    let waiting = tokio::spawn(async move { long.call::<()>("sleep", &()).await });
    let node = cluster.running(0);
    let asked = || (node.node.services.open() > 0).then_some(());
    dht_tests::wait::until_async("the call to come", SOON, asked).await;
    drop(provider);
    let lost = timeout(SOON / 2, waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(lost.to_string().contains("the provider is gone"), "{lost}");
    let gone = service.call::<i64>("add", &(2, 3)).await.unwrap_err();
    assert!(
        gone.to_string().contains("no service is registered"),
        "{gone}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_panics_has_failed_at_one_call_only() {
    let cluster = Cluster::start(3).await;
    let client = outside(&cluster, 0).await;
    // Not in the future that it gives, but before there is one.
    let provider = client.provide("Rash", |asked| {
        assert_ne!(asked.method, "fail", "as it was asked to");
        async move { asked.answer(&5) }
    });
    let _provider = provider.await.unwrap();
    let service = outside(&cluster, 1).await.service("Rash");
    for _ in 0..2 {
        let failed = service.call::<i64>("fail", &()).await.unwrap_err();
        assert_eq!(failed.to_string(), "SERVICE the provider has failed");
        assert_eq!(service.call("go", &()).await, Ok(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_a_provider_end_with_it() {
    let cluster = Cluster::start(3).await;
    let (sender, mut working) = tokio::sync::mpsc::channel(1);
    let client = outside(&cluster, 0).await;
    let provider = client.provide("Slow", move |asked| {
        let sender = sender.clone();
        async move {
            sender.send(()).await.unwrap();
            std::future::pending::<()>().await;
            asked.answer(&())
        }
    });
    let provider = provider.await.unwrap();
    let service = outside(&cluster, 0).await.service("Slow");
    let waiting = tokio::spawn(async move { service.call::<()>("go", &()).await });
    assert_eq!(timeout(SOON, working.recv()).await, Ok(Some(())));
    drop(provider);
    // Nobody is left who could send.
    assert_eq!(timeout(SOON, working.recv()).await, Ok(None));
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn long_calls_and_long_answers_do_not_wait_for_each_other() {
    let cluster = Cluster::start(3).await;
    let inside = cluster.running(0).client();
    let provider = inside.provide("Echo", |asked| async move {
        let (text,): (Bytes,) = asked.arguments()?;
        asked.answer(&text)
    });
    let _provider = provider.await.unwrap();
    let text = Bytes::from(vec![7; limits::SERVICE_CALL_BYTES / 2]);
    let mut calls = JoinSet::new();
    for n in 0..12 {
        let service = outside(&cluster, n % 3).await.service("Echo");
        let text = text.clone();
        calls.spawn(async move { service.call::<Bytes>("echo", &(text,)).await });
    }
    while let Some(called) = calls.join_next().await {
        assert_eq!(called.unwrap().map(|echo| echo.len()), Ok(text.len()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_goes_on_at_another_node() {
    let cluster = Processes::start(3);
    let url = |node| format!("dht://{}", cluster.client(node));
    let other = Client::connect(&url(2)).await.unwrap();
    let seeds = format!("dht://{},{}", cluster.client(0), cluster.client(1));
    let offering = Client::connect(&seeds).await.unwrap();
    let _provider = calculator(&offering).await;
    let service = other.service("Calculator");
    assert_eq!(service.call("add", &(2, 3)).await, Ok(5));
    let long = other.clone().with_deadline(SOON).service("Calculator");
    let waiting = tokio::spawn(async move { long.call::<()>("sleep", &()).await });
    // Behind it on the same connection: it has come to the provider before this is answered.
    assert_eq!(service.call("add", &(2, 3)).await, Ok(5));
    let mut cluster = cluster;
    cluster.kill(0);
    let lost = timeout(SOON / 2, waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(matches!(lost, Error::Unknown(_)), "{lost}");
    let begun = Instant::now();
    while service.call::<i64>("add", &(2, 3)).await != Ok(5) {
        assert!(begun.elapsed() < SOON, "it is not offered again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_and_words_are_as_documented() {
    let cluster = Cluster::start(3).await;
    let mut native = NativeClient::connect(cluster.client(0)).await.unwrap();
    assert_eq!(
        native.call(&["SERVICE", "REGISTER", "Echo"]).await.unwrap(),
        Reply::Ok
    );
    let gone = native
        .call(&["SERVICE", "UNREGISTER", "Echo"])
        .await
        .unwrap();
    assert_eq!(gone, Reply::Int(1));
    let gone = native
        .call(&["SERVICE", "UNREGISTER", "Echo"])
        .await
        .unwrap();
    assert_eq!(gone, Reply::Int(0));
    let mut resp = RespClient::connect(cluster.client(1)).await.unwrap();
    let refused = resp.call(&["SERVICE", "REGISTER", "Echo"]).await.unwrap();
    assert!(matches!(refused, Reply::Error(_)), "{refused:?}");
    // Who speaks RESP can call, and what others say behind it is answered behind it.
    let _provider = calculator(&outside(&cluster, 2).await).await;
    let words: [&[u8]; 5] = [b"SERVICE", b"CALL", b"Calculator", b"add", b"\x92\x02\x03"];
    assert_eq!(resp.call(&words).await.unwrap(), Reply::bulk(b"\x05"));
    for line in [&["MULTI"][..], &["SERVICE", "CALL", "Calculator", "add"]] {
        let answer = resp.call(line).await.unwrap();
        let is_refused = matches!(answer, Reply::Error(_));
        assert_eq!(is_refused, line.len() > 1, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_refused_on_both_ways() {
    let cluster = Cluster::start(3).await;
    let client = outside(&cluster, 0).await;
    let provider = client.provide("Long", |asked| async move {
        let (length,): (usize,) = asked.arguments()?;
        asked.answer(&Bytes::from(vec![7; length]))
    });
    let _provider = provider.await.unwrap();
    let service = outside(&cluster, 1).await.service("Long");
    let half = limits::SERVICE_CALL_BYTES / 2;
    let answer: Bytes = service.call("of", &(half,)).await.unwrap();
    assert_eq!(answer.len(), half);
    let text = service
        .call::<Bytes>("of", &(2 * half,))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("answer of a service is longer than"),
        "{text}"
    );
    let long = Bytes::from(vec![0; limits::SERVICE_CALL_BYTES]);
    let text = service
        .call::<Bytes>("of", &(long,))
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("call is longer than"), "{text}");
}

/// What a reader has to write is what docs/services.md shows, and no more than it says.
#[test]
fn the_programs_in_python_are_short_and_shown() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    for program in ["server", "client"] {
        let text = read(&format!("python/calculator_{program}.py"));
        assert_eq!(text.lines().count(), 29, "{program}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{program}"
        );
    }
    let shown = format!("```python\n{}```\n", read("python/calculator_server.py"));
    assert!(read("../docs/services.md").contains(&shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn python_offers_and_calls() {
    let cluster = Cluster::start(3).await;
    let port = |node: usize| vec![cluster.client(node).port().to_string()];
    let provider = python::Running::start("python/calculator_server.py", &port(0));
    let printed = python::run("python/calculator_client.py", &port(1));
    assert_eq!(printed, "8\n");
    let service = cluster.running(2).client().service("Calculator");
    assert_eq!(service.call("add", &(2.5, 4)).await, Ok(6.5));
    let refused = service.call::<i64>("add", &("a", 1)).await.unwrap_err();
    assert!(
        refused.to_string().starts_with("SERVICE TypeError"),
        "{refused}"
    );
    let refused = service.call::<i64>("subtract", &(2, 1)).await.unwrap_err();
    assert_eq!(refused.to_string(), "SERVICE KeyError: b'subtract'");
    let mut resp = RespClient::connect(cluster.client(1)).await.unwrap();
    let refused = resp.call(&["SERVICE", "CALL", "Calculator", "add"]).await;
    let Reply::Error(refused) = refused.unwrap() else {
        panic!("it lacks its arguments");
    };
    assert!(
        refused.to_string().starts_with("SERVICE TypeError"),
        "{refused}"
    );
    drop(provider);
    let _provider = calculator(&outside(&cluster, 2).await).await;
    let printed = python::run("python/calculator_client.py", &port(1));
    assert_eq!(printed, "8\n");
}
