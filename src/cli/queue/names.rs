//! Short names: any part of a queue's name that only one queue has stands for it.

use super::failure::Failure;
use crate::admin::queues::{Kind, QueueView};
use crate::model::problem::nearest;

/// The queue that was meant.
///
/// An exact name wins; then a name that ends in the part, from a `/` or `:` on; then a name that holds the part. A part
/// that begins with `spool:` or `dead:` means only those. Where the part stands for one target, whose spool and dead
/// letters both have it, `of_target` says which is meant; without it, nothing is guessed.
pub fn resolve<'a>(
    written: &str,
    queues: &'a [QueueView],
    of_target: Option<Kind>,
) -> Result<&'a QueueView, Failure> {
    if let Some(exact) = queues.iter().find(|queue| queue.name == written) {
        return Ok(exact);
    }
    let (prefix, part) = ["spool:", "dead:"]
        .iter()
        .find_map(|prefix| written.strip_prefix(prefix).map(|part| (*prefix, part)))
        .unwrap_or(("", written));
    let of_kind = || {
        queues
            .iter()
            .filter(|queue| queue.name.starts_with(prefix))
            .filter(|_| !part.is_empty())
    };
    let ends = |queue: &&QueueView| {
        queue
            .name
            .strip_suffix(part)
            .is_some_and(|rest| rest.ends_with(['/', ':']))
    };
    let holds = |queue: &&QueueView| {
        let name = queue.name.strip_prefix(prefix).unwrap_or(&queue.name);
        name.to_lowercase().contains(&part.to_lowercase())
    };
    let mut candidates: Vec<&QueueView> = of_kind().filter(ends).collect();
    if candidates.is_empty() {
        candidates = of_kind().filter(holds).collect();
    }
    match candidates[..] {
        [one] => Ok(one),
        [one, other] if one.target().is_some() && one.target() == other.target() => {
            let meant = |queue: &&QueueView| Some(queue.kind) == of_target;
            match [one, other].into_iter().find(meant) {
                Some(meant) => Ok(meant),
                None => Err(ambiguous(written, &candidates)),
            }
        }
        [] => Err(unknown(written, queues)),
        _ => Err(ambiguous(written, &candidates)),
    }
}

fn ambiguous(written: &str, candidates: &[&QueueView]) -> Failure {
    let names: Vec<&str> = candidates.iter().map(|queue| &*queue.name).collect();
    Failure::new(format!(
        "{written:?} may be any of {}:\n  {}",
        names.len(),
        names.join("\n  ")
    ))
    .help(
        "write more of the name; spool:… and dead:… tell a target's records from its dead letters",
    )
}

fn unknown(written: &str, queues: &[QueueView]) -> Failure {
    let failure = Failure::new(format!("there is no queue {written:?}"));
    // A typing error in a short name is near to a short name.
    let spellings = queues.iter().flat_map(|queue| {
        let last = queue.name.rsplit(['/', ':']).next().unwrap_or_default();
        [queue.name.as_str(), last]
    });
    match nearest(written, spellings) {
        Some(near) => failure.help(format!("did you mean {near}?")),
        None if queues.is_empty() => failure.help("the store holds no queues"),
        None => failure.help("`penstock queue ls` lists them"),
    }
}

#[cfg(test)]
mod tests {
    use crate::admin::queues::LedgerView;

    use super::*;

    fn queues(names: &[&str]) -> Vec<QueueView> {
        let queue = |name: &&str| QueueView {
            name: (*name).to_owned(),
            kind: Kind::of(name),
            declared: true,
            visible: 0,
            in_flight: 0,
            delayed: 0,
            bytes: 0,
            oldest_age_seconds: None,
            dead_letters_of: Vec::new(),
            ledger: LedgerView::default(),
        };
        names.iter().map(queue).collect()
    }

    fn named(written: &str, names: &[&str]) -> Result<String, String> {
        meant(written, names, None)
    }

    fn meant(written: &str, names: &[&str], of_target: Option<Kind>) -> Result<String, String> {
        resolve(written, &queues(names), of_target)
            .map(|queue| queue.name.clone())
            .map_err(|failure| failure.to_string())
    }

    const NAMES: [&str; 6] = [
        "orders",
        "orders-dead",
        "spool:sqs:https://sqs.example/1/invoices",
        "dead:sqs:https://sqs.example/1/invoices",
        "spool:kinesis:clicks",
        "spool:sqs:https://sqs.example/1/orders",
    ];

    #[test]
    fn an_exact_name_wins_over_every_part() {
        assert_eq!(named("orders", &NAMES), Ok("orders".into()));
    }

    #[test]
    fn a_part_that_only_one_queue_has_stands_for_it() {
        assert_eq!(named("clicks", &NAMES), Ok("spool:kinesis:clicks".into()));
        assert_eq!(named("CLICK", &NAMES), Ok("spool:kinesis:clicks".into()));
        assert_eq!(
            named("dead:invoices", &NAMES),
            Ok("dead:sqs:https://sqs.example/1/invoices".into())
        );
        assert_eq!(
            named("spool:orders", &NAMES),
            Ok("spool:sqs:https://sqs.example/1/orders".into())
        );
        assert_eq!(named("-dead", &NAMES), Ok("orders-dead".into()));
    }

    #[test]
    fn a_last_segment_wins_over_a_part_of_one() {
        let names = [
            "spool:sqs:https://x/1/orders",
            "spool:sqs:https://x/1/orders-eu",
        ];
        assert_eq!(named("orders", &names), Ok(names[0].into()));
    }

    #[test]
    fn an_ambiguous_part_lists_what_it_may_be() {
        let said = named("invoices", &NAMES).unwrap_err();
        assert!(
            said.contains("\n  spool:sqs:https://sqs.example/1/invoices"),
            "{said}"
        );
        assert!(
            said.contains("\n  dead:sqs:https://sqs.example/1/invoices"),
            "{said}"
        );
        assert!(!said.contains("clicks"), "{said}");
    }

    #[test]
    fn one_target_is_its_spool_or_its_dead_letters_as_the_command_means_it() {
        let letters = "dead:sqs:https://sqs.example/1/invoices";
        let records = "spool:sqs:https://sqs.example/1/invoices";
        for (kind, name) in [(Kind::Spool, records), (Kind::DeadLetters, letters)] {
            assert_eq!(meant("invoices", &NAMES, Some(kind)), Ok(name.into()));
        }
        let other = "spool:kinesis:invoices";
        let several = [records, letters, other];
        let said = meant("invoices", &several, Some(Kind::Spool)).unwrap_err();
        assert!(several.iter().all(|name| said.contains(name)), "{said}");
        let two = [records, other];
        assert!(meant("invoices", &two, Some(Kind::Spool)).is_err());
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_spelling() {
        assert!(
            named("ordrs", &NAMES)
                .unwrap_err()
                .contains("did you mean orders?")
        );
        assert!(
            named("clikcs", &NAMES)
                .unwrap_err()
                .contains("did you mean clicks?")
        );
        assert!(named("zzzzzz", &NAMES).unwrap_err().contains("queue ls"));
        assert!(named("", &NAMES).is_err());
        assert!(named("spool:", &NAMES).is_err());
    }
}
