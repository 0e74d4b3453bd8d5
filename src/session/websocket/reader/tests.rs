//! Frames of a client, in one piece and in many.

use super::{FrameReader, Incoming};
use crate::session::websocket::{Violation, listener::Deaf};

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// A masked frame of less than 126 bytes; `first` is FIN, reserved bits and opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

fn read_all(mut input: &[u8], step: usize) -> (Vec<Incoming>, Option<Violation>) {
    let mut reader = FrameReader::new(false);
    let mut heard = Vec::new();
    while !input.is_empty() {
        let (mut piece, rest) = input.split_at(step.min(input.len()));
        input = rest;
        loop {
            match reader.read(&mut piece, &mut Deaf) {
                Ok(Some(incoming)) => heard.push(incoming),
                Ok(None) => break,
                Err(violation) => return (heard, Some(violation)),
            }
        }
    }
    (heard, None)
}

/// Checks what is heard in `input`, whole and byte by byte.
#[track_caller]
fn check(input: &[u8], incoming: &[Incoming], violation: Option<Violation>) {
    for step in [usize::MAX, 1, 2, 3, 7] {
        let (heard, broken) = read_all(input, step);
        assert_eq!(
            (&*heard, broken),
            (incoming, violation),
            "in steps of {step}"
        );
    }
}

fn ping(payload: &[u8]) -> Incoming {
    Incoming::Ping(payload.to_vec())
}

#[test]
fn data_of_any_form_is_skipped() {
    for data in [
        frame(0x81, b"hello"),
        frame(0x82, &[0, 255]),
        frame(0x81, b""),
        frame(0x81, &[0xff, 0xfe]),
        [frame(0x01, b"a"), frame(0x00, b"b"), frame(0x80, b"c")].concat(),
        frame(0x8a, b"a pong nobody asked for"),
    ] {
        let then_ping = [data, frame(0x89, b"x")].concat();
        check(&then_ping, &[ping(b"x")], None);
    }
}

#[test]
fn long_lengths_are_counted_exactly() {
    for length in [126_usize, 127, 65_535, 65_536, 2_000_000] {
        let mut bytes = vec![0x82];
        match u16::try_from(length) {
            Ok(short) => {
                bytes.push(0x80 | 126);
                bytes.extend(short.to_be_bytes());
            }
            Err(_) => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.resize(bytes.len() + length, 0x89);
        bytes.extend(frame(0x89, b"after"));
        assert_eq!(
            read_all(&bytes, 4096),
            (vec![ping(b"after")], None),
            "{length}"
        );
    }
}

#[test]
fn an_endless_frame_is_read_without_end() {
    let mut bytes = vec![0x82, 0xff];
    bytes.extend([0xff; 8]);
    bytes.extend(MASK);
    bytes.extend([0x89; 100_000]);
    assert_eq!(read_all(&bytes, 4096), (vec![], None));
}

#[test]
fn control_frames_are_heard_inside_a_message() {
    let bytes = [frame(0x01, b"a"), frame(0x89, b"now"), frame(0x80, b"b")].concat();
    check(&bytes, &[ping(b"now")], None);
}

#[test]
fn pings_keep_their_payload() {
    check(&frame(0x89, b""), &[ping(b"")], None);
    check(&frame(0x89, &[7; 125]), &[ping(&[7; 125])], None);
}

#[test]
fn closes_are_told_with_their_code() {
    check(&frame(0x88, b""), &[Incoming::Close(None)], None);
    for code in [1000_u16, 1001, 1003, 1011, 1014, 3000, 4000, 4999] {
        let payload = [&code.to_be_bytes()[..], b"bye \xc3\xa9"].concat();
        check(&frame(0x88, &payload), &[Incoming::Close(Some(code))], None);
    }
}

#[test]
fn each_breach_is_found() {
    use Violation::{
        CloseCode, FragmentedControl, LongControl, NestedMessage, NotMasked, NotText, ReservedBits,
        ReservedControlOpcode, ReservedDataOpcode, ShortClose, StrayContinuation,
    };
    let fragment = frame(0x01, b"a");
    for (bytes, violation) in [
        (frame(0xc1, b"a"), ReservedBits(4)),
        (frame(0xf9, b"a"), ReservedBits(7)),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), ReservedBits(4)),
        (vec![0x81, 1, b'a'], NotMasked),
        (vec![0x89, 0], NotMasked),
        (frame(0x83, b"x"), ReservedDataOpcode(3)),
        (frame(0x87, b"x"), ReservedDataOpcode(7)),
        (frame(0x8b, b"x"), ReservedControlOpcode(11)),
        (frame(0x8f, b"x"), ReservedControlOpcode(15)),
        (frame(0x09, b"x"), FragmentedControl),
        (vec![0x89, 0xfe, 0, 126], LongControl),
        (frame(0x88, &[3]), ShortClose),
        (frame(0x80, b"x"), StrayContinuation),
        ([&*fragment, &frame(0x81, b"b")].concat(), NestedMessage),
        (
            [&*fragment, &frame(0x80, b"b"), &frame(0x80, b"c")].concat(),
            StrayContinuation,
        ),
        (
            frame(0x88, &[&1000_u16.to_be_bytes()[..], &[0xff]].concat()),
            NotText,
        ),
    ] {
        check(&bytes, &[], Some(violation));
    }
    for code in [
        0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ] {
        check(
            &frame(0x88, &code.to_be_bytes()),
            &[],
            Some(CloseCode(code)),
        );
    }
}

#[test]
fn reasons_are_those_that_clients_of_restheart_know() {
    for (violation, code, reason) in [
        (
            Violation::NotMasked,
            1002,
            "UT002034: Web socket frame was not masked",
        ),
        (
            Violation::ReservedBits(4),
            1002,
            "UT002015: Extensions not allowed but received rsv of 4",
        ),
        (
            Violation::ReservedDataOpcode(3),
            1002,
            "UT002009: Data frame using reserved opcode = 3",
        ),
        (
            Violation::FragmentedControl,
            1002,
            "UT002005: Fragmented control frame",
        ),
        (
            Violation::NestedMessage,
            1002,
            "UT002011: Received non-continuation data frame while inside fragmented message",
        ),
        (
            Violation::NotText,
            1007,
            "UT002003: Text frame contains non UTF-8 data",
        ),
    ] {
        assert_eq!((violation.code(), &*violation.to_string()), (code, reason));
        assert!(reason.len() <= 123);
    }
}
