use super::*;
use crate::model::peer::Peer;

fn keys() -> Arc<ApiKeys> {
    let key = |id, text: &str, enabled| NewKey {
        id,
        hash: KeyHash::of(text.as_bytes()),
        plan: None,
        enabled,
    };
    let keys = [key("acme", "good", true), key("former", "old", false)];
    Arc::new(ApiKeys::new(&keys, Vec::new()).unwrap())
}

fn call(uri: &str, headers: &[&str]) -> Call {
    let mut request = http::Request::builder().uri(uri);
    for value in headers {
        request = request.header("x-api-key", *value);
    }
    let any = "127.0.0.1:1".parse().unwrap();
    let peer = Peer::tcp(any, any, "public");
    Call::new(request.body(()).unwrap().into_parts().0, Arc::new(peer))
}

fn from(written: &[Written]) -> (Option<Spec>, Vec<String>) {
    let mut problems = Problems::default();
    let config = Config {
        from: Some(written.to_vec()),
    };
    let spec = config.compile(&ConfigPath::root(), &mut problems);
    (spec, problems.0.iter().map(ToString::to_string).collect())
}

fn word(word: &str) -> Written {
    Written::Word(word.to_owned())
}

fn found(kind: &ApiKeyAuthenticator, call: &Call) -> Result<String, Refused> {
    kind.find(call, None).map(|(entry, _)| entry.id.to_string())
}

#[test]
fn a_key_is_found_by_its_hash_and_refused_by_what_is_wrong_with_it() {
    let header = ApiKeyAuthenticator::new(Spec::default(), keys());
    assert_eq!(found(&header, &call("/", &["good"])), Ok("acme".into()));
    for (headers, refused) in [
        (&[][..], Refused::Missing),
        (&[""], Refused::Missing),
        (&["bad"], Refused::Unknown),
        (&["old"], Refused::Disabled("former".into())),
        (&["good", "good"], Refused::Unknown),
    ] {
        assert_eq!(found(&header, &call("/", headers)), Err(refused));
    }
    assert_eq!(
        found(&header, &call("/?apiKey=good", &[])),
        Err(Refused::Missing)
    );
}

#[test]
fn a_key_in_the_query_is_taken_where_configured_and_counted() {
    let (spec, said) = from(&[word("header:x-api-key"), word("query:apiKey")]);
    assert_eq!(said.len(), 1, "{said:?}");
    let both = ApiKeyAuthenticator::new(spec.unwrap(), keys());
    let asked = call("/?apiKey=good", &[]);
    assert_eq!(found(&both, &asked), Ok("acme".into()));
    let both_ways = call("/?apiKey=good", &["bad"]);
    assert_eq!(found(&both, &both_ways), Err(Refused::Unknown));
    let twice = call("/?apiKey=good&apiKey=good", &[]);
    assert_eq!(found(&both, &twice), Err(Refused::Unknown));
    assert_eq!(both.keys.from_query(), 2);
}

#[test]
fn a_key_that_an_authorizer_names_is_taken_where_configured_or_where_nobody_asks_for_another() {
    let (spec, said) = from(&[word("authorizer")]);
    assert!(said.is_empty(), "{said:?}");
    let named = ApiKeyAuthenticator::new(spec.unwrap(), keys());
    let asked = call("/", &["good"]);
    assert_eq!(found(&named, &asked), Err(Refused::Missing));
    let good = Secret::new("good".to_owned());
    let entry = named.find(&asked, Some(&good)).unwrap().0;
    assert_eq!(&*entry.id, "acme");
    let mut caller = Caller {
        usage_identifier: Some(good),
        ..Caller::default()
    };
    assert_eq!(caller.identify(&ApiKeys::default()), Ok(()));
    assert_eq!(caller.key_use(), None, "nobody has keys here");
    caller.identify(&keys()).unwrap();
    assert_eq!(caller.api_key_id(), Some("acme"));
    let used = caller.key_use().copied().unwrap();
    assert_eq!(used.source, Source::Authorizer);
    let mut stranger = Caller {
        usage_identifier: Some(Secret::new("old".to_owned())),
        ..Caller::default()
    };
    assert!(stranger.identify(&keys()).is_err());
}

#[test]
fn a_place_that_will_go_says_so_in_two_headers() {
    let place = |deprecated, sunset: Option<&str>| {
        Written::Place(Place {
            query: Some("apiKey".into()),
            deprecated,
            sunset: sunset.map(str::to_owned),
            ..Place::default()
        })
    };
    let date = |text: &str| Some(Since::Date(text.to_owned()));
    let (spec, said) = from(&[place(date("2026-11-01"), Some("2027-01-01"))]);
    assert!(said.is_empty(), "{said:?}");
    let mut headers = http::HeaderMap::new();
    let notice = spec.unwrap().from[0].notice.clone().unwrap();
    notice.put(&mut headers);
    assert_eq!(headers["deprecation"], "@1793491200");
    assert_eq!(headers["sunset"], "Fri, 01 Jan 2027 00:00:00 GMT");
    let (spec, said) = from(&[place(Some(Since::Always), None)]);
    assert!(said.is_empty(), "{said:?}");
    let mut headers = http::HeaderMap::new();
    let notice = spec.unwrap().from[0].notice.clone().unwrap();
    notice.put(&mut headers);
    assert_eq!(headers["deprecation"], "@0");
    assert!(!headers.contains_key("sunset"));
    for (written, wrong) in [
        (place(date("soon"), None), "is not a date"),
        (place(None, Some("2027-02-30")), "is not a date"),
        (
            place(date("2027-02-01"), Some("2027-01-01")),
            "would go before",
        ),
        (place(Some(Since::Never), None), "ends up in logs"),
        (Written::Place(Place::default()), "one of `header: NAME`"),
        (word("cookie:x"), "is not a place for a key"),
        (word("query:"), "is not a place for a key"),
    ] {
        let (_, said) = from(&[written]);
        assert!(said.iter().any(|said| said.contains(wrong)), "{said:?}");
    }
}
