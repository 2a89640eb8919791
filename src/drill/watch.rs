//! What the gateway says of itself on its admin listener.

use std::net::SocketAddr;

use serde_json::Value;

use super::http::get;
use crate::store::spool_queue;

/// How many records wait in spools.
pub async fn spooled(admin: SocketAddr) -> Result<u64, String> {
    let (_, body) = get(admin, "/v1/queues").await?;
    let document: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let queues = document
        .get("queues")
        .and_then(Value::as_array)
        .ok_or_else(|| format!("no queues: {document}"))?;
    let spool = spool_queue("");
    let depth = |queue: &Value| {
        let name = queue.get("name").and_then(Value::as_str)?;
        let of = |state| queue.get(state).and_then(Value::as_u64).unwrap_or(0);
        name.starts_with(&spool)
            .then(|| of("visible") + of("inFlight") + of("delayed"))
    };
    Ok(queues.iter().filter_map(depth).sum())
}

/// What it counts as possible duplicates; `None` where it has no such metric.
pub async fn possible_duplicates(admin: SocketAddr) -> Result<Option<u64>, String> {
    let (_, body) = get(admin, "/metrics").await?;
    Ok(sum_of(
        &String::from_utf8_lossy(&body),
        "penstock_possible_duplicates_total",
    ))
}

/// The sum over a counter's series.
fn sum_of(metrics: &str, name: &str) -> Option<u64> {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| {
            let value = rest.rsplit(' ').next().unwrap_or_default();
            value.parse::<f64>().map_or(0, |value| value as u64)
        })
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_series_and_absent_where_it_is() {
        let text = "# TYPE a counter\na_total{x=\"1 2\"} 3\na_total{x=\"2\"} 4\na_total_other 9\n";
        assert_eq!(sum_of(text, "a_total"), Some(7));
        assert_eq!(sum_of(text, "b_total"), None);
    }
}
