use super::*;
use crate::config::Config;
use crate::config::load::{SourceFile, load_texts};
use crate::limit::shared::SharedStores;
use crate::limit::{CallerTable, Clock};
use crate::mapping::{Source, Sources};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::plan::compile::Origin;
use crate::plan::{Blueprint, compile};
use crate::telemetry::metrics::{Metrics, Name};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::IpAddr;

fn read(text: &str) -> (Option<Blueprint>, Problems) {
    let file = SourceFile {
        path: "shop.yaml".into(),
        text: text.to_owned(),
    };
    let loaded = load_texts::<Config>(vec![file], &BTreeMap::new());
    assert!(loaded.problems.0.is_empty(), "{:?}", loaded.problems);
    let origin = Origin {
        id: crate::deploy::DeploymentId::of([]),
        api: "shop",
        directory: &|_: &ConfigPath| ".".into(),
        place: &|_: &ConfigPath| None,
    };
    let mut problems = Problems::default();
    let blueprint = compile(&loaded.value.unwrap(), &origin, &mut problems);
    (blueprint, problems)
}

fn throttles(general: &str, route: &str) -> Vec<String> {
    let (blueprint, problems) = read(&format!(
        "throttle: {general}\nroutes: {{ 'GET /{{id}}': {{ {route} integration: {{ Mock: {{}} }} }} }}\n"
    ));
    assert!(!problems.has_errors(), "{problems:?}");
    let route = &blueprint.unwrap().apis[0].routes[0];
    let one = |one: &ThrottleSpec| format!("{}={}", one.name, one.describe());
    route.throttles.iter().map(one).collect()
}

#[test]
fn a_route_s_own_bucket_replaces_the_general_one_and_keyed_ones_are_added() {
    let general = "[{ rate: 1 }, { rate: 2, per: $context.identity.sourceIp }]";
    assert_eq!(
        throttles(general, ""),
        [
            "route=1/s, burst 1",
            "sourceIp=2/s, burst 2, per source address (IPv6: /64)"
        ]
    );
    assert_eq!(
        throttles(general, "throttle: { rate: 5, burst: 9 },"),
        [
            "sourceIp=2/s, burst 2, per source address (IPv6: /64)",
            "route=5/s, burst 9"
        ]
    );
    assert_eq!(
        throttles(general, "throttle: { rate: 5, per: $request.path.id },"),
        [
            "route=1/s, burst 1",
            "sourceIp=2/s, burst 2, per source address (IPv6: /64)",
            "id=5/s, burst 5, per $request.path.id"
        ]
    );
    let same = "throttle: { rate: 5, per: $context.identity.sourceIp, ipv6_prefix: 48 },";
    assert_eq!(
        throttles(general, same),
        [
            "route=1/s, burst 1",
            "sourceIp=5/s, burst 5, per source address (IPv6: /48)"
        ]
    );
    assert_eq!(throttles(general, "throttle: none,"), [""; 0]);
}

#[test]
fn a_network_is_what_its_prefix_says_and_an_ipv4_address_is_itself() {
    let at = |address: &str, prefix| Who::at(address.parse().unwrap(), prefix);
    assert_eq!(at("2001:db8::1", 64), at("2001:db8::ffff", 64));
    assert_ne!(at("2001:db8::1", 64), at("2001:db8:0:1::1", 64));
    assert_eq!(at("2001:db8::1", 48), at("2001:db8:0:1::1", 48));
    assert_ne!(at("2001:db8::1", 128), at("2001:db8::2", 128));
    assert_ne!(at("10.0.0.1", 1), at("10.0.0.2", 1));
    assert_eq!(at("::ffff:10.0.0.1", 64), at("10.0.0.1", 64));
    assert_ne!(at("10.0.0.1", 64).bytes(), at("a00:1::", 64).bytes());
}

/// Everybody says the same.
struct Says(&'static str);

impl Sources for Says {
    fn get(&self, _: &Source) -> Result<Option<Bytes>, String> {
        Ok(Some(Bytes::from_static(self.0.as_bytes())).filter(|text| !text.is_empty()))
    }
}

fn built(route: &str, proven: When) -> Throttles {
    let (blueprint, problems) = read(&format!(
        "routes: {{ GET /: {{ {route}, integration: {{ Mock: {{}} }} }} }}\n"
    ));
    assert!(!problems.has_errors(), "{problems:?}");
    let blueprint = blueprint.unwrap();
    let metrics = Metrics::new();
    let clock = Clock::standing();
    let shared = Shared {
        callers: &Arc::new(CallerTable::new(1_024, clock.clone())),
        stores: &SharedStores::new(metrics.throttling.shared()),
        counters: &metrics.throttling,
        clock: &clock,
    };
    let route = &blueprint.apis[0].routes[0];
    let limits = (&route.throttles[..], &route.concurrency[..]);
    let failures = blueprint.auth_failures.as_ref();
    let of = Of {
        scope: "shop:$default",
        key: "GET /",
        label: &Name("GET /".into()),
    };
    *Throttles::build(limits, failures, proven, of, &shared).unwrap()
}

#[test]
fn tokens_of_a_route_that_asks_who_calls_are_taken_after_the_proof() {
    let names = |buckets: &[Arc<Throttle>]| {
        let names: Vec<&str> = buckets.iter().map(|one| &*one.name).collect();
        names.join(" ")
    };
    let buckets = "throttle: [{ rate: 1 }, { rate: 1, per: $context.identity.sourceIp }, \
                   { rate: 1, per: $request.header.x-tenant }, { rate: 1, per: $context.authorizer.claims.sub }, \
                   { rate: 1, per: $request.body.shop }], concurrency: 5";
    let open = built(buckets, When::Early);
    assert_eq!(names(&open.early.take), "route sourceIp x-tenant");
    assert_eq!(names(&open.authenticated.take), "sub");
    assert_eq!(names(&open.verified.take), "shop");
    assert!(open.early.look.is_empty() && open.failures.is_none());
    assert_eq!(open.early.places.len(), 1);

    let asked = built(buckets, When::Authenticated);
    assert_eq!(names(&asked.early.take), "sourceIp");
    assert_eq!(names(&asked.early.look), "route x-tenant");
    assert_eq!(names(&asked.authenticated.take), "route x-tenant sub");
    assert_eq!(names(&asked.verified.take), "shop");
    assert!(asked.failures.is_some());
    assert_eq!(asked.authenticated.places.len(), 1);

    let by_body = built(buckets, When::Verified);
    assert_eq!(names(&by_body.early.look), "route x-tenant");
    assert_eq!(names(&by_body.authenticated.look), "sub");
    assert_eq!(names(&by_body.verified.take), "route x-tenant sub shop");
}

#[test]
fn requests_without_a_value_share_one_bucket() {
    let route = built(
        "throttle: { rate: 1, burst: 1, per: $request.header.x }",
        When::Early,
    );
    let throttle = &route.early.take[0];
    let anywhere: IpAddr = [127, 0, 0, 1].into();
    let take = |says| throttle.take(&throttle.who(anywhere, &Says(says))).is_ok();
    assert!(take("ann") && !take("ann"));
    assert!(take("bob"));
    assert!(take("") && !take(""));
}

#[test]
fn what_is_only_counted_is_described_so() {
    let route = built(
        "throttle: { rate: 1, dry_run: true }, concurrency: { limit: 3, per: $request.header.x, dry_run: true }",
        When::Authenticated,
    );
    assert_eq!(
        route.describe(),
        [
            "route: 1/s, burst 1, only counted, taken once authenticated",
            "concurrency-x: 3 at once, per $request.header.x, only counted",
            "auth_failures: 10/s, burst 100, wrong credentials per source address"
        ]
    );
}
