//! Messages as RFC 7692 shows them, as others compress them, and as nobody should.

use proptest::prelude::*;

use super::inflate;
use crate::{
    session::websocket::Violation,
    wire::deflate::{Window, with_payload},
};

#[track_caller]
fn check(payload: &[u8], bytes_max: usize, expected: Result<&[u8], Violation>) {
    let inflated = inflate(payload.to_vec(), bytes_max);
    assert_eq!(inflated.as_deref().map_err(|error| *error), expected);
}

/// Source: RFC 7692 sections 7.2.3.1, 7.2.3.3 to 7.2.3.6. The second message of 7.2.3.2 looks into the first, which
/// `client_no_context_takeover` rules out.
#[test]
fn the_examples_of_the_rfc() {
    for (payload, message) in [
        (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], "Hello"),
        // A block without compression.
        (
            &[0, 5, 0, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0],
            "Hello",
        ),
        // BFINAL is set.
        (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0, 0], "Hello"),
        // Two blocks.
        (
            &[
                0xf2, 0x48, 0x05, 0, 0, 0, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0,
            ],
            "Hello",
        ),
        // Nothing.
        (&[0], ""),
    ] {
        check(payload, 1 << 20, Ok(message.as_bytes()));
    }
    // "Hello" as a reference to a message before.
    check(
        &[0xf2, 0x00, 0x11, 0x00, 0x00],
        1 << 20,
        Err(Violation::NotDeflated),
    );
}

#[test]
fn what_is_not_deflated_is_told() {
    for payload in [
        &b""[..],
        b"Hello",
        &[0xff],
        // A block of a kind that there is none of.
        &[0x06],
        // Cut within a block.
        &[0xf2, 0x48, 0xcd],
        &[0, 9, 0, 0xf6, 0xff, 0x48],
        // With something behind it.
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0, 0xff],
    ] {
        check(payload, 1 << 20, Err(Violation::NotDeflated));
    }
}

#[test]
fn no_more_is_inflated_than_a_message_may_have() {
    let message = vec![b'a'; 10_000_000];
    let payload = with_payload(&message, Window::Full, |payload| payload.unwrap().to_vec());
    assert!(payload.len() < 50_000, "{}", payload.len());
    check(&payload, message.len(), Ok(&message));
    for bytes_max in [0, 1, 1023, 1024, 1025, 4096, message.len() - 1] {
        check(&payload, bytes_max, Err(Violation::MessageTooLong));
    }
}

/// Text with what JSON repeats, and bytes that cannot be compressed.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::collection::vec("[a-c]{1,9}|\"operationType\": |[0-9]{1,6}", 0..400);
    prop_oneof![
        words.prop_map(|words| words.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..4000),
    ]
}

proptest! {
    #[test]
    fn what_was_compressed_is_what_comes_out(message in message(), is_small: bool, room in 0_usize..3) {
        let window = match is_small { true => Window::Small, false => Window::Full };
        let payload = with_payload(&message, window, |payload| payload.map(<[u8]>::to_vec));
        if let Some(payload) = payload {
            prop_assert!(payload.len() < message.len());
            let inflated = inflate(payload.clone(), message.len() + room);
            prop_assert_eq!(inflated, Ok(message.clone()));
            let too_long = inflate(payload, message.len() - 1);
            prop_assert_eq!(too_long, Err(Violation::MessageTooLong));
        }
    }

    #[test]
    fn any_bytes_come_to_an_end(payload: Vec<u8>) {
        if let Ok(message) = inflate(payload, 1 << 16) {
            prop_assert!(message.len() <= 1 << 16);
        }
    }
}
