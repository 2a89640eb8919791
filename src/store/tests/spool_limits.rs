//! What spools do not grow beyond, and how dead letters come back to them.

use super::spool::{TARGET, new, record, refused};
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

#[tokio::test]
async fn what_a_target_refused_goes_back_to_its_spool_in_the_order_of_its_key() {
    let t = Fixture::without_queues().await;
    let mut numbers = Vec::new();
    for (key, call) in [(Some("k"), "k1"), (Some("k"), "k2"), (None, "free")] {
        numbers.push(t.spool(key, call).await);
    }
    for number in &numbers {
        t.take(10).await;
        t.settle(*number, refused()).await;
    }
    let k3 = t.spool(Some("k"), "k3").await;
    let source = dead_letter_queue(TARGET);
    assert_eq!(t.stats(&source).visible, 3);
    let elsewhere = NewMove {
        destination: Some("elsewhere".into()),
        ..redrive::from(&source)
    };
    let answer = t.store.start_move(elsewhere).await;
    assert!(matches!(answer, Err(MoveError::Invalid(_))), "{answer:?}");
    let spool_itself = redrive::from(&spool_queue(TARGET));
    let answer = t.store.start_move(spool_itself).await;
    assert!(matches!(answer, Err(MoveError::Store(_))), "{answer:?}");
    let task = t.completed(redrive::from(&source)).await;
    assert_eq!(task.moved, 3);
    assert_eq!(t.stats(&source).depth(), 0);
    let ledger = t.spool_stats().ledger;
    assert_eq!((ledger.dead_lettered, ledger.imported), (3, 3));
    let file = rusqlite::Connection::open(t.directory.path().join("store.db")).unwrap();
    let deaths: i64 = file
        .query_row("SELECT count(*) FROM death", [], |row| row.get(0))
        .unwrap();
    assert_eq!(deaths, 0);
    // One of each key at a time; what comes back comes last.
    let mut order = Vec::new();
    while let taken = t.take(10).await
        && !taken.is_empty()
    {
        for parcel in taken {
            let call = String::from_utf8(parcel.call.to_vec()).unwrap();
            assert_eq!(parcel.attempts, 1, "{call}");
            assert_eq!(parcel.context, format!("{{\"of\":\"{call}\"}}"));
            assert_eq!(parcel.key.is_none(), call == "free");
            order.push(call);
            t.settle(parcel.number, Settlement::Forwarded).await;
        }
    }
    order.retain(|call| call != "free");
    assert_eq!(order, ["k3", "k1", "k2"]);
    assert_eq!(t.store.spool_depth(TARGET), SpoolDepth::default());
    assert!(k3 > numbers[2]);
}
