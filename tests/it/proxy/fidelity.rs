//! Every exchange twice, once direct and once through Sidestream: what reaches the other side differs only by the rules
//! that `docs/proxy.md` lists.

mod cases;
pub(super) mod message;

use std::collections::BTreeMap;

use self::{
    cases::Exchange,
    message::{Framing, Message, answer, request},
};
use super::stage::{Front, Peer, Upstream, latin_1, within};

/// What an exchange came to: what the upstream got, what the client got.
struct Seen {
    request: Message,
    interim: Vec<Message>,
    answer: Message,
}

/// Runs one exchange from `client` to `upstream`.
async fn run(exchange: &Exchange, mut client: Peer, upstream: &Upstream) -> Seen {
    client.send(latin_1(&exchange.request)).await;
    let mut peer = upstream.accept().await;
    let request = within(request(&mut peer)).await.expect("a whole request");
    peer.send(latin_1(&exchange.answer)).await;
    // What has no other end ends with the connection.
    peer.finish().await;
    let is_head = exchange.request.starts_with("HEAD ");
    let mut interim = Vec::new();
    let answer = loop {
        let next = answer(&mut client, is_head).await;
        match next.is_interim() {
            true => interim.push(next),
            false => break next,
        }
    };
    Seen {
        request,
        interim,
        answer,
    }
}

/// How often each rule explained a difference.
#[derive(Default)]
struct Rules(BTreeMap<&'static str, usize>);

impl Rules {
    /// Applies a rule to what was seen directly.
    fn apply(
        &mut self,
        rule: &'static str,
        message: &mut Message,
        change: impl FnOnce(&mut Message),
    ) {
        let before = message.clone();
        change(message);
        if *message != before {
            *self.0.entry(rule).or_default() += 1;
        }
    }

    /// What the upstream may get instead of `direct`.
    fn request(&mut self, mut direct: Message, authority: &str) -> Message {
        let host = direct.value("host").unwrap_or_else(|| authority.to_owned());
        let received = direct.clone();
        self.apply("version", &mut direct, |message| {
            message.set_version("HTTP/1.1")
        });
        self.apply("absolute", &mut direct, Message::drop_authority);
        let te = direct.tokens("te").any(|token| token == "trailers");
        self.apply("hop-by-hop", &mut direct, Message::drop_hop_by_hop);
        self.apply("expect", &mut direct, |message| {
            message.drop_fields(|name, value| name == "expect" && value == "100-continue");
        });
        self.apply("host", &mut direct, |message| {
            if message.value("host").is_none() {
                message.push("Host", authority);
            }
        });
        self.apply("te", &mut direct, |message| {
            if te {
                message.push("Connection", "TE");
                message.push("TE", "trailers");
            }
        });
        self.apply("forwarded", &mut direct, |message| {
            message.be_forwarded(&received, &host)
        });
        self.apply("chunks", &mut direct, Message::forget_chunks);
        direct
    }

    /// What the client may get instead of `direct`.
    fn answer(&mut self, mut direct: Message, asked: &Message) -> Message {
        let is_old = asked.line.ends_with("HTTP/1.0");
        let version = if is_old { "HTTP/1.0" } else { "HTTP/1.1" };
        self.apply("line-ends", &mut direct, |message| {
            message.has_bare_feeds = false
        });
        self.apply("version", &mut direct, |message| {
            message.set_version(version)
        });
        let ends_at_close = match direct.framing {
            Framing::Close => is_old || direct.tokens("transfer-encoding").next().is_some(),
            Framing::Chunked => is_old,
            _ => false,
        };
        let stays = asked.stays() && !ends_at_close;
        let says_it_stays = direct
            .tokens("connection")
            .any(|token| token == "keep-alive");
        self.apply("connection", &mut direct, |message| {
            message.set_connection(match (stays, is_old) {
                (false, false) => Some("close"),
                (false, true) => None,
                (true, true) => Some("keep-alive"),
                (true, false) => says_it_stays.then_some("keep-alive"),
            });
        });
        self.apply(
            "hop-by-hop",
            &mut direct,
            Message::drop_hop_by_hop_but_connection,
        );
        self.apply("no-length", &mut direct, |message| {
            let is_empty = message.status() == "204";
            message.drop_fields(|name, _| is_empty && name == "content-length");
        });
        self.apply("two-lengths", &mut direct, Message::keep_one_length);
        self.apply("framing", &mut direct, |message| {
            match (message.framing, is_old) {
                (Framing::Close, false) if ends_at_close => (),
                (Framing::Close, false) => {
                    message.framing = Framing::Chunked;
                    message.push("Transfer-Encoding", "chunked");
                }
                (Framing::Chunked | Framing::Close, true) => {
                    message.framing = Framing::Close;
                    message.trailers.clear();
                    message.drop_fields(|name, _| matches!(name, "transfer-encoding" | "trailer"));
                }
                _ => (),
            }
        });
        self.apply("chunks", &mut direct, Message::forget_chunks);
        direct
    }
}

#[tokio::test]
async fn nothing_differs_but_what_the_table_allows() {
    let cases = cases::all();
    assert!(cases.len() >= 150, "{} exchanges", cases.len());
    let mut rules = Rules::default();
    let mut wrong = Vec::new();
    for exchange in &cases {
        let upstream = Upstream::bind().await;
        let front = Front::before(&upstream);
        let direct = run(exchange, upstream.client().await, &upstream).await;
        let through = run(exchange, front.client().await, &upstream).await;
        let expected = rules.request(direct.request.clone(), &upstream.authority());
        let mut got = through.request;
        got.forget_chunks();
        if got != expected {
            wrong.push(format!(
                "{:?}\n  upstream: {got:?}\n  expected: {expected:?}",
                exchange.request
            ));
        }
        let expected = rules.answer(direct.answer, &direct.request);
        let mut got = through.answer;
        got.forget_chunks();
        if got != expected {
            wrong.push(format!(
                "{:?}\n  client:   {got:?}\n  expected: {expected:?}",
                exchange.answer
            ));
        }
        let expected: Vec<_> = direct
            .interim
            .into_iter()
            .filter(|interim| interim.status() != "100" && !direct.request.line.ends_with("1.0"))
            .collect();
        if through.interim != expected {
            wrong.push(format!(
                "{:?}\n  client:   {:?}",
                exchange.answer, through.interim
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    println!(
        "{} exchanges; differences explained by {:?}",
        cases.len(),
        rules.0
    );
    check_table(&rules);
}

/// The table in the docs has the rules that were needed, all of them and no others.
fn check_table(rules: &Rules) {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/proxy.md"));
    let docs = docs.expect("docs/proxy.md");
    let mut listed: Vec<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(rule, _)| rule)
        .filter(|rule| !OTHERWISE_TESTED.contains(rule))
        .collect();
    listed.sort_unstable();
    let needed: Vec<&str> = rules.0.keys().copied().collect();
    assert_eq!(
        needed, listed,
        "needed by the exchanges, and listed in docs/proxy.md"
    );
}

/// Rules of the table that take more than one request and one answer to see; the tests beside this one have them.
const OTHERWISE_TESTED: [&str; 3] = ["encoded", "continue", "upgrade"];
