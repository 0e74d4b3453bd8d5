//! Pieces that are compressed, inflated by who has no more than the window.

mod judge;

use super::{COMPRESSED_BYTES_MIN, EMPTY_BLOCK, OUT_BYTES_KEPT, Window, with_blocks, with_payload};

/// Inflates, and asserts that nothing is looked back at that the window does not hold.
#[track_caller]
fn inflated(blocks: &[u8], window: Window) -> Vec<u8> {
    let (plain, farthest) = judge::inflated(blocks);
    assert!(farthest <= 1 << window.bits(), "{farthest} bytes back");
    plain
}

/// An event of about this many bytes, in which hardly anything comes twice, but for what lies `apart` from it.
fn text(bytes: usize, apart: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut state = 1_u32;
    while text.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match text.len().checked_sub(apart).filter(|_| state >> 28 < 8) {
            Some(from) => text.extend_from_within(from..(from + 40).min(text.len())),
            None => text.extend(format!("{state:x} ").into_bytes()),
        }
    }
    text
}

fn compressed(plain: &[u8], window: Window) -> Vec<u8> {
    with_blocks(plain, window, <[u8]>::to_vec)
}

#[test]
fn a_window_is_kept_to() {
    for bytes in [0, 1, 100, 511, 512, 600, 5_000, 70_000] {
        for apart in [60, 300, 1_000, 20_000] {
            let plain = text(bytes, apart);
            for window in [Window::Full, Window::Small] {
                let blocks = compressed(&plain, window);
                assert!(blocks.ends_with(&EMPTY_BLOCK));
                assert_eq!(
                    inflated(&blocks, window),
                    plain,
                    "{bytes} {apart} {window:?}"
                );
            }
        }
    }
    // The test can see the difference.
    let far = text(70_000, 20_000);
    let (_, farthest) = judge::inflated(&compressed(&far, Window::Full));
    assert!(farthest > 10_000, "{farthest}");
}

#[test]
fn a_piece_is_the_same_whatever_was_before_it() {
    let (one, other) = (text(3_000, 100), text(2 * OUT_BYTES_KEPT, 700));
    for window in [Window::Full, Window::Small] {
        let first = compressed(&one, window);
        assert_eq!(inflated(&compressed(&other, window), window), other);
        assert_eq!(compressed(&one, window), first);
    }
}

#[test]
fn what_gains_nothing_is_left_as_it_is() {
    let is_compressed =
        |plain: &[u8]| with_payload(plain, Window::Full, |payload| payload.is_some());
    assert!(!is_compressed(b""));
    assert!(!is_compressed(&[b'a'; COMPRESSED_BYTES_MIN - 1]));
    assert!(is_compressed(&[b'a'; COMPRESSED_BYTES_MIN]));
    // Every byte once.
    let random: Vec<u8> = (0..=255).collect();
    assert!(!is_compressed(&random));
}
