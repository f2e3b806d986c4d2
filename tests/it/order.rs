//! The commands of one connection on one shard take effect in the order sent: pipelines of writes
//! and reads, sent in one piece, are answered as if each had waited for the one before.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dht_proto::Reply;
use dht_tests::native_client::NativeClient;
use dht_tests::process::Processes;
use dht_tests::random::Random;
use dht_tests::resp_client::RespClient;

/// Pipelines of each connection, and commands of each.
const PIPELINES: usize = 30;
const COMMANDS: usize = 50;

/// A key of each kind on one shard, and what it holds.
struct Model {
    tag: String,
    text: Option<String>,
    number: i64,
    fields: BTreeMap<String, String>,
}

impl Model {
    const fn new(tag: String) -> Self {
        Self {
            tag,
            text: None,
            number: 0,
            fields: BTreeMap::new(),
        }
    }

    /// A command on its keys, and what has to be answered.
    fn next(&mut self, random: &mut Random) -> (Vec<String>, Reply) {
        let value = random.below(1000).to_string();
        let field = random.below(3).to_string();
        let (text, number, hash) = (
            format!("{}text", self.tag),
            format!("{}number", self.tag),
            format!("{}hash", self.tag),
        );
        match random.below(7) {
            0 => {
                self.text = Some(value.clone());
                (words(&["SET", &text, &value]), Reply::Ok)
            }
            1 => {
                let had = self.text.take().is_some();
                (words(&["DEL", &text]), Reply::Int(i64::from(had)))
            }
            2 => (words(&["GET", &text]), bulk(self.text.as_ref())),
            3 => {
                self.number += 1;
                (words(&["INCR", &number]), Reply::Int(self.number))
            }
            4 => {
                let held = (self.number > 0).then(|| self.number.to_string());
                (words(&["GET", &number]), bulk(held.as_ref()))
            }
            5 => {
                let is_new = self.fields.insert(field.clone(), value.clone()).is_none();
                let added = Reply::Int(i64::from(is_new));
                (words(&["HSET", &hash, &field, &value]), added)
            }
            _ => {
                let held = bulk(self.fields.get(&field));
                (words(&["HGET", &hash, &field]), held)
            }
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn bulk(value: Option<&String>) -> Reply {
    value.map_or(Reply::Nil, |value| Reply::bulk(value.clone()))
}

enum Connection {
    Resp(RespClient),
    Native(NativeClient),
}

impl Connection {
    async fn check(&mut self, tags: [String; 2], random: &mut Random) {
        let mut models = tags.map(Model::new);
        for _ in 0..PIPELINES {
            let next = |_| {
                let which = random.below(2);
                models[which].next(random)
            };
            let (commands, expect): (Vec<_>, Vec<_>) = (0..COMMANDS).map(next).unzip();
            let replies = match self {
                Self::Resp(client) => client.pipeline(&commands).await,
                Self::Native(client) => client.pipeline(&commands).await,
            }
            .unwrap();
            assert_eq!(replies.len(), COMMANDS, "{commands:?}");
            for ((command, reply), expect) in commands.iter().zip(replies).zip(expect) {
                assert_eq!(reply, expect, "{command:?} of {commands:?}");
            }
        }
    }
}

/// A key's tag, of a shard that this node leads, or that another one does.
fn tag(cluster: &Processes, random: &mut Random, is_led_by: impl Fn(usize) -> bool) -> String {
    loop {
        let tag = format!("{{order:{}}}", random.next());
        if cluster.leader_of(&tag).is_some_and(&is_led_by) {
            return tag;
        }
    }
}

#[tokio::test]
async fn what_is_pipelined_takes_effect_in_order() {
    let cluster = Processes::start(3);
    cluster.await_safe(0);
    let mut random = Random::seeded();
    for node in 0..3 {
        let mut tags = || {
            let random = &mut random;
            [
                tag(&cluster, random, |leader| leader == node),
                tag(&cluster, random, |leader| leader != node),
            ]
        };
        let (tags, others) = (tags(), tags());
        let address: SocketAddr = cluster.client(node);
        let client = RespClient::connect(address).await.unwrap();
        Connection::Resp(client).check(tags, &mut random).await;
        let client = NativeClient::connect(address).await.unwrap();
        Connection::Native(client).check(others, &mut random).await;
    }
}

/// Wherever somebody listens and reads: what is said in one piece with a write, behind it, is heard
/// once the write is done.
#[tokio::test]
async fn who_is_told_of_a_write_reads_it() {
    const ROUNDS: usize = 100;
    let cluster = Processes::start(3);
    cluster.await_safe(0);
    for (node, listen, say) in [
        (0, "SUBSCRIBE", "PUBLISH"),
        (1, "SSUBSCRIBE", "SPUBLISH"),
        (2, "SUBSCRIBE", "PUBLISH"),
    ] {
        let other = cluster.client((node + 1) % 3);
        let mut listener = RespClient::connect(other).await.unwrap();
        listener.call(&["HELLO", "3"]).await.unwrap();
        listener.call(&[listen, "channel"]).await.unwrap();
        let mut reader = RespClient::connect(other).await.unwrap();
        let mut writer = RespClient::connect(cluster.client(node)).await.unwrap();
        for round in 0..ROUNDS {
            let text = round.to_string();
            let commands = [
                words(&["SET", "order", &text]),
                words(&[say, "channel", &text]),
            ];
            let hear = async {
                let heard = listener.next().await.unwrap();
                assert!(matches!(heard, Reply::Pushes(_)), "{heard:?}");
                reader.call(&["GET", "order"]).await.unwrap()
            };
            let (done, read) = tokio::join!(writer.pipeline(&commands), hear);
            assert_eq!(done.unwrap().len(), 2);
            assert_eq!(read, Reply::bulk(text), "{say} at {node}");
        }
    }
}
