//! What came of a drill: the ledger, which faults were felt, and what else there is to say.

use std::collections::BTreeMap;

use super::super::Sabotage;
use super::super::client::{Sent, Told};
use super::super::ledger::{Ledger, balance};
use super::super::report::{Felt, Report};
use super::super::schedule::Fault;
use super::super::seen::Seen;
use super::Conductor;

impl Conductor<'_> {
    /// Draws up the ledger and judges it, and the drill itself.
    pub(super) fn report(mut self, sent: &[Sent], mut seen: Seen) -> Report {
        let settings = &self.drill.settings;
        if settings.sabotage == Some(Sabotage::DropOne) {
            let acknowledged = |one: &&Sent| matches!(one.told, Told::Acknowledged { .. });
            if let Some(id) = sent.iter().find(acknowledged).map(|one| one.id) {
                seen.forget(id);
            }
        }
        let ledger = balance(settings.seed, &self.drill.routes, sent, &seen);
        let counts = self.target.counts();
        let mut faults = Vec::new();
        for fault in self.drill.faults.iter().copied() {
            let of = |counted: &BTreeMap<Fault, u64>| counted.get(&fault).copied().unwrap_or(0);
            let (planned, felt) = (of(&self.planned), of(&self.felt));
            faults.push(Felt::new(fault, planned, felt));
            if felt == 0 && fault == Fault::Partial && counts.batches == 0 {
                self.notes
                    .push("partial: the gateway sent no batch that could fail in part".to_owned());
            } else if felt == 0 {
                self.failures
                    .push(format!("{fault} was promised, and nobody felt it"));
            }
        }
        self.judge(&ledger, &seen, counts.unknown);
        let total = &ledger.total;
        let wrong = [
            total.lost,
            total.altered,
            total.order_violations,
            total.premature,
        ];
        let whole = wrong.iter().all(|count| *count == 0);
        Report {
            ok: whole && self.failures.is_empty(),
            seed: settings.seed,
            seconds: self.began.elapsed().as_secs_f64(),
            clients: settings.clients,
            faults,
            impossible: self.drill.impossible.clone(),
            disk: (self.drill.faults.contains(&Fault::DiskFull)).then(|| self.disk.method()),
            gateway_starts: self.gateway.starts(),
            target_calls: counts.calls,
            target_batches: counts.batches,
            possible_duplicates: self.possible_duplicates,
            ledger,
            failures: self.failures,
            notes: self.notes,
            kept: None,
        }
    }

    /// What the numbers say about the drill itself.
    fn judge(&mut self, ledger: &Ledger, seen: &Seen, unknown: u64) {
        if ledger.total.acknowledged.all() == 0 {
            let refusals: Vec<String> = ledger
                .refusals
                .iter()
                .map(|(code, count)| format!("{code} {count} times"))
                .collect();
            self.failures.push(format!(
                "nothing was acknowledged, so nothing was tried; refusals: {}; if the routes want credentials, give -H",
                refusals.join(", ")
            ));
        }
        for row in &ledger.routes {
            if row.acknowledged.all() == 0 && row.sent > 0 && ledger.total.acknowledged.all() > 0 {
                self.notes.push(format!(
                    "{}: all {} requests were refused",
                    row.route, row.sent
                ));
            }
        }
        if let Some(counted) = self.possible_duplicates
            && ledger.total.duplicates > counted
        {
            self.notes.push(format!(
                "{} duplicates are more than the gateway counted as possible; what it counted right before a kill is not known",
                ledger.total.duplicates
            ));
        }
        if seen.strangers > 0 {
            self.notes.push(format!(
                "{} records carry no id of this drill, so they could not be told apart: the mapping drops the body",
                seen.strangers
            ));
        }
        if unknown > 0 {
            self.notes.push(format!(
                "{unknown} calls were none that the fake target knows"
            ));
        }
    }
}
