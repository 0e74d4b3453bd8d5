use proptest::prelude::*;

use super::{super::huffman, Rest, put_integer, treat};

/// A field that is not to be remembered, with `:path` as everybody knows it.
fn path(first: u8, path: &[u8]) -> Vec<u8> {
    let mut block = vec![first | 4];
    put_integer(&mut block, 7, 0, path.len());
    block.extend_from_slice(path);
    block
}

/// `:method: GET`, `:scheme: https`, both referred to.
const BEFORE: &[u8] = &[0x82, 0x87];
/// A new name and value to be remembered, and a reference to them.
const BEHIND: &[u8] = b"\x40\x01x\x021\"\xbe";

#[track_caller]
fn check(target: &[u8], expected: Option<&[u8]>) {
    for first in [0, 0x10] {
        let block = [BEFORE, &path(first, target), BEHIND].concat();
        let expected = expected.map(|expected| [BEFORE, &path(first, expected), BEHIND].concat());
        assert_eq!(
            treat(&block),
            expected,
            "{:?}",
            String::from_utf8_lossy(target)
        );
    }
}

#[test]
fn a_target_is_encoded_as_in_http_1() {
    check(
        br#"/m?filter={"from":"Bob"}"#,
        Some(br#"/m?filter={%22from%22:%22Bob%22}"#),
    );
    check(b"/a<b>`#c?d#e", Some(b"/a%3Cb%3E%60%23c?d%23e"));
    check(b"/\xe9", Some(b"/%E9"));
    let long = [b"/?".as_slice(), &[b'"'; 5000]].concat();
    let encoded = [b"/?".to_vec(), b"%22".repeat(5000)].concat();
    check(&long, Some(&encoded));
}

#[test]
fn what_may_or_must_stay_stays() {
    for target in [
        b"/a%22?b=%7B&c".as_slice(),
        b"*",
        b"",
        b"\"",
        b"http://h/\"",
        b"/a b\"",
        b"/\r\nX: 1\"",
        b"/\0\"",
        &[b'"'; 70_000],
    ] {
        check(target, None);
    }
}

#[test]
fn other_names_and_other_ways_to_say_it() {
    let treated = Some(path(0, b"/?a=%22%22x"));
    // In the Huffman code.
    let coded = [0x63, 0xfc, 0x1c, 0x1f, 0xcf, 0xf3, 0xe7];
    assert_eq!(treat(&[&[4, 0x87][..], &coded].concat()), treated);
    assert_eq!(treat(&[&[5, 0x87][..], &coded].concat()), treated);
    // By its name, in that code and without.
    let plain = [&[0, 5][..], b":path", &[0x87], &coded].concat();
    let name = [&[0, 0x84, 0xb9, 0x58, 0xd3, 0x3f][..], &[0x87], &coded].concat();
    assert_eq!(treat(&plain), treated);
    assert_eq!(treat(&name), treated);
    // Another field.
    assert_eq!(treat(&[&[0, 1][..], b"x", &[3], b"/?\""].concat()), None);
    // One that is to be remembered: others' tables must stay the same.
    assert_eq!(treat(&[&[0x44, 4][..], b"/?a\""].concat()), None);
    // A new size of the table stands before.
    let sized = [&[0x3f, 0xe1, 0x1f][..], &path(0, b"/?\"")].concat();
    assert_eq!(
        treat(&sized),
        Some([&[0x3f, 0xe1, 0x1f][..], &path(0, b"/?%22")].concat())
    );
}

#[test]
fn a_block_that_is_none_stays_as_it_is() {
    let whole = [BEFORE, &path(0, b"/?\"")].concat();
    assert!(treat(&whole).is_some());
    for end in 0..whole.len() {
        assert_eq!(treat(&whole[..end]), None, "{end}");
    }
    for broken in [
        &[0x0f][..],
        &[0x04, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x04, 0x81, 0x00],
        &[0x04, 0x84, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(treat(broken), None, "{broken:?}");
    }
}

/// Source: RFC 7541, appendix C.4 and C.6.
#[test]
fn the_huffman_code_is_that_of_the_rfc() {
    #[track_caller]
    fn check(code: &[u8], text: Option<&str>) {
        let decoded = huffman::decode(code);
        assert_eq!(decoded.as_deref(), text.map(str::as_bytes), "{code:x?}");
    }
    check(&[], Some(""));
    check(
        &[
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ],
        Some("www.example.com"),
    );
    check(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], Some("no-cache"));
    check(
        &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
        Some("custom-value"),
    );
    let date = [
        0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81,
        0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
    ];
    check(&date, Some("Mon, 21 Oct 2013 20:13:21 GMT"));
    // Padding that is too long, or no ones; the end of text.
    check(&[0xff], None);
    check(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf, 0xff], None);
    check(&[0x00], None);
    check(&[0xff, 0xff, 0xff, 0xff], None);
}

proptest! {
    /// Whatever it is, it is read to its end and no further; what is changed once is not changed again.
    #[test]
    fn any_bytes_are_a_block_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(treated) = treat(&bytes) {
            prop_assert_eq!(treat(&treated), None);
        }
        huffman::decode(&bytes);
    }

    /// Any target arrives as what it is, or encoded, with all that is around it.
    #[test]
    fn any_target_keeps_its_meaning(target in "/[!-~]{0,200}") {
        let block = [BEFORE, &path(0, target.as_bytes()), BEHIND].concat();
        let Some(treated) = treat(&block) else {
            return Ok(());
        };
        let decoded = |block: &[u8]| percent_encoding::percent_decode(block).collect::<Vec<_>>();
        let behind = BEHIND.len();
        prop_assert_eq!(&treated[..2], BEFORE);
        prop_assert_eq!(&treated[treated.len() - behind..], BEHIND);
        let mut inner = Rest(&treated[2..treated.len() - behind]);
        let (name, value) = inner.field(4).expect("a field");
        prop_assert!(name.is_path() && inner.0.is_empty());
        prop_assert_eq!(decoded(value.bytes), decoded(target.as_bytes()));
    }
}
