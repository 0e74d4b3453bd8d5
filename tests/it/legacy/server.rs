//! The API as a process of its own, asked over bare sockets.

use std::process::Command;

use bson::oid::ObjectId;
use bson::{Document, doc};
use mongodb::Database;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::process::Process;
use crate::support::{client_of, mongo_uri};

/// A running API over a database of its own, which goes when the test ends well.
pub(super) struct Legacy {
    pub(super) address: String,
    pub(super) database: Database,
    _process: Process,
}

/// One answer, read whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl Legacy {
    pub(super) async fn start() -> Self {
        let uri = mongo_uri().await;
        let name = format!("legacy_{}", ObjectId::new());
        let client = client_of(uri).await;
        let mut command = Command::new(binary());
        command.args(["--listen", "127.0.0.1:0", "--mongodb", uri]);
        command.args(["--database", &name]);
        let process = Process::start(&command, None);
        let address = |line: &str| line.strip_prefix(LISTENING).map(str::to_owned);
        let log = process.log.clone();
        let address = log.wait("the API to listen", 0, address).await;
        Self {
            address,
            database: client.database(&name),
            _process: process,
        }
    }

    pub(super) async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let mut stream = TcpStream::connect(&self.address)
            .await
            .expect("the API listens");
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream
            .write_all(format!("{head}\r\n{body}").as_bytes())
            .await
            .expect("the API reads");
        read_reply(stream, method).await
    }

    /// Asks as `admin`.
    pub(super) async fn admin(&self, method: &str, target: &str, body: &str) -> Reply {
        self.ask(method, target, &[ADMIN], body).await
    }

    pub(super) async fn stored(&self, collection: &str, id: &str) -> Option<Document> {
        let found = self
            .database
            .collection::<Document>(collection)
            .find_one(doc! { "_id": id })
            .await;
        found.expect("MongoDB answers")
    }

    pub(super) async fn end(self) {
        self.database.drop().await.expect("MongoDB answers");
    }
}

async fn read_reply(mut stream: TcpStream, method: &str) -> Reply {
    let mut bytes = Vec::new();
    let (status, headers, start) = loop {
        let count = stream.read_buf(&mut bytes).await.expect("the API answers");
        assert!(
            count > 0,
            "the connection ended inside a head: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        if let httparse::Status::Complete(start) =
            response.parse(&bytes).expect("a head of HTTP/1.1")
        {
            let headers = response.headers.iter().map(|header| {
                (
                    header.name.to_owned(),
                    String::from_utf8_lossy(header.value).into_owned(),
                )
            });
            break (
                response.code.expect("parsed"),
                headers.collect::<Vec<_>>(),
                start,
            );
        }
    };
    let mut reply = Reply {
        status,
        headers,
        body: String::new(),
    };
    let length = reply
        .header("content-length")
        .map_or(0, |length| length.parse().expect("a number"));
    let length = if method == "HEAD" || status == 204 {
        0
    } else {
        length
    };
    let mut body = bytes.split_off(start);
    while body.len() < length {
        let count = stream.read_buf(&mut body).await.expect("the API answers");
        assert!(count > 0, "the connection ended inside a body");
    }
    reply.body = String::from_utf8(body).expect("bodies are UTF-8");
    reply
}

fn binary() -> std::path::PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/it-…");
    profile.join("examples").join("legacy-api")
}

pub(super) const ADMIN: (&str, &str) = ("Authorization", "Basic YWRtaW46c2VjcmV0");
const LISTENING: &str = "legacy-api listening on ";
