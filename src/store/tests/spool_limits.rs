//! What spools do not grow beyond.

use super::spool::{new, record};
use super::*;
use crate::store::spool::MAX_SPOOLS;

#[tokio::test]
async fn targets_without_number_get_no_spools_without_number() {
    let t = Fixture::without_queues().await;
    let records = (0..MAX_SPOOLS).map(|number| NewRecord {
        target: format!("target-{number}"),
        ..record(None, "1")
    });
    t.store.spool(records.collect(), None).await.unwrap();
    let one_more = t.store.spool(vec![record(None, "2")], None).await;
    assert_eq!(
        one_more,
        Err(StoreError::TooManySpools { most: MAX_SPOOLS })
    );
    let known = NewRecord {
        target: "target-7".to_owned(),
        ..record(None, "2")
    };
    new(t.store.spool(vec![known], None).await.unwrap());
}
