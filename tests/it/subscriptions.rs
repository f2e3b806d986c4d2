//! The client library as a listener, over each protocol: nodes that end, servers that freeze or
//! refuse, slots that move, and who does not ask for what it hears.

use std::time::{Duration, Instant};

use dht_client::{Cause, Client, Error, Message, Subscription};
use dht_proto::limits;
use dht_proto::slot::key_slot;
use dht_tests::cluster::Cluster;
use dht_tests::process::{Processes, ask};
use dht_tests::real_redis::{Mode, RealCluster, RealRedis};
use futures_util::StreamExt;
use tokio::time::timeout;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn said(channel: &str, text: &str) -> Message {
    Message {
        pattern: None,
        sharded: false,
        channel: channel.to_owned().into(),
        text: text.to_owned().into(),
    }
}

fn is_broken(error: &Error) -> bool {
    matches!(error, Error::Unknown(Cause::Broken { .. }))
}

async fn next(heard: &mut Subscription) -> Result<Message, Error> {
    timeout(PATIENCE, heard.next()).await.expect("something")
}

/// What a client publishes is heard again.
async fn news_come_again(client: &Client, heard: &mut Subscription) {
    let again = heard_again(heard, async || {
        client.publish("news", "again").await.unwrap();
    });
    assert_eq!(again.await, said("news", "again"));
}

/// Says it again and again until it is heard; what was missed meanwhile is told once at most.
async fn heard_again(heard: &mut Subscription, say: impl AsyncFn()) -> Message {
    let start = Instant::now();
    let mut missed = 0;
    while start.elapsed() < PATIENCE {
        say().await;
        let soon = Duration::from_millis(100);
        match timeout(soon, heard.next()).await {
            Ok(Ok(message)) => return message,
            Ok(Err(error)) => {
                assert!(is_broken(&error) && missed == 0, "{error:?}");
                missed += 1;
            }
            Err(_) => (),
        }
    }
    panic!("it is not heard again");
}

#[tokio::test]
async fn in_frames_it_hears_all_nodes_and_outlives_its_own() {
    let cluster = Cluster::start(3).await;
    let seeds = [1, 0, 2].map(|node| cluster.client(node).to_string());
    hears_all_and_outlives(cluster, &format!("dht://{}", seeds.join(","))).await;
}

#[tokio::test]
async fn in_the_protocol_of_redis_it_hears_all_nodes_and_outlives_its_own() {
    let cluster = Cluster::start(3).await;
    let seeds = [1, 0, 2].map(|node| cluster.client(node).to_string());
    hears_all_and_outlives(cluster, &format!("redis://{}", seeds.join(","))).await;
}

#[tokio::test]
async fn at_redirecting_ports_it_hears_all_nodes_and_outlives_its_own() {
    let cluster = Cluster::start(3).await;
    let seeds = [1, 0, 2].map(|node| cluster.redirect(node).to_string());
    hears_all_and_outlives(cluster, &format!("redis-cluster://{}", seeds.join(","))).await;
}

async fn hears_all_and_outlives(mut cluster: Cluster, url: &str) {
    let client = Client::connect(url).await.unwrap();
    let nodes = [0, 1, 2].map(|node| cluster.client(node).to_string());
    let teller = Client::connect(&nodes.join(",")).await.unwrap();
    let mut heard = client.subscription();
    heard.subscribe(["news", "sport"]).await.unwrap();
    heard.psubscribe(["n*"]).await.unwrap();
    heard.ssubscribe(["news"]).await.unwrap();
    heard.unsubscribe(["sport"]).await.unwrap();
    let say = async |node: usize, word: &'static str, channel: &str| {
        let node = teller.node(&nodes[node]);
        node.call([word, channel, "hi"]).await.unwrap()
    };
    for node in 0..3 {
        say(node, "PUBLISH", "sport").await;
        say(node, "PUBLISH", "news").await;
        say(node, "SPUBLISH", "news").await;
        let mut expect = vec![said("news", "hi"); 3];
        expect[1].pattern = Some("n*".into());
        expect[2].sharded = true;
        let mut messages = Vec::new();
        for _ in 0..3 {
            messages.push(next(&mut heard).await.unwrap());
        }
        // What has a slot may come over another connection, before or after the rest.
        messages.sort_by_key(|message| (message.sharded, message.pattern.is_some()));
        assert_eq!(messages, expect, "node {node}");
    }
    let refused = client.call(["SUBSCRIBE", "news"]).await.unwrap_err();
    assert!(matches!(refused, Error::Reply(_)), "{refused}");
    cluster.stop(1).await;
    let missed = next(&mut heard).await.unwrap_err();
    assert!(is_broken(&missed), "{missed}");
    // Who listens on does so at another node, which is told what is listened to.
    let (sender, mut messages) = tokio::sync::mpsc::unbounded_channel();
    let listening = tokio::spawn(async move {
        let mut stream = std::pin::pin!(heard.into_stream());
        while let Some(message) = stream.next().await {
            sender.send(message.unwrap()).unwrap();
        }
    });
    let message = loop {
        say(2, "PUBLISH", "news").await;
        let soon = Duration::from_millis(100);
        if let Ok(message) = timeout(soon, messages.recv()).await {
            break message.unwrap();
        }
    };
    assert_eq!(message.text, "hi");
    listening.abort();
}

async fn listening(url: &str, channels: &[&str]) -> (Client, Subscription) {
    let client = Client::connect(url).await.unwrap();
    let mut heard = client.subscription();
    heard.subscribe(channels).await.unwrap();
    (client, heard)
}

#[tokio::test]
async fn a_node_that_comes_back_in_time_is_listened_to_again() {
    for scheme in ["dht", "redis"] {
        let mut node = Processes::alone(&[]);
        let url = format!("{scheme}://{}", node.client(0));
        let (client, mut heard) = listening(&url, &["news"]).await;
        node.kill(0);
        let missed = next(&mut heard).await.unwrap_err();
        assert!(is_broken(&missed), "{scheme}: {missed:?}");
        let waiting = tokio::spawn(async move { heard.next().await });
        let node = tokio::task::spawn_blocking(move || {
            node.restart(0);
            node
        });
        let node = node.await.unwrap();
        while !waiting.is_finished() {
            // Its connection may have to be made anew, too.
            let _ = client.publish("news", "back").await;
        }
        assert_eq!(waiting.await.unwrap(), Ok(said("news", "back")), "{scheme}");
        drop(node);
    }
}

#[tokio::test]
async fn that_nothing_can_be_reached_is_told_at_the_deadline() {
    for scheme in ["dht", "redis"] {
        let mut node = Processes::alone(&[]);
        let url = format!("{scheme}://{}", node.client(0));
        let client = Client::connect(&url).await.unwrap();
        let client = client.with_deadline(Duration::from_millis(300));
        let mut heard = client.subscription();
        heard.subscribe(["news"]).await.unwrap();
        node.kill(0);
        let mut stream = std::pin::pin!(heard.into_stream());
        let missed = stream.next().await.unwrap().unwrap_err();
        assert!(is_broken(&missed), "{scheme}: {missed:?}");
        let gone = stream.next().await.unwrap().unwrap_err();
        assert!(gone.is_unreachable(), "{scheme}: {gone:?}");
        assert_eq!(stream.next().await, None, "{scheme}");
    }
}

#[tokio::test]
async fn a_closed_connection_is_told_once_and_made_anew() {
    let server = RealRedis::start(Mode::Alone).unwrap();
    let (client, mut heard) = listening(&format!("redis://{}", server.address), &["news"]).await;
    for n in 0..3 {
        client.publish("news", n).await.unwrap();
        let killed = ask(server.address, "CLIENT KILL TYPE pubsub").unwrap();
        assert_eq!(killed, ":1\r\n");
        // What came before the end is heard before it is told.
        assert_eq!(next(&mut heard).await, Ok(said("news", &n.to_string())));
        let missed = next(&mut heard).await.unwrap_err();
        assert!(is_broken(&missed), "{missed:?}");
        news_come_again(&client, &mut heard).await;
    }
}

#[tokio::test]
async fn a_frozen_server_is_noticed_by_who_listens() {
    let server = RealRedis::start(Mode::Alone).unwrap();
    let (client, mut heard) = listening(&format!("redis://{}", server.address), &["news"]).await;
    let quiet = timeout(Duration::from_secs(3), heard.next()).await;
    assert!(quiet.is_err(), "who says nothing is still there: {quiet:?}");
    server.freeze();
    let missed = next(&mut heard).await.unwrap_err();
    assert!(is_broken(&missed), "{missed:?}");
    server.thaw();
    news_come_again(&client, &mut heard).await;
}

#[tokio::test]
async fn who_does_not_ask_for_what_it_hears_misses_the_rest() {
    let server = RealRedis::start(Mode::Alone).unwrap();
    let (client, mut heard) = listening(&format!("redis://{}", server.address), &["news"]).await;
    let text = vec![b'x'; 1 << 20];
    let more = limits::MESSAGES_BYTES / text.len() + 8;
    for _ in 0..more {
        client.publish("news", &text).await.unwrap();
    }
    let mut count = 0;
    let missed = loop {
        match next(&mut heard).await {
            Ok(message) => assert_eq!(message.text.len(), text.len()),
            Err(error) => break error,
        }
        count += 1;
    };
    assert!(is_broken(&missed), "{missed:?}");
    assert!((8..more).contains(&count), "{count} of {more}");
    news_come_again(&client, &mut heard).await;
}

#[tokio::test]
async fn what_is_refused_is_not_listened_to_in_part() {
    let server = RealRedis::start(Mode::Alone).unwrap();
    let only = "ACL SETUSER default resetchannels &mine*";
    assert_eq!(ask(server.address, only).unwrap(), "+OK\r\n");
    let (_, mut heard) = listening(&format!("redis://{}", server.address), &["mine"]).await;
    let refused = heard.subscribe(["mine", "mine:too", "others"]).await;
    let Err(Error::Reply(error)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.prefix(), "NOPERM");
    let listeners = |channel: &str| {
        let asked = ask(server.address, &format!("PUBSUB NUMSUB {channel}"));
        asked.unwrap().rsplit(':').next().unwrap().trim().to_owned()
    };
    assert_eq!([listeners("mine"), listeners("mine:too")], ["1", "0"]);
    ask(server.address, "PUBLISH mine still").unwrap();
    assert_eq!(next(&mut heard).await, Ok(said("mine", "still")));
}

#[tokio::test]
async fn a_slot_that_moves_away_is_followed() {
    let cluster = RealCluster::start(3).unwrap();
    let client = Client::connect(&cluster.url()).await.unwrap();
    let mut heard = client.subscription();
    heard.subscribe(["news"]).await.unwrap();
    // Slot 0 to 5460 are the first server's.
    let channel = (0..).map(|n| format!("c{n}"));
    let mut channel = channel.filter(|name| key_slot(name.as_bytes()) < 5000);
    let channel = channel.next().unwrap();
    heard.ssubscribe([&channel]).await.unwrap();
    let say = async || {
        client.spublish(&channel, "hi").await.unwrap();
    };
    let mut expect = said(&channel, "hi");
    expect.sharded = true;
    say().await;
    assert_eq!(next(&mut heard).await, Ok(expect.clone()));

    let (from, to) = (&cluster.servers[0], &cluster.servers[1]);
    let id = ask(to.address, "CLUSTER MYID").unwrap();
    let id = id.split("\r\n").nth(1).unwrap();
    let moving = format!("CLUSTER SETSLOT {} NODE {id}", key_slot(channel.as_bytes()));
    for server in [to, from] {
        assert_eq!(ask(server.address, &moving).unwrap(), "+OK\r\n");
    }
    let missed = next(&mut heard).await.unwrap_err();
    assert!(is_broken(&missed), "{missed:?}");
    assert_eq!(heard_again(&mut heard, say).await, expect);
    let news = heard_again(&mut heard, async || {
        client.publish("news", "hi").await.unwrap();
    });
    let news = news.await;
    assert!(news == said("news", "hi") || news == expect, "{news:?}");
}

#[tokio::test]
async fn a_server_of_a_cluster_that_dies_is_passed_by() {
    let mut cluster = RealCluster::start(3).unwrap();
    for server in &cluster.servers {
        let part = "CONFIG SET cluster-require-full-coverage no";
        assert_eq!(ask(server.address, part).unwrap(), "+OK\r\n");
    }
    let (_, mut heard) = listening(&cluster.url(), &["news"]).await;
    drop(cluster.servers.remove(0));
    let missed = next(&mut heard).await.unwrap_err();
    assert!(is_broken(&missed), "{missed:?}");
    let there = cluster.servers[1].address;
    let again = heard_again(&mut heard, async || {
        ask(there, "PUBLISH news again").unwrap();
    });
    assert_eq!(again.await, said("news", "again"));
}
