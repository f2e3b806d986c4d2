//! A web service whose instances share their sessions, without a database beside them: each has a
//! node inside, and the nodes keep three copies of every session.
//!
//! `cargo run -p dht-node --example sessions` starts three instances in one process:
//!
//! ```text
//! curl -i -X POST http://127.0.0.1:PORT/login/Alice     # gives a cookie
//! curl -b session=... http://127.0.0.1:OTHER/me         # Alice, at any of the three
//! ```
//!
//! On three machines it is one instance a machine, with `DHT_PASSWORD` set:
//! `sessions 0.0.0.0:8080 10.0.0.1:7400 10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400`.

use std::error::Error;
use std::net::TcpListener;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use dht_client::{Client, Error as TableError};
use dht_node::Node;
use serde::Deserialize;

/// How long a session lasts after it was last used.
const LASTS_S: i64 = 1800;

/// What is kept of who has logged in: a field of a hash each.
#[derive(Deserialize)]
struct Session {
    name: String,
    pages: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let instances = match &args[..] {
        [http, listen, join] => {
            let node = Node::builder()
                .listen([listen.parse()?])
                .password(std::env::var("DHT_PASSWORD").unwrap_or_default())
                .join(join.split(','))
                .start();
            vec![(TcpListener::bind(http)?, node.await?)]
        }
        _ => three().await?,
    };
    let mut serving = tokio::task::JoinSet::new();
    for (http, node) in instances {
        println!("http://{}", http.local_addr()?);
        serving.spawn(serve(http, node));
    }
    while let Some(served) = serving.join_next().await {
        served??;
    }
    Ok(())
}

/// Three instances in this process.
async fn three() -> Result<Vec<(TcpListener, Node)>, Box<dyn Error>> {
    let mut instances = Vec::new();
    for node in Node::cluster(3)? {
        instances.push((TcpListener::bind("127.0.0.1:0")?, node.start().await?));
    }
    Ok(instances)
}

/// Serves until the process is told to end, and then leaves the cluster in order.
async fn serve(http: TcpListener, node: Node) -> std::io::Result<()> {
    let app = Router::new()
        .route("/login/{name}", post(login))
        .route("/me", get(me))
        .with_state(node.client());
    http.set_nonblocking(true)?;
    let http = tokio::net::TcpListener::from_std(http)?;
    let end = async {
        // Where signals cannot be caught, it serves until it is killed.
        let _ = tokio::signal::ctrl_c().await;
    };
    let served = axum::serve(http, app).with_graceful_shutdown(end).await;
    node.shutdown().await;
    served
}

/// A visitor's way in. A real service would ask for more than a name.
async fn login(
    State(table): State<Client>,
    Path(name): Path<String>,
) -> Result<([(header::HeaderName, String); 1], String), Refusal> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR))?;
    let id = u128::from_ne_bytes(id);
    let greeting = format!("Welcome, {name}\n");
    let key = key(&format!("{id:032x}"));
    // As one: a session whose time was not set would last for ever.
    let fields = [("name", &*name), ("pages", "0")];
    let begin = table.pipeline().hset(&key, fields);
    begin.expire(&key, LASTS_S).exec().await?;
    let cookie = format!("session={id:032x}; HttpOnly; SameSite=Lax");
    Ok(([(header::SET_COOKIE, cookie)], greeting))
}

/// Who the visitor is, whichever instance is asked.
async fn me(State(table): State<Client>, headers: HeaderMap) -> Result<String, Refusal> {
    let nobody = || Refusal(StatusCode::UNAUTHORIZED);
    let key = key(session(&headers).ok_or_else(nobody)?);
    // A session that has expired stays so: nothing is written for it.
    if !table.expire(&key, LASTS_S).await? {
        return Err(nobody());
    }
    table.hincrby(&key, "pages", 1).await?;
    let session: Option<Session> = table.hget_struct(&key).await?;
    let Session { name, pages } = session.ok_or_else(nobody)?;
    Ok(format!("{name}, page {pages}\n"))
}

fn key(id: &str) -> String {
    format!("session:{id}")
}

/// The session's id, if the cookie holds what looks like one.
fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let mut cookies = cookies.split(';').map(str::trim);
    let id = cookies.find_map(|cookie| cookie.strip_prefix("session="))?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// What a visitor is told instead of a page.
struct Refusal(StatusCode);

impl From<TableError> for Refusal {
    fn from(_: TableError) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> axum::response::Response {
        self.0.into_response()
    }
}
