//! What a client does when nodes answer, redirect, or vanish.

use super::*;
use crate::routes::tests::slots_reply;
use crate::testing::{Act, FakeNode, refuse};

/// What a seed answers that says this node leads all slots.
fn leads_all(address: &str) -> Reply {
    let (host, port) = address.rsplit_once(':').unwrap();
    slots_reply(&[(0, 16383, host, port.parse().unwrap())])
}

/// A seed that knows this leader, and answers other commands as the function says.
async fn seed(leader: &str, act: impl Fn(&str) -> Act + Clone + Send + 'static) -> FakeNode {
    let slots = leads_all(leader);
    FakeNode::start(move |command| match command {
        "CLUSTER SLOTS" => Act::Answer(slots.clone()),
        other => act(other),
    })
    .await
}

fn answer(text: &'static str) -> impl Fn(&str) -> Act + Clone + Send + 'static {
    move |_| Act::Answer(Reply::bulk(text))
}

fn short(client: Client) -> Client {
    client.with_deadline(Duration::from_millis(300))
}

#[tokio::test]
async fn single_slots_go_to_their_leader_and_the_rest_to_a_seed() {
    let leader = FakeNode::start(answer("leader")).await;
    let seed = seed(&leader.address, answer("seed")).await;
    let client = Client::connect(&seed.address).await.unwrap();
    for (line, expect) in [
        ("GET a", "leader"),
        ("HSET a f 1", "leader"),
        ("MGET {a}1 {a}2", "leader"),
        ("MGET a b", "seed"),
        ("DBSIZE", "seed"),
        ("CLIENT ID", "seed"),
    ] {
        let reply = client.call(line.split(' ')).await;
        assert_eq!(reply, Ok(Reply::bulk(expect)), "{line}");
    }
}

#[tokio::test]
async fn a_redirection_is_followed_and_learned() {
    let new = FakeNode::start(answer("new")).await;
    let text = format!("MOVED 12182 {}", new.address);
    let old = FakeNode::start(move |_| refuse(&text)).await;
    let seed = seed(&old.address, answer("seed")).await;
    let client = Client::connect(&seed.address).await.unwrap();
    // The routes, asked for again, still tell of the old leader; only the first call can meet
    // it.
    *client.shared.next_refresh.lock().unwrap() += Duration::from_secs(60);
    for _ in 0..3 {
        assert_eq!(
            client.call(["SET", "foo", "1"]).await,
            Ok(Reply::bulk("new"))
        );
    }
    assert_eq!(old.seen(), ["SET foo 1"]);
    assert_eq!(new.seen().len(), 3);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unknown_and_not_sent_again() {
    let leader = FakeNode::start(|_| Act::Hang).await;
    let seed = seed(&leader.address, answer("seed")).await;
    let client = Client::connect(&seed.address).await.unwrap();
    let error = client.call(["INCR", "n"]).await.unwrap_err();
    assert!(
        matches!(error, Error::Unknown(Cause::Broken { .. })),
        "{error}"
    );
    assert_eq!(leader.seen(), ["INCR n"]);
    assert_eq!(seed.seen(), ["CLUSTER SLOTS"]);
    let read = client.call(["GET", "n"]).await;
    assert_eq!(
        read,
        Ok(Reply::bulk("seed")),
        "a read is repeated elsewhere"
    );
}

#[tokio::test]
async fn a_write_that_a_node_leaves_undone_as_it_ends_is_sent_again() {
    let leader = FakeNode::start(|_| Act::Leave).await;
    let seed = seed(&leader.address, answer("seed")).await;
    let client = Client::connect(&seed.address).await.unwrap();
    assert_eq!(client.call(["INCR", "n"]).await, Ok(Reply::bulk("seed")));
    assert_eq!(leader.seen(), ["INCR n"]);
}

#[tokio::test]
async fn no_answer_within_the_deadline() {
    let silent = FakeNode::start(|_| Act::Ignore).await;
    let seed = seed(&silent.address, answer("seed")).await;
    let client = short(Client::connect(&seed.address).await.unwrap());
    let start = Instant::now();
    let result = client.call(["INCR", "n"]).await;
    assert_eq!(result, Err(Error::Unknown(Cause::Deadline)));
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_leader_that_is_gone_is_passed_by() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let seed = seed(&gone, answer("seed")).await;
    let client = Client::connect(&format!("{gone},{}", seed.address))
        .await
        .unwrap();
    assert_eq!(client.call(["INCR", "n"]).await, Ok(Reply::bulk("seed")));
    assert_eq!(client.call(["PING"]).await, Ok(Reply::bulk("seed")));
    let nowhere = short(Client::open(gone.parse().unwrap()).unwrap());
    let error = nowhere.call(["INCR", "n"]).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert!(Client::connect(&gone).await.is_err());
}

#[tokio::test]
async fn not_done_is_tried_again_until_the_deadline() {
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let moment = FakeNode::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => refuse("TRYAGAIN in a moment"),
        _ => Act::Answer(Reply::Int(1)),
    })
    .await;
    let seed = seed(&moment.address, answer("seed")).await;
    let client = Client::connect(&seed.address).await.unwrap();
    assert_eq!(client.incr("n").await, Ok(1));
    assert_eq!(tries.load(Ordering::Relaxed), 3);

    let down = FakeNode::start(|_| refuse("CLUSTERDOWN no leader")).await;
    let client = short(Client::open(down.address.parse().unwrap()).unwrap());
    let error = client.incr("n").await.unwrap_err();
    assert!(
        matches!(error, Error::NotDone(Cause::Cluster(_))),
        "{error}"
    );
    assert!(
        down.seen()
            .iter()
            .filter(|command| *command == "INCR n")
            .count()
            > 2
    );
}

#[tokio::test]
async fn a_pipeline_keeps_order_and_retries_only_what_was_not_done() {
    let echo = |command: &str| Act::Answer(Reply::bulk(command));
    let right = FakeNode::start(echo).await;
    let (host, port) = right.address.rsplit_once(':').unwrap();
    let text = format!("MOVED 15495 {host}:{port}");
    let left = FakeNode::start(move |command| match command {
        "GET a" => refuse(&text),
        "GET c" => refuse("WRONGTYPE no string"),
        other => echo(other),
    })
    .await;
    let seed = seed(&left.address, echo).await;
    let client = Client::connect(&seed.address).await.unwrap();
    let results = client
        .pipeline()
        .set("b", 1)
        .get("a")
        .get("c")
        .mget(["a", "b"])
        .set("b", 2)
        .send()
        .await;
    let wrong = Error::Reply(dht_proto::ReplyError::Received(
        "WRONGTYPE no string".to_owned(),
    ));
    let expect = [
        Ok(Reply::bulk("SET b 1")),
        Ok(Reply::bulk("GET a")),
        Err(wrong),
        Ok(Reply::bulk("MGET a b")),
        Ok(Reply::bulk("SET b 2")),
    ];
    assert_eq!(results, expect);
    assert_eq!(left.seen(), ["SET b 1", "GET a", "GET c", "SET b 2"]);
    assert_eq!(right.seen(), ["GET a"]);
    assert_eq!(client.pipeline().send().await, []);
}

#[tokio::test]
async fn the_password_comes_first_and_a_wrong_one_is_told() {
    let node = FakeNode::start(|command| match command {
        "AUTH secret" | "AUTH me secret" => Act::Answer(Reply::Ok),
        "CLUSTER SLOTS" => Act::Answer(Reply::Array(Vec::new())),
        "PING" => Act::Answer(Reply::Status("PONG".into())),
        _ => refuse("WRONGPASS invalid"),
    })
    .await;
    let target = |login: &str| format!("dht://{login}@{}", node.address);
    let client = Client::connect(&target(":secret")).await.unwrap();
    assert_eq!(client.ping().await, Ok("PONG".to_owned()));
    assert_eq!(node.seen(), ["AUTH secret", "CLUSTER SLOTS", "PING"]);
    assert!(Client::connect(&target("me:secret")).await.is_ok());
    let Err(Error::Reply(error)) = Client::connect(&target(":wrong")).await.map(drop) else {
        panic!("a wrong password was accepted");
    };
    assert_eq!(error.prefix(), "WRONGPASS");
}

#[tokio::test]
async fn a_node_is_asked_once_and_reconnected() {
    let node = FakeNode::start(|command| match command {
        "QUIT" => Act::Hang,
        _ => refuse("MOVED 1 other:1"),
    })
    .await;
    let handle = Node::new(&node.address, None);
    let moved = handle.call(["SET", "k", "v"]).await.unwrap_err();
    assert_eq!(
        moved.reply().map(ToString::to_string).as_deref(),
        Some("MOVED 1 other:1")
    );
    assert!(matches!(
        handle.call(["QUIT"]).await,
        Err(Error::NotDone(_) | Error::Unknown(_))
    ));
    assert!(handle.call(["PING"]).await.unwrap_err().reply().is_some());
    assert_eq!(node.seen(), ["SET k v", "QUIT", "PING"]);
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let node = FakeNode::start(|command| Act::Answer(Reply::bulk(command))).await;
    let client = Client::open(node.address.parse().unwrap()).unwrap();
    let calls: Vec<_> = (0..20_000)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.call(["ECHO", &n.to_string()]).await })
        })
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), Ok(Reply::bulk(format!("ECHO {n}"))));
    }
    assert_eq!(node.connections(), 1);
}

#[test]
fn a_client_is_small_to_clone_and_safe_to_share() {
    fn is_safe<T: Clone + Send + Sync + 'static>() {}
    is_safe::<Client>();
    is_safe::<Node>();
    assert!(size_of::<Client>() <= 32);
}

#[tokio::test]
async fn the_routes_are_asked_for_again_when_a_node_is_gone() {
    let old = FakeNode::start(|command| match command {
        "GET a" => Act::Answer(Reply::bulk("old")),
        _ => Act::Freeze,
    });
    let (old, new) = (old.await, FakeNode::start(answer("new")).await);
    let (before, after) = (leads_all(&old.address), leads_all(&new.address));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let seed = FakeNode::start(move |command| match command {
        "CLUSTER SLOTS" if count.fetch_add(1, Ordering::Relaxed) == 0 => {
            Act::Answer(before.clone())
        }
        "CLUSTER SLOTS" => Act::Answer(after.clone()),
        _ => Act::Answer(Reply::bulk("seed")),
    });
    let seed = seed.await;
    let client = Client::connect(&seed.address).await.unwrap();
    assert_eq!(client.call(["GET", "a"]).await, Ok(Reply::bulk("old")));
    // It is silent, so the seed is asked in its place, and what it knows of leaders as well.
    assert_eq!(client.call(["GET", "b"]).await, Ok(Reply::bulk("seed")));
    while client.call(["GET", "c"]).await != Ok(Reply::bulk("new")) {
        assert!(asked.load(Ordering::Relaxed) < 10);
    }
    let nodes = client.shared.nodes.lock().unwrap();
    assert!(
        !nodes.contains_key(&*old.address),
        "who leads nothing is left"
    );
}

/// Takes down what spans are opened.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Spans {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) {
        let mut text = attributes.metadata().name().to_owned();
        let mut visit = |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            text += &format!(" {}={value:?}", field.name());
        };
        attributes.record(&mut visit);
        self.0.lock().unwrap().push(text);
    }
}

#[tokio::test]
async fn calls_and_pipelines_are_spans() {
    use tracing_subscriber::layer::SubscriberExt;

    let node = FakeNode::start(answer("x")).await;
    let client = Client::open(node.address.parse().unwrap()).unwrap();
    let spans = Spans::default();
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    let guard = tracing::subscriber::set_default(subscriber);
    client.get("secret").await.unwrap();
    client.pipeline().get("a").get("b").send().await;
    drop(guard);
    let seen = spans.0.lock().unwrap().clone();
    assert_eq!(seen, ["call command=GET", "pipeline commands=2"]);
}

#[tokio::test]
async fn the_longest_deadline_is_no_mistake() {
    let node = seed("127.0.0.1:1", answer("node")).await;
    let client = Client::connect(&node.address).await.unwrap();
    for deadline in [Duration::MAX, LONGEST, LONGEST + Duration::from_secs(1)] {
        let client = client.clone().with_deadline(deadline);
        let reply = Ok(Reply::bulk("node"));
        assert_eq!(client.call(["DBSIZE"]).await, reply);
        let replies = client.pipeline().dbsize().send().await;
        assert_eq!(replies, std::slice::from_ref(&reply));
        let one = client.node(&node.address).with_deadline(deadline);
        assert_eq!(one.call(["DBSIZE"]).await, reply);
    }
}

#[tokio::test]
async fn without_any_time_nothing_is_sent() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let node = seed("127.0.0.1:1", move |_: &str| {
        count.fetch_add(1, Ordering::Relaxed);
        Act::Answer(Reply::Ok)
    });
    let node = node.await;
    let in_time = Client::connect(&node.address).await.unwrap();
    let client = in_time.clone().with_deadline(Duration::ZERO);
    let late = Error::NotDone(Cause::Deadline);
    assert_eq!(client.call(["DBSIZE"]).await, Err(late.clone()));
    let pipeline = client.pipeline().dbsize().dbsize();
    assert_eq!(
        pipeline.send().await,
        [Err(late.clone()), Err(late.clone())]
    );
    assert_eq!(client.pipeline().incr("k").exec().await, Err(late.clone()));
    assert_eq!(client.watch(["k"]).await.err(), Some(late.clone()));
    assert_eq!(client.node(&node.address).call(["PING"]).await, Err(late));
    // What would have been sent is there before this.
    in_time.call(["DBSIZE"]).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
