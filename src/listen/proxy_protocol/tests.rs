use proptest::prelude::*;

use super::*;

fn own(bytes: &[u8]) -> Result<Read, Fault> {
    Ok(Read::Header(Header::Own, bytes.len()))
}

fn passed(bytes: usize, source: &str, destination: &str) -> Result<Read, Fault> {
    let passed = Passed {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        vpce: None,
        secure: false,
    };
    Ok(Read::Header(Header::Passed(passed), bytes))
}

/// A header of version 2.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = V2.to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    header.extend(body);
    header
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![kind];
    field.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    field.extend(value);
    field
}

/// 192.0.2.1:4711 to 10.0.0.1:443.
const V4_ENDS: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];

fn with_fields(fields: &[Vec<u8>]) -> Vec<u8> {
    v2(1, 0x11, &[V4_ENDS.to_vec(), fields.concat()].concat())
}

#[test]
fn lines_of_version_1_are_read_by_the_letter() {
    for (line, source, destination) in [
        (
            "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n",
            "192.0.2.1:4711",
            "10.0.0.1:443",
        ),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            "255.255.255.255:65535",
            "255.255.255.255:65535",
        ),
        (
            "PROXY TCP6 2001:db8::1 ::1 0 80\r\n",
            "[2001:db8::1]:0",
            "[::1]:80",
        ),
    ] {
        for mode in [ProxyProtocol::V1, ProxyProtocol::Auto] {
            let with_more = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(
                read(with_more.as_bytes(), mode),
                passed(line.len(), source, destination)
            );
        }
    }
    for line in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN ffff::1 what ever 70000\r\n",
    ] {
        assert_eq!(
            read(line.as_bytes(), ProxyProtocol::V1),
            own(line.as_bytes())
        );
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_V1 - 16));
    assert_eq!(
        read(longest.as_bytes(), ProxyProtocol::V1),
        own(longest.as_bytes())
    );
}

#[test]
fn lines_that_are_nearly_version_1_are_refused() {
    for line in [
        "PROXY TCP4 192.0.2.1 10.0.0.1 4711\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443 \r\n",
        "PROXY TCP4  192.0.2.1 10.0.0.1 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 04711 443\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 +4711 443\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.001 10.0.0.1 4711 443\r\n",
        "PROXY TCP4 2001:db8::1 ::1 4711 443\r\n",
        "PROXY TCP6 192.0.2.1 10.0.0.1 4711 443\r\n",
        "PROXY TCP5 192.0.2.1 10.0.0.1 4711 443\r\n",
        "PROXY tcp4 192.0.2.1 10.0.0.1 4711 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
    ] {
        assert!(
            matches!(
                read(line.as_bytes(), ProxyProtocol::V1),
                Err(Fault::Malformed(_))
            ),
            "{line}"
        );
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(LONGEST_V1));
    assert_eq!(
        read(endless.as_bytes(), ProxyProtocol::V1),
        Err(Fault::Malformed("its line is longer than 107 bytes"))
    );
    assert!(matches!(
        read(b"PROXY TCP4 \xff\r\n", ProxyProtocol::V1),
        Err(Fault::Malformed(_))
    ));
}

#[test]
fn version_2_names_streams_over_ip_and_leaves_the_rest_to_the_connection() {
    let v4 = with_fields(&[]);
    assert_eq!(
        read(&v4, ProxyProtocol::V2),
        passed(28, "192.0.2.1:4711", "10.0.0.1:443")
    );
    let mut ends = [0; 36];
    (ends[15], ends[31], ends[33], ends[35]) = (1, 2, 80, 81);
    let v6 = v2(1, 0x21, &ends);
    assert_eq!(
        read(&v6, ProxyProtocol::Auto),
        passed(52, "[::1]:80", "[::2]:81")
    );
    for (command, family, body) in [
        (0, 0x00, vec![]),
        (0, 0x11, V4_ENDS.to_vec()),
        (0, 0xff, vec![1, 2, 3]),
        (1, 0x00, vec![9; 20]),
        (1, 0x31, vec![b'/'; 216]),
    ] {
        let header = v2(command, family, &body);
        assert_eq!(
            read(&header, ProxyProtocol::V2),
            own(&header),
            "{command} {family}"
        );
    }
    for (command, family, body) in [
        (2, 0x11, V4_ENDS.to_vec()),
        (1, 0x12, V4_ENDS.to_vec()),
        (1, 0x41, V4_ENDS.to_vec()),
        (1, 0x11, V4_ENDS[..11].to_vec()),
        (1, 0x21, V4_ENDS.to_vec()),
        (1, 0x31, vec![0; 215]),
    ] {
        let header = v2(command, family, &body);
        assert!(
            matches!(read(&header, ProxyProtocol::V2), Err(Fault::Malformed(_))),
            "{command} {family}"
        );
    }
    let mut first = v4.clone();
    first[12] = 0x11;
    assert_eq!(
        read(&first, ProxyProtocol::V2),
        Err(Fault::Malformed("its version is not 2"))
    );
    let long = v2(1, 0x11, &vec![0; LONGEST_V2]);
    assert_eq!(
        read(&long[..16], ProxyProtocol::V2),
        Err(Fault::Malformed("it is longer than 16 KiB"))
    );
}

#[test]
fn fields_name_the_vpc_endpoint_and_tls() {
    let said = |fields: &[Vec<u8>]| match read(&with_fields(fields), ProxyProtocol::V2) {
        Ok(Read::Header(Header::Passed(passed), _)) => Ok((passed.vpce, passed.secure)),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault),
    };
    let vpce = field(TYPE_AWS, b"\x01vpce-08d2bf15fac5001c9");
    let named = Some("vpce-08d2bf15fac5001c9".to_owned());
    assert_eq!(
        said(std::slice::from_ref(&vpce)),
        Ok((named.clone(), false))
    );
    let padding = field(0x04, &[0; 7]);
    let alpn = field(0x01, b"h2");
    let tls = field(TYPE_SSL, &[0x01, 0, 0, 0, 0]);
    assert_eq!(said(&[padding, alpn, vpce.clone(), tls]), Ok((named, true)));
    assert_eq!(
        said(&[field(TYPE_SSL, &[0x06, 0, 0, 0, 0])]),
        Ok((None, false))
    );
    assert_eq!(said(&[field(TYPE_AWS, b"\x02other")]), Ok((None, false)));
    assert_eq!(said(&[field(TYPE_AWS, b"")]), Ok((None, false)));
    for wrong in [
        vec![vpce.clone(), vpce.clone()],
        vec![field(TYPE_AWS, b"\x01")],
        vec![field(TYPE_AWS, b"\x01vpce 1")],
        vec![field(TYPE_AWS, &[b"\x01".as_slice(), &[b'a'; 65]].concat())],
        vec![field(TYPE_SSL, b"")],
        vec![vec![0x01, 0x00]],
        vec![vec![0x01, 0x00, 0x02, 0x00]],
    ] {
        assert!(
            matches!(said(&wrong), Err(Fault::Malformed(_))),
            "{wrong:?}"
        );
    }
}

#[test]
fn a_checksum_is_checked_where_there_is_one() {
    // RFC 3720, B.4
    assert_eq!(crc32c_without(&[0; 32], 0), 0x8a91_36aa);
    let ascending: Vec<u8> = (0..32).collect();
    assert_eq!(crc32c_without(&ascending, 32), 0x46dd_794e);

    let mut header = with_fields(&[
        field(0x04, b"ab"),
        field(TYPE_CRC32C, &[0; 4]),
        field(0x01, b"h2"),
    ]);
    let at = V2_PREFIX + V4_ENDS.len() + 5 + 3;
    let sum = crc32c_without(&header, at);
    header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(
        read(&header, ProxyProtocol::V2),
        passed(header.len(), "192.0.2.1:4711", "10.0.0.1:443")
    );
    let mut wrong = header.clone();
    wrong[16] ^= 1;
    assert_eq!(read(&wrong, ProxyProtocol::V2), Err(Fault::Checksum));
    let twice = with_fields(&[
        field(TYPE_CRC32C, &sum.to_be_bytes()),
        field(TYPE_CRC32C, &[0; 4]),
    ]);
    assert!(read(&twice, ProxyProtocol::V2).is_err());
    let short = with_fields(&[field(TYPE_CRC32C, &[0; 3])]);
    assert!(matches!(
        read(&short, ProxyProtocol::V2),
        Err(Fault::Malformed(_))
    ));
}

#[test]
fn what_does_not_begin_with_a_header_is_told_as_soon_as_it_differs() {
    for (bytes, mode, expected) in [
        ("POST ", ProxyProtocol::Auto, Ok(Read::Absent)),
        ("P", ProxyProtocol::Auto, Ok(Read::More)),
        ("PRI * HTTP/2.0\r\n", ProxyProtocol::Auto, Ok(Read::Absent)),
        ("PROPFIND", ProxyProtocol::Auto, Ok(Read::Absent)),
        ("\r\n", ProxyProtocol::Auto, Ok(Read::More)),
        ("\r\nGET", ProxyProtocol::Auto, Ok(Read::Absent)),
        ("\x16\x03\x01", ProxyProtocol::Auto, Ok(Read::Absent)),
        ("GET", ProxyProtocol::V1, Err(Fault::Absent)),
        ("GET", ProxyProtocol::V2, Err(Fault::Absent)),
        ("PROXY ", ProxyProtocol::V2, Err(Fault::Absent)),
        (
            "\r\n\r\n\0\r\nQUIT\n",
            ProxyProtocol::V1,
            Err(Fault::Absent),
        ),
        ("", ProxyProtocol::V2, Ok(Read::More)),
        ("PROXY ", ProxyProtocol::Off, Ok(Read::Absent)),
    ] {
        assert_eq!(read(bytes.as_bytes(), mode), expected, "{bytes:?} {mode:?}");
    }
}

/// Headers of every kind.
fn headers() -> impl Strategy<Value = Vec<u8>> {
    let line = (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| {
        format!("PROXY TCP4 {} 10.0.0.1 {port} 443\r\n", Ipv4Addr::from(ip)).into_bytes()
    });
    let fields = prop::collection::vec(
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)),
        0..4,
    );
    let second = (
        0..3u8,
        prop::sample::select(vec![0x00, 0x11, 0x21, 0x31]),
        fields,
    )
        .prop_map(|(command, family, fields)| {
            let ends = match family {
                0x11 => 12,
                0x21 => 36,
                0x31 => 216,
                _ => 0,
            };
            let fields = fields
                .into_iter()
                .map(|(kind, value)| field(kind, &value))
                .collect::<Vec<_>>()
                .concat();
            v2(command, family, &[vec![7; ends], fields].concat())
        });
    prop_oneof![line, second]
}

proptest! {
    #[test]
    fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), after in 0..3usize) {
        for mode in [ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::Auto] {
            let start = [&b""[..], V1, V2][after];
            let whole = [start, &bytes].concat();
            if let Ok(Read::Header(_, consumed)) = read(&whole, mode) {
                prop_assert!(consumed <= whole.len());
            }
        }
    }

    /// However the bytes come in, a header is complete at its own length, and never before.
    #[test]
    fn a_part_of_a_header_is_never_taken_for_the_whole(header in headers()) {
        let whole = read(&header, ProxyProtocol::Auto);
        for end in 0..header.len() {
            match read(&header[..end], ProxyProtocol::Auto) {
                Ok(Read::More) => {}
                Err(fault) => prop_assert_eq!(Err(fault), whole.clone()),
                other => prop_assert!(false, "{:?} of {} bytes", other, end),
            }
        }
        let with_more = [header.as_slice(), b"GET"].concat();
        prop_assert_eq!(read(&with_more, ProxyProtocol::Auto), whole);
    }
}
