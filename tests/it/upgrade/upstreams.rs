//! Another list of upstreams comes with an upgrade, under load.

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::multiplexed::Multiplexed;
use super::{Asking, Installation, PATIENCE, check_serves, upgrade};
use crate::support::secure::{Files, Identity, terminating};
use crate::support::upstream::Server;

/// An upstream that answers as [`Echo`](crate::support::upstream::Echo) does, and counts.
struct Counting {
    server: Server,
    asked: watch::Sender<usize>,
}

impl Counting {
    async fn start() -> Self {
        let asked = watch::Sender::new(0);
        let counted = asked.clone();
        let server = Server::start(move |request: hyper::Request<Bytes>| {
            counted.send_modify(|asked| *asked += 1);
            let line = format!("{} {} ", request.method(), request.uri());
            Response::new(Full::from([line.as_bytes(), request.body()].concat()))
        });
        Self {
            server: server.await,
            asked,
        }
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until it was asked so many times more.
    async fn is_asked(&self, more: usize) {
        let mut asked = self.asked.subscribe();
        let enough = self.asked() + more;
        let there = tokio::time::timeout(PATIENCE, asked.wait_for(|asked| *asked >= enough)).await;
        there.expect("requests come here").expect("it is there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_list_of_upstreams_is_taken_over_without_a_loss() {
    let goes = Counting::start().await;
    let stays = Counting::start().await;
    let comes = Counting::start().await;
    let identity = Identity::new();
    let files = Files::of(&identity);
    let secure = terminating(&identity, comes.server.address).await;
    let config = |urls: [String; 2], more: &str| {
        format!(
            "server.listen = [\"127.0.0.1:0\"]\nserver.http2.prior_knowledge = true\n\
             server.drain = \"10s\"\nadmin.listen = \"127.0.0.1:0\"\nstreams.enabled = false\n\
             [upstream]\nurl = {urls:?}\n{more}"
        )
    };
    let before = config([goes.server.url(), stays.server.url()], "");
    let installation = Installation::new(&before);
    let sidestream = installation.start(&[]).await;
    let (tell, stop) = watch::channel(false);
    let mut asking = JoinSet::new();
    for (method, body, answer) in [("GET", "", "GET /x "), ("POST", "text", "POST /x text")] {
        for keeps in [true, false] {
            let one = Asking {
                address: sidestream.public,
                tls: None,
                keeps,
                method,
                path: "/x",
                body,
                answer,
            };
            asking.spawn(one.run(stop.clone()));
        }
    }
    let one = Multiplexed {
        address: sidestream.public,
        trusted: None,
    };
    asking.spawn(one.run(stop));
    goes.is_asked(10).await;
    stays.is_asked(10).await;
    assert_eq!(comes.asked(), 0);

    // One is replaced by one that is spoken to by TLS.
    let authorities = format!("authorities = {:?}\n", files.certificate);
    let url = format!("https://localhost:{}", secure.port());
    installation.configure(&config([stays.server.url(), url], &authorities));
    let successor = upgrade(&sidestream, sidestream.pid()).await;
    let gone = goes.asked();
    comes.is_asked(10).await;
    stays.is_asked(10).await;
    tell.send_replace(true);
    let mut all = 0;
    while let Some(answers) = asking.join_next().await {
        let answers = answers.expect("every request is answered");
        assert!(answers > 2);
        all += answers;
    }
    // None was sent twice, and none was looked at of which the opposite was said.
    assert_eq!(goes.asked() + stays.asked() + comes.asked(), all);
    assert_eq!(goes.asked(), gone, "the old list is forgotten");
    check_serves(&sidestream).await;
    sidestream.signal(&format!("TERM {successor}"));
    assert_eq!(sidestream.exit_code().await, 0);
}
