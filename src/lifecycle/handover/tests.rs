//! Sockets sent and received, and successors of every kind but a good one: that is the real binary's, in the
//! integration tests.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Handover, HandoverError, Inherited, SERVING_TIME_MAX, SOCKETS_MAX, receive, send};

fn listener() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A shell in the place of the new process.
fn handover(script: &str, within: Duration) -> Handover {
    let arguments = ["-c", script].map(Into::into);
    Handover::new("sh".into(), arguments.into(), within)
}

/// What the other side makes of these sockets.
fn received(handover: &Handover) -> Inherited {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    send(&ours, &handover.sockets).expect("it fits");
    Inherited {
        sockets: receive(&theirs).expect("it was sent"),
        predecessor: Some(theirs),
    }
}

#[test]
fn sockets_are_claimed_by_what_they_were_for_and_else_by_their_address() {
    let [(public, at_public), (tls, at_tls), (other, at_other)] = [(); 3].map(|()| listener());
    let mut given = handover("", SERVING_TIME_MAX);
    for (name, asked, socket) in [
        ("public", any_port(), &public),
        ("tls", any_port(), &tls),
        ("public", at_other, &other),
    ] {
        given.add(name, asked, socket.as_fd()).expect("it fits");
    }
    let mut inherited = received(&given);
    drop((given, public, tls, other));
    let claimed = |inherited: &mut Inherited, name, asked| {
        let socket = inherited.claim(name, asked)?;
        socket.local_addr().ok()
    };
    assert_eq!(claimed(&mut inherited, "tls", any_port()), Some(at_tls));
    assert_eq!(claimed(&mut inherited, "tls", any_port()), None);
    // What was the public listener's is the admin listener's now.
    assert_eq!(claimed(&mut inherited, "admin", at_other), Some(at_other));
    assert_eq!(inherited.unclaimed(), [at_public]);
    // It listens as long as somebody has it.
    let client = TcpStream::connect(at_public).expect("it is in the queue");
    let socket = inherited.claim("public", any_port()).expect("it was given");
    let accepted = socket.accept().expect("the client waits").1;
    assert_eq!(accepted, client.local_addr().expect("it is connected"));
    assert!(inherited.unclaimed().is_empty());
}

#[test]
fn no_socket_is_a_message_too_and_there_is_a_limit() {
    let mut given = handover("", SERVING_TIME_MAX);
    assert!(received(&given).unclaimed().is_empty());
    let (socket, address) = listener();
    for _ in 0..SOCKETS_MAX {
        given.add("public", address, socket.as_fd()).expect("fits");
    }
    given
        .add("public", address, socket.as_fd())
        .expect_err("no");
    assert_eq!(received(&given).unclaimed().len(), SOCKETS_MAX);
}

#[test]
fn what_does_not_listen_is_no_listener() {
    let (socket, address) = listener();
    let client = TcpStream::connect(address).expect("it listens");
    drop(socket);
    let mut given = handover("", SERVING_TIME_MAX);
    given.add("public", address, client.as_fd()).expect("fits");
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    send(&ours, &given.sockets).expect("it fits");
    let error = receive(&theirs).expect_err("it does not listen");
    assert!(error.to_string().contains("not listening"), "{error}");
}

#[tokio::test]
async fn a_successor_says_that_it_serves() {
    let shell = handover("echo serving >&0; exit 0", SERVING_TIME_MAX);
    shell.start().await.expect("it has said so");
}

#[tokio::test]
async fn a_successor_that_ends_says_how() {
    let ended = handover("exit 3", SERVING_TIME_MAX).start().await;
    let error = ended.expect_err("it does not serve");
    let text = "the new process ended before it served: exit status: 3";
    assert_eq!(error.to_string(), text);

    let missing = Handover::new("nowhere/to be found".into(), vec![], SERVING_TIME_MAX);
    let error = missing.start().await.expect_err("there is no such program");
    assert_eq!(error.to_string(), "nowhere/to be found cannot be started");
}

#[tokio::test]
async fn a_successor_that_says_nothing_is_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pid");
    let script = format!("echo $$ >'{}'; exec sleep 1000", file.display());
    let within = Duration::from_millis(500);
    let error = handover(&script, within).start().await;
    assert!(matches!(error, Err(HandoverError::Late(told)) if told == within));
    let pid = std::fs::read_to_string(&file).expect("it was started");
    let gone = async {
        let is_there = async || {
            let mut kill = tokio::process::Command::new("kill");
            kill.args(["-0", pid.trim()])
                .stderr(std::process::Stdio::null());
            kill.status().await.expect("kill can be run").success()
        };
        while is_there().await {}
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .expect("it is ended and waited for");
}
