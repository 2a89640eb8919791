use super::*;
use crate::telemetry::metrics::Metrics;
use std::num::NonZeroU32;

fn stores() -> SharedStores {
    SharedStores::new(Metrics::new().throttling.shared())
}

fn address(url: &str) -> Address {
    Address::parse(&crate::model::secret::Secret::new(url.to_owned())).unwrap()
}

fn key(name: &str) -> SharedKey {
    SharedKey {
        name: name.to_owned(),
        spec: BucketSpec {
            rate: 1.0,
            burst: NonZeroU32::new(2).unwrap(),
        },
        dry_run: false,
    }
}

#[test]
fn a_server_is_shared_by_those_who_name_it_and_gone_with_the_last_of_them() {
    let stores = stores();
    let first = stores.at(&address("redis://127.0.0.1:1/0"));
    assert!(Arc::ptr_eq(
        &first,
        &stores.at(&address("redis://127.0.0.1:1/0"))
    ));
    assert!(!Arc::ptr_eq(
        &first,
        &stores.at(&address("redis://127.0.0.1:1/1"))
    ));
    let link = Arc::downgrade(&first.link);
    drop(first);
    assert!(link.upgrade().is_none());
}

#[tokio::test]
async fn a_redis_that_is_not_there_costs_nothing() {
    let stores = stores();
    stores.connect();
    let store = stores.at(&address("redis://127.0.0.1:1/0"));
    let asked = store.take(&[key("a")], Duration::from_secs(60)).await;
    assert_eq!(asked, Err(Gone::Disconnected));
    assert_eq!(stores.meters.skipped.get(), 1);
}

#[tokio::test]
async fn a_tls_address_can_be_connected_to_without_a_panic() {
    let address = address("rediss://127.0.0.1:1/0");
    assert!(redis::Client::open(address.info()).is_ok());
    let link = Link {
        address,
        connection: ArcSwapOption::empty(),
        failures: AtomicU32::new(0),
        lost: Notify::new(),
        meters: stores().meters,
    };
    let refused = connect::connected(&link).await.err();
    assert!(refused.unwrap().contains("refused"));
}

#[test]
fn answers_of_redis_are_levels_and_waits() {
    let level = read(&key("a"), &[1, 1, 0, 1_000_000]).unwrap();
    assert_eq!((level.remaining, level.reset), (1, Duration::from_secs(1)));
    let empty = read(&key("a"), &[0, 0, 2_500_000, 4_000_000]).unwrap_err();
    assert_eq!(empty.wait, Some(Duration::from_millis(2_500)));
}

#[test]
fn callers_are_hashed_alike_in_every_instance_and_never_named() {
    let name = SharedKey::name("shop:prod:POST /a:route", Some(b"hunter2"));
    assert_eq!(
        name,
        "penstock:throttle:shop:prod:POST /a:route:f52fbd32b2b3b86ff88ef6c490628285"
    );
    assert_eq!(SharedKey::name("x", None), "penstock:throttle:x");
}
