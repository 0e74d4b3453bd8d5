//! Encoded bodies, decoded by the ordinary decoders.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, GzDecoder};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Coding, ContentCoding, REMEMBERED_BYTES_MAX, deflate};
use crate::delivery::Run;

fn decoded(coding: ContentCoding, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        ContentCoding::Identity => plain.extend_from_slice(body),
        ContentCoding::Gzip => {
            // Checks the checksum and the length, too.
            let mut decoder = GzDecoder::new(body);
            decoder.read_to_end(&mut plain).unwrap();
            assert!(decoder.into_inner().is_empty(), "bytes behind the end");
        }
        ContentCoding::Deflate => {
            let mut decoder = DeflateDecoder::new(body);
            decoder.read_to_end(&mut plain).unwrap();
            assert!(decoder.into_inner().is_empty(), "bytes behind the end");
        }
    }
    plain
}

const ALL: [ContentCoding; 3] = [
    ContentCoding::Identity,
    ContentCoding::Gzip,
    ContentCoding::Deflate,
];

#[test]
fn a_body_in_batches_is_one_valid_body() {
    for coding in ALL {
        let mut encoder = Coding::new(coding);
        let mut body = encoder.head().to_vec();
        for batch in [&["first"][..], &["second", "third", "third"], &["fourth"]] {
            let run = |text: &&'static str| Run::from(Bytes::from(*text));
            let mut frames: Vec<_> = batch.iter().map(run).collect();
            encoder.encode(&mut frames);
            frames
                .iter()
                .for_each(|run| body.extend_from_slice(&run.bytes));
            encoder.keep(frames.len());
        }
        body.extend_from_slice(&encoder.encode_now(b":\n\n"));
        body.extend_from_slice(&encoder.finish(b"last"));
        assert_eq!(
            decoded(coding, &body),
            b"firstsecondthirdthirdfourth:\n\nlast",
            "{coding:?}"
        );
    }
}

#[test]
fn what_was_dropped_is_not_summed() {
    for coding in ALL {
        let mut encoder = Coding::new(coding);
        let mut body = encoder.head().to_vec();
        let mut frames = ["written", "dropped", "too"].map(|frame| Run::from(Bytes::from(frame)));
        encoder.encode(&mut frames);
        body.extend_from_slice(&frames[0].bytes);
        encoder.keep(1);
        body.extend_from_slice(&encoder.finish(b"last"));
        assert_eq!(decoded(coding, &body), b"writtenlast", "{coding:?}");
    }
}

#[test]
fn a_frame_can_be_read_as_soon_as_it_is_written() {
    let mut encoder = Coding::new(ContentCoding::Gzip);
    assert_eq!(encoder.head().len(), 10);
    let mut decoder = flate2::Decompress::new(false);
    let mut plain = Vec::with_capacity(1024);
    let flush = flate2::FlushDecompress::Sync;
    for frame in ["data: 1\n\n", "data: 2\n\n"] {
        let mut frames = [Run::from(Bytes::from(frame))];
        encoder.encode(&mut frames);
        plain.clear();
        decoder
            .decompress_vec(&frames[0].bytes, &mut plain, flush)
            .unwrap();
        assert_eq!(plain, frame.as_bytes());
    }
}

#[test]
fn a_shared_frame_is_compressed_once() {
    let frame = Bytes::from(vec![b'x'; 1000]);
    let encode = || {
        let mut runs = [Run::from(frame.clone())];
        Coding::new(ContentCoding::Gzip).encode(&mut runs);
        let [encoded] = runs;
        encoded.bytes
    };
    assert_eq!(encode().as_ptr(), encode().as_ptr());

    let same_text = Bytes::from(frame.to_vec());
    let mut frames = [Run::from(same_text)];
    Coding::new(ContentCoding::Deflate).encode(&mut frames);
    assert_ne!(
        frames[0].bytes.as_ptr(),
        encode().as_ptr(),
        "told apart by identity, not by content"
    );
}

#[test]
fn any_bytes_come_back() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for length in (0..200).chain([1_000, 65_535, 65_536, REMEMBERED_BYTES_MAX + 1, 1_000_000]) {
        let alphabet = random.random_range(1..=256_u32);
        let plain: Vec<_> = (0..length)
            .map(|_| random.random_range(0..alphabet) as u8)
            .collect();
        let mut body = deflate(&plain).to_vec();
        body.extend(super::LAST_BLOCK);
        assert_eq!(
            decoded(ContentCoding::Deflate, &body),
            plain,
            "{length} bytes"
        );
    }
}
