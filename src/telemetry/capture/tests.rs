use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::*;
use crate::model::identity::Delivery;
use crate::model::peer::Peer;

fn request(uri: &str, headers: &[(&str, &[u8])], body: Option<&[u8]>) -> Taken {
    let mut request = http::Request::builder().method("POST").uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let any: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let head = request.body(()).unwrap().into_parts().0;
    Taken {
        call: Arc::new(Call::new(head, Arc::new(Peer::tcp(any, any, "public")))),
        body: body.map(Bytes::copy_from_slice),
        identity: Identity::default(),
        api: "shop".into(),
        stage: "$default".into(),
        deployment: None,
        route: None,
        status: Some(202),
        code: None,
    }
}

fn selection() -> Selection {
    Selection {
        routes: Vec::new(),
        sample: Share::ALL,
        max_body: 64,
    }
}

fn shown(taken: &Taken, strikes: &Strikes) -> Value {
    serde_json::from_slice(&line::line(taken, strikes, 64)).unwrap()
}

#[test]
fn credentials_are_struck_and_everything_else_is_as_it_came() {
    let mut strikes = Strikes::default();
    strikes.add(["header:x-partner".parse().unwrap()]);
    let headers: [(&str, &[u8]); 5] = [
        ("authorization", b"Bearer geheim"),
        ("x-partner", b"geheim"),
        ("cookie", b"sid=geheim"),
        ("x-name", b"J\xfcrgen"),
        ("x-tenant", b"a"),
    ];
    let mut taken = request("/o?a=1&apiKey=geheim", &headers, Some(b"\xff\x00"));
    let values = [("token", "geheim"), ("plan", "gold")];
    let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
    taken.identity.values = Some(Arc::new(values.into_iter().collect()));
    let text = String::from_utf8(line::line(&taken, &strikes, 64)).unwrap();
    assert!(!text.contains("geheim"), "{text}");
    let line = shown(&taken, &strikes);
    assert_eq!(line["path"], "/o?a=1&apiKey=struck-out");
    assert_eq!(line["body"], "/wA=");
    assert_eq!(line["headers"][3][1]["base64"], "SvxyZ2Vu");
    assert_eq!(line["headers"][4], serde_json::json!(["x-tenant", "a"]));
    assert_eq!(line["identity"]["values"]["plan"], "gold");
    let struck: Vec<&str> = line["struck"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        struck,
        [
            "query:apiKey",
            "header:authorization",
            "header:x-partner",
            "header:cookie",
            "value:token"
        ]
    );
}

#[test]
fn a_body_is_left_out_where_nobody_was_let_in_where_it_is_long_and_where_it_is_struck() {
    let none = Strikes::default();
    assert_eq!(
        shown(&request("/", &[], None), &none)["omitted"],
        "not_accepted"
    );
    let long = shown(&request("/", &[], Some(&[b'x'; 65])), &none);
    assert_eq!(
        (&long["omitted"], &long["bytes"]),
        (&"too_long".into(), &65.into())
    );
    let mut all = Strikes::default();
    all.add([Carried::Body]);
    assert_eq!(
        shown(&request("/", &[], Some(b"x")), &all)["omitted"],
        "struck"
    );
    let plain = shown(&request("/", &[], Some(b"x")), &none);
    assert_eq!((&plain["text"], plain.get("omitted")), (&"x".into(), None));
}

#[test]
fn a_credential_in_a_body_is_struck_for_the_sender_who_puts_it_there() {
    let mut strikes = Strikes::default();
    strikes.add([Carried::Member {
        source: "mailgun".to_owned(),
        path: vec!["signature".to_owned()],
    }]);
    let body = br#"{ "signature": "geheim", "n": 1 }"#;
    let mut taken = request("/", &[], Some(body));
    assert_eq!(
        shown(&taken, &strikes)["text"],
        std::str::from_utf8(body).unwrap()
    );
    taken.identity.delivery = Some(Arc::new(Delivery {
        source: "mailgun".into(),
        preset: None,
        id: None,
        kind: None,
        key: 0,
        dedup_id: None,
        received_at: String::new(),
        attestation: Some("geheim".to_owned()),
    }));
    let line = shown(&taken, &strikes);
    assert_eq!(line["text"], r#"{ "signature": "struck-out", "n": 1 }"#);
    assert_eq!(line["identity"]["delivery"]["attestation"], STRUCK);
}

#[test]
fn the_user_in_a_target_is_not_recorded_and_its_authority_is_the_host() {
    let headers: [(&str, &[u8]); 1] = [("host", b"b.example")];
    let taken = request("http://ann:geheim@a.example/x", &headers, Some(b""));
    let line = shown(&taken, &Strikes::default());
    assert_eq!(line["headers"][0][1], "a.example");
    assert_eq!(line["path"], "/x");
}

#[test]
fn nobody_records_until_somebody_does_and_what_does_not_fit_is_counted() {
    let captures = Captures::new(Meters::default());
    assert!(!captures.is_on());
    let mut recording = captures.record(selection());
    assert!(captures.is_on());
    for _ in 0..WAITING + 3 {
        captures.give(None, || request("/", &[], None));
    }
    assert_eq!(recording.lost(), 3);
    assert!(recording.at_once().is_some());
    drop(recording);
    assert!(!captures.is_on());
}

#[test]
fn bodies_that_wait_are_bounded_by_their_bytes() {
    let captures = Captures::new(Meters::default());
    let mut recording = captures.record(selection());
    let body = vec![0; 1 << 20];
    for _ in 0..20 {
        captures.give(None, || request("/", &[], Some(&body)));
    }
    assert_eq!(recording.lost(), 5);
    while recording.at_once().is_some() {}
    captures.give(None, || request("/", &[], Some(&body)));
    assert_eq!(recording.lost(), 5, "there is room again");
}

fn standing(folder: &std::path::Path) -> Settings {
    Settings {
        path: folder.join("captures"),
        selection: selection(),
        file_size: 2_000,
        max_size: 5_000,
    }
}

#[test]
fn files_are_begun_anew_the_oldest_go_and_only_their_owner_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let meters = Meters::default();
    let captures = Arc::new(Captures::new(meters.clone()));
    let settings = standing(folder.path());
    assert!(captures.stand(Some(&settings)).unwrap().is_none());
    for sent in 1..=60 {
        captures.give(None, || request("/orders", &[], Some(b"x")));
        // One by one, so that they do not come in one gulp.
        while meters.recorded.get() < sent {
            std::thread::yield_now();
        }
    }
    drop(captures.stand(None).unwrap());
    assert!(!captures.is_on());
    let files: Vec<_> = std::fs::read_dir(&settings.path)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let bytes: u64 = files
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(
        files.len() >= 2 && bytes <= 5_000,
        "{} files, {bytes} bytes",
        files.len()
    );
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(file.path()).unwrap();
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&first["penstock"], &first["version"]),
            (&"capture".into(), &FORMAT.into())
        );
        assert!(text.ends_with('\n'));
    }
}

#[test]
fn a_folder_that_cannot_be_written_costs_recordings_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let settings = standing(folder.path());
    std::fs::write(&settings.path, "a file").unwrap();
    let meters = Meters::default();
    let captures = Arc::new(Captures::new(meters.clone()));
    drop(captures.stand(Some(&settings)).unwrap());
    for _ in 0..10 {
        captures.give(None, || request("/", &[], None));
    }
    drop(captures.stand(None).unwrap());
    let reason = "not_written";
    assert_eq!(meters.lost.get_or_create(&Lost { reason }).get(), 10);
}

#[test]
fn the_routes_that_are_named_are_recorded_and_chance_picks_the_rest() {
    let named = Selection {
        routes: vec!["POST /orders".to_owned()],
        ..selection()
    };
    assert!(!named.wants(None));
    let never = Selection {
        sample: Share::NONE,
        ..selection()
    };
    assert!((0..1_000).all(|_| !never.wants(None)));
    let half = Selection {
        sample: Share::percent(50),
        ..selection()
    };
    let picked = (0..10_000).filter(|_| half.wants(None)).count();
    assert!((4_500..5_500).contains(&picked), "{picked}");
}
