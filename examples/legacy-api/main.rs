//! A small REST API over MongoDB, in RESTHeart's manner: the example that stands behind Sidestream.
//!
//! It is what many teams already run: databases, collections and documents as resources, properties of a collection
//! kept in `_properties`, users in `users`, Basic authentication. It knows nothing of streams, and it is not part of
//! the product. One role is understood, `admin`, which may do everything; finer permissions are beyond this example.
//!
//! `/` shows one database (`--database`, `restheart` unless told otherwise), `/all/<database>/…` shows every database.

mod accounts;
mod answer;
mod api;
mod documents;
mod json;
mod properties;
mod request;

use std::convert::Infallible;
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use clap::Parser;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::api::Api;

/// A small REST API over MongoDB, in RESTHeart's manner; an example, not a product.
#[derive(Parser)]
#[command(name = "legacy-api")]
struct Arguments {
    /// Where to listen; port 0 takes a free one. Default: LEGACY_API_LISTEN, else 127.0.0.1:8081.
    #[arg(long)]
    listen: Option<String>,
    /// The MongoDB to show. Default: LEGACY_API_MONGODB, else mongodb://127.0.0.1:27017.
    #[arg(long)]
    mongodb: Option<String>,
    /// The database that `/` shows and that holds the users. Default: LEGACY_API_DATABASE, else restheart.
    #[arg(long)]
    database: Option<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let listen = argument(arguments.listen, "LEGACY_API_LISTEN", "127.0.0.1:8081");
    let mongodb = argument(
        arguments.mongodb,
        "LEGACY_API_MONGODB",
        "mongodb://127.0.0.1:27017",
    );
    let database = argument(arguments.database, "LEGACY_API_DATABASE", "restheart");

    let client = mongodb::Client::with_uri_str(&mongodb).await?;
    let api = Arc::new(Api::new(client, database));
    api.accounts.create_first_user().await?;

    let listener = TcpListener::bind(&listen)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    println!("legacy-api listening on {}", listener.local_addr()?);
    std::io::stdout().flush()?;
    tokio::select! {
        () = accept(listener, api) => (),
        stopped = asked_to_stop() => stopped?,
    }
    Ok(())
}

fn argument(given: Option<String>, variable: &str, default: &str) -> String {
    given
        .or_else(|| std::env::var(variable).ok())
        .unwrap_or_else(|| default.to_owned())
}

async fn asked_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    Ok(())
}

/// Accepts for ever; dropping it drops every connection.
async fn accept(listener: TcpListener, api: Arc<Api>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, api.clone()));
                }
                // Out of file descriptors, or a client that left: the next accept may succeed.
                Err(error) => {
                    eprintln!("legacy-api: accept: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => (),
        }
    }
}

async fn serve(stream: TcpStream, api: Arc<Api>) {
    // A failure only means that this one is slower.
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    // What ends a connection early is the client's affair.
    if let Err(error) = connection.await
        && std::env::var_os("LEGACY_API_VERBOSE").is_some()
    {
        eprintln!("legacy-api: connection: {error}");
    }
}

const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
