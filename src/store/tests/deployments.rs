//! The history of deployments outlives the process, and is written whole.

use super::*;

fn row(n: i64, told: &str, texts: Option<&str>) -> DeploymentRow {
    DeploymentRow {
        n,
        told: told.to_owned(),
        texts: texts.map(str::to_owned),
    }
}

#[tokio::test]
async fn deployments_are_there_after_a_restart_and_changed_by_their_place() {
    let mut t = Fixture::with_queue("q").await;
    assert_eq!(t.store.deployments().await.unwrap(), Deployments::default());
    let rows = vec![row(1, "{}", Some("[1]")), row(2, "{}", Some("[2]"))];
    let saved = t.store.save_deployments(rows, vec![], "a".to_owned());
    saved.await.unwrap();
    let changed = vec![row(2, "{\"x\":1}", None), row(3, "{}", None)];
    let saved = t.store.save_deployments(changed, vec![1], "b".to_owned());
    saved.await.unwrap();
    t.reopen().await;
    let kept = t.store.deployments().await.unwrap();
    let expected = [row(2, "{\"x\":1}", Some("[2]")), row(3, "{}", None)];
    assert_eq!(kept.rows, expected);
    assert_eq!(kept.state.as_deref(), Some("b"));
}
