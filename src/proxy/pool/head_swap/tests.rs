//! Heads on their way to the upstream and back.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{HeadSwap, Heads, Look};
use crate::proxy::{answer::AnswerHead, swap::mark};

/// It always has something to say.
impl Look for DuplexStream {
    fn is_readable_now(&self) -> bool {
        true
    }
}

struct Scene {
    io: HeadSwap<DuplexStream>,
    heads: Arc<Heads>,
    upstream: DuplexStream,
}

impl Scene {
    fn new() -> Self {
        let (near, upstream) = duplex(1 << 20);
        let heads = Arc::new(Heads::default());
        Self {
            io: HeadSwap::new(near, Arc::clone(&heads)),
            heads,
            upstream,
        }
    }

    /// Sends `ours`; hyper has `before` still to write.
    async fn ask(&mut self, before: &str, ours: &'static str) {
        self.heads.put_request(Bytes::from_static(ours.as_bytes()));
        let hypers = format!("{before}GET {} HTTP/1.1\r\n\r\n", mark().target);
        self.io.write_all(hypers.as_bytes()).await.expect("written");
        let mut got = vec![0; before.len() + ours.len()];
        self.upstream.read_exact(&mut got).await.expect("sent");
        assert_eq!(String::from_utf8_lossy(&got), format!("{before}{ours}"));
    }

    /// What hyper reads of `answer`, which comes in pieces of `piece` bytes, up to its end.
    async fn read(mut self, answer: &str, piece: usize) -> (String, Self) {
        let mut seen = Vec::new();
        let (near, far) = duplex(1);
        let mut upstream = std::mem::replace(&mut self.upstream, near);
        drop(far);
        let answer = answer.as_bytes().to_vec();
        let sending = async {
            for piece in answer.chunks(piece) {
                upstream.write_all(piece).await.expect("sent");
                tokio::task::yield_now().await;
            }
            drop(upstream);
        };
        let reading = async {
            let mut room = [0; 64];
            loop {
                match self.io.read(&mut room).await.expect("read") {
                    0 => break,
                    len => seen.extend_from_slice(&room[..len]),
                }
            }
        };
        tokio::join!(sending, reading);
        (String::from_utf8(seen).expect("text"), self)
    }
}

#[tokio::test]
async fn a_request_goes_out_behind_what_was_left_of_the_one_before() {
    let mut scene = Scene::new();
    scene
        .ask("", "GET /\"x\" HTTP/1.1\r\nHOST: h\r\n\r\n")
        .await;
    scene
        .ask("--b\r\n\r\nHTTP/1.1\r\n\r\n", "GET /y HTTP/1.1\r\n\r\n")
        .await;
}

#[tokio::test]
async fn hyper_reads_a_reduced_head_and_the_whole_body_however_it_comes() {
    let body = "x".repeat(500);
    let answer = format!("HTTP/1.1 200 Fine\r\nA: 1\r\nContent-Length: 500\r\nB: 2\r\n\r\n{body}");
    for piece in [1, 3, 60, 10_000] {
        let mut scene = Scene::new();
        scene.ask("", "GET / HTTP/1.1\r\n\r\n").await;
        let (seen, scene) = scene.read(&answer, piece).await;
        assert_eq!(
            seen,
            format!("HTTP/1.1 200 Fine\r\nContent-Length: 500\r\n\r\n{body}")
        );
        let head = scene.heads.take_answer().expect("a head");
        assert_eq!(head.bytes()[..], answer.as_bytes()[..answer.len() - 500]);
        assert_eq!(scene.heads.take_answer(), None);
    }
}

#[tokio::test]
async fn interim_heads_are_laid_down_and_leave_to_go_on_is_hypers() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: b\r\n\r\nHTTP/1.1 204 No Content\r\nX: 1\r\n\r\n";
    for piece in [1, 30, 10_000] {
        let mut scene = Scene::new();
        scene.ask("", "GET / HTTP/1.1\r\n\r\n").await;
        let (seen, scene) = scene.read(answer, piece).await;
        assert_eq!(
            seen,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
        );
        let interim = scene.heads.take_interim();
        let links: Vec<_> = interim.iter().map(AnswerHead::interim).collect();
        let link = |to: &str| format!("HTTP/1.1 103 Early Hints\r\nLink: {to}\r\n\r\n");
        assert_eq!(links, [link("a"), link("b")]);
        assert_eq!(scene.heads.take_answer().expect("a head").status(), 204);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_left_to_hyper() {
    for garbage in [
        "HTTP/1.1 200 OK\r\nno field\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nCut: of",
        "\r\n\r\n",
        "",
    ] {
        for piece in [1, 10_000] {
            let mut scene = Scene::new();
            scene.ask("", "GET / HTTP/1.1\r\n\r\n").await;
            let (seen, scene) = scene.read(garbage, piece).await;
            assert_eq!(seen, garbage);
            assert_eq!(scene.heads.take_answer(), None);
        }
    }
}

#[tokio::test]
async fn a_head_without_end_is_not_kept_for_ever() {
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(300 << 10));
    let mut scene = Scene::new();
    scene.ask("", "GET / HTTP/1.1\r\n\r\n").await;
    let (seen, _) = scene.read(&endless, 8192).await;
    assert_eq!(seen, endless);
}

#[tokio::test]
async fn what_comes_unasked_passes() {
    let (seen, scene) = Scene::new()
        .read("HTTP/1.1 408 Late\r\nA: 1\r\n\r\n", 100)
        .await;
    assert_eq!(seen, "HTTP/1.1 408 Late\r\nA: 1\r\n\r\n");
    assert_eq!(scene.heads.take_answer(), None);
}

#[tokio::test]
async fn who_looks_first_reads_an_end_until_the_request_is_out() {
    let mut scene = Scene::new();
    let mut room = [0; 8];
    scene.heads.look_first();
    assert_eq!(scene.io.read(&mut room).await.expect("read"), 0);
    // Once only, and never in the place of an answer.
    scene.heads.look_first();
    scene.ask("", "GET / HTTP/1.1\r\n\r\n").await;
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    scene.upstream.write_all(answer).await.expect("sent");
    assert_ne!(scene.io.read(&mut room).await.expect("read"), 0);
}
