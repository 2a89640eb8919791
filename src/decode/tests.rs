//! Bodies made by encoders nobody here wrote (gzip, zstd) and by hand (brotli), and bodies made to do harm.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// Polls to the end; nothing here waits for anything but itself.
fn decode(body: &[u8], applied: &[Coding], limit: u64) -> Result<Bytes, DecodeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let body = Bytes::copy_from_slice(body);
    runtime.block_on(Decoders::default().decode(body, applied, limit, |_| Ok(())))
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    ::zstd::stream::encode_all(body, 1).unwrap()
}

/// Uncompressed meta-blocks of up to 64 KiB (RFC 7932, 9.2), with the window that the stream begins by asking for.
fn brotli(body: &[u8]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.push(0, 1); // a window of 64 KiB
    for block in body.chunks(1 << 16) {
        bits.push(0, 1); // not the last
        bits.push(0, 2); // four nibbles of length
        bits.push(block.len() as u64 - 1, 16);
        bits.push(1, 1); // uncompressed
        bits.align();
        bits.bytes.extend_from_slice(block);
    }
    bits.push(0b11, 2); // the last, and empty
    bits.align();
    bits.bytes
}

/// Bits in the order of RFC 7932, 1.5.1.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    pending: u64,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u64, count: u32) {
        self.pending |= value << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    fn align(&mut self) {
        if self.count > 0 {
            self.push(0, 8 - self.count);
        }
    }
}

fn encoded(coding: Coding, body: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => gzip(body),
        Coding::Br => brotli(body),
        Coding::Zstd => zstd(body),
    }
}

const ALL: [Coding; 3] = [Coding::Gzip, Coding::Br, Coding::Zstd];

fn reason(result: Result<Bytes, DecodeError>) -> &'static str {
    match result {
        Err(DecodeError::Corrupt { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_encoded_comes_back() {
    let text = b"{\"order\": 1}".repeat(20_000);
    for coding in ALL {
        let body = encoded(coding, &text);
        assert_eq!(decode(&body, &[coding], MIB).unwrap(), text, "{coding}");
    }
}

#[test]
fn brotli_of_another_encoder_comes_back() {
    // node: zlib.brotliCompressSync("hello hello hello hello hello\n")
    let body = [
        0x1b, 0x1d, 0x00, 0xf8, 0x8d, 0x94, 0x6e, 0xde, 0x44, 0x55, 0x86, 0xd6, 0x0a, 0x20, 0x6c,
        0x6f, 0x4a, 0x11, 0x7a, 0xe2, 0x80, 0x52, 0x2d, 0x00,
    ];
    assert_eq!(
        &decode(&body, &[Coding::Br], MIB).unwrap()[..],
        b"hello hello hello hello hello\n"
    );
}

#[test]
fn two_codings_are_undone_from_the_last_to_the_first() {
    let body = zstd(&gzip(b"twice"));
    let applied = [Coding::Gzip, Coding::Zstd];
    assert_eq!(&decode(&body, &applied, MIB).unwrap()[..], b"twice");
    let turned = [Coding::Zstd, Coding::Gzip];
    assert_eq!(
        reason(decode(&body, &turned, MIB)),
        "its header is not that of gzip"
    );
}

#[test]
fn a_body_without_a_byte_has_nothing_to_undo() {
    for coding in ALL {
        assert!(decode(b"", &[coding], MIB).unwrap().is_empty());
        assert!(
            decode(&encoded(coding, b""), &[coding], MIB)
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    for coding in ALL {
        let limit = 100_000;
        let fits = vec![b'x'; limit as usize];
        assert_eq!(
            decode(&encoded(coding, &fits), &[coding], limit)
                .unwrap()
                .len() as u64,
            limit
        );
        let over = vec![b'x'; limit as usize + 1];
        assert_eq!(
            decode(&encoded(coding, &over), &[coding], limit),
            Err(DecodeError::TooLarge { limit }),
            "{coding}"
        );
    }
}

#[test]
fn no_more_is_set_aside_than_the_limit() {
    let mut made = Vec::new();
    let mut asked = 0;
    let mut room = |more| {
        asked += more;
        Ok::<(), DecodeError>(())
    };
    for _ in 0..100 {
        append(&mut made, &[0; 1000], 100_000, &mut room).unwrap();
        assert!(made.capacity() <= 100_000);
    }
    assert!(append(&mut made, &[0], 100_000, &mut room).is_err());
    assert_eq!(asked, 100_000);

    let mut none = |_| Err(DecodeError::TooLarge { limit: 7 });
    let refused = append(&mut Vec::new(), b"x", 100_000, &mut none);
    assert_eq!(refused, Err(DecodeError::TooLarge { limit: 7 }));
}

#[test]
fn what_lies_between_two_codings_is_bounded_too() {
    // little, out of nothing but empty frames: 2 MiB of them, in a few kilobytes
    let between = zstd(b"").repeat(1 << 18);
    let body = gzip(&between);
    assert!(body.len() < 20_000);
    let limit = MIB;
    assert_eq!(
        decode(&body, &[Coding::Zstd, Coding::Gzip], limit),
        Err(DecodeError::TooLarge { limit })
    );
}

#[test]
fn members_of_gzip_are_joined_and_counted() {
    let body = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
    assert_eq!(
        &decode(&body, &[Coding::Gzip], MIB).unwrap()[..],
        b"one two"
    );
    let many = gzip(b"").repeat(MEMBERS + 1);
    assert_eq!(
        reason(decode(&many, &[Coding::Gzip], MIB)),
        "it has more than 1,024 members"
    );
}

#[test]
fn frames_of_zstd_are_joined_and_counted() {
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, b'a', b'b', b'c'];
    let body = [&zstd(b"one "), &skipped[..], &zstd(b"two")].concat();
    assert_eq!(
        &decode(&body, &[Coding::Zstd], MIB).unwrap()[..],
        b"one two"
    );
    let many = zstd(b"").repeat(MEMBERS + 1);
    assert_eq!(
        reason(decode(&many, &[Coding::Zstd], MIB)),
        "it has more than 1,024 frames"
    );
}

#[test]
fn a_body_that_was_cut_off_is_refused_wherever_it_was_cut() {
    let text: Vec<u8> = (0..2_000u32).flat_map(u32::to_le_bytes).collect();
    for coding in ALL {
        let body = encoded(coding, &text);
        for length in 1..body.len() {
            let result = decode(&body[..length], &[coding], MIB);
            assert!(
                matches!(result, Err(DecodeError::Corrupt { .. })),
                "{coding}: {length} of {} gave {result:?}",
                body.len()
            );
        }
    }
}

#[test]
fn what_follows_the_end_is_refused() {
    for coding in ALL {
        for rest in [&b"x"[..], b"\0", b"GET / HTTP/1.1\r\n"] {
            let body = [&encoded(coding, b"text"), rest].concat();
            let result = decode(&body, &[coding], MIB);
            assert!(
                matches!(result, Err(DecodeError::Corrupt { .. })),
                "{coding} {rest:?}: {result:?}"
            );
        }
    }
}

#[test]
fn a_wrong_checksum_or_length_of_gzip_is_refused() {
    let good = gzip(b"text");
    for back in 1..=8 {
        let mut body = good.clone();
        let at = body.len() - back;
        body[at] ^= 1;
        assert_eq!(
            reason(decode(&body, &[Coding::Gzip], MIB)),
            "its checksum or length is wrong"
        );
    }
}

#[test]
fn every_field_of_a_gzip_header_is_passed_over() {
    let plain = gzip(b"text");
    let mut body = vec![0x1f, 0x8b, 8, FLAGS, 0, 0, 0, 0, 0, 255];
    const FLAGS: u8 = 0b0001_1111;
    body.extend([3, 0, b'a', b'b', b'c']); // extra
    body.extend(b"name\0comment\0");
    body.extend([0, 0]); // checksum of the header
    body.extend(&plain[10..]);
    assert_eq!(&decode(&body, &[Coding::Gzip], MIB).unwrap()[..], b"text");
    body[3] |= 0b0010_0000;
    assert_eq!(
        reason(decode(&body, &[Coding::Gzip], MIB)),
        "its header is not that of gzip"
    );
}

#[test]
fn a_window_over_the_bound_is_refused() {
    // zstd: a frame that asks for a window of 2^24 and of 2^41 bytes (RFC 8878, 3.1.1.1.2)
    for exponent in [14u8, 31] {
        let body = [0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3, 1, 0, 0];
        assert_eq!(
            reason(decode(&body, &[Coding::Zstd], MIB)),
            "its data is damaged, or its window is over 8 MiB"
        );
    }
    let just = [0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, 1, 0, 0];
    assert!(decode(&just, &[Coding::Zstd], MIB).unwrap().is_empty());
    // brotli: the large windows of an extension (a stream that begins with 0x11)
    let body = [0x11, 30, 3, 0, 0];
    assert_eq!(
        reason(decode(&body, &[Coding::Br], MIB)),
        "its data is damaged"
    );
}

#[test]
fn a_bomb_is_refused_at_the_limit_whatever_its_ratio() {
    let zeros = vec![0; 64 << 20];
    for coding in [Coding::Gzip, Coding::Zstd] {
        let body = encoded(coding, &zeros);
        assert!(body.len() < 512 << 10, "{}", body.len());
        assert_eq!(
            decode(&body, &[coding], MIB),
            Err(DecodeError::TooLarge { limit: MIB })
        );
    }
}

#[test]
fn the_header_says_what_was_applied() {
    let said = |values: &[&str], allowed: &[Coding]| {
        let mut headers = http::HeaderMap::new();
        for value in values {
            headers.append(
                http::header::CONTENT_ENCODING,
                http::HeaderValue::from_str(value).unwrap(),
            );
        }
        Codings(allowed.to_vec()).applied(&headers)
    };
    assert_eq!(said(&[], &ALL), Ok(vec![]));
    assert_eq!(said(&["identity", ""], &ALL), Ok(vec![]));
    assert_eq!(said(&["X-GZip"], &ALL), Ok(vec![Coding::Gzip]));
    assert_eq!(
        said(&["gzip , identity", "BR"], &ALL),
        Ok(vec![Coding::Gzip, Coding::Br])
    );
    assert_eq!(said(&["whatever"], &[]), Ok(vec![]), "nothing is decoded");
    assert!(matches!(
        said(&["deflate"], &ALL),
        Err(DecodeError::Unsupported(_))
    ));
    assert!(matches!(
        said(&["br"], &[Coding::Gzip]),
        Err(DecodeError::Unsupported(_))
    ));
    assert!(matches!(
        said(&["gzip, gzip", "gzip"], &ALL),
        Err(DecodeError::TooMany(_))
    ));
    assert_eq!(Codings(ALL.to_vec()).to_string(), "gzip, br, zstd");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_body_survives_every_coding(
        body in proptest::collection::vec(any::<u8>(), 0..70_000),
        first in 0usize..3,
        second in 0usize..4,
    ) {
        let mut applied = vec![ALL[first]];
        applied.extend(ALL.get(second));
        let made = applied.iter().fold(body.clone(), |body, coding| encoded(*coding, &body));
        prop_assert_eq!(decode(&made, &applied, MIB).unwrap(), body);
    }

    #[test]
    fn damaged_bodies_are_refused_or_within_the_limit(
        body in proptest::collection::vec(any::<u8>(), 1..5_000),
        coding in 0usize..3,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let coding = ALL[coding];
        let mut made = encoded(coding, &body);
        for (at, value) in flips {
            let at = at.index(made.len());
            made[at] ^= value;
        }
        if let Ok(decoded) = decode(&made, &[coding], 10_000) {
            prop_assert!(decoded.len() <= 10_000);
        }
    }

    #[test]
    fn nonsense_ends(body in proptest::collection::vec(any::<u8>(), 0..2_000), coding in 0usize..3) {
        let _ = decode(&body, &[ALL[coding]], 10_000);
    }
}
