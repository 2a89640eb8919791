//! What happens when: the faults of a drill in time, as a pure function of the seed, the length and the list of faults.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use super::random::Random;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The target refuses connections, or resets them.
    Down,
    /// The target answers late, some of it later than any budget.
    Slow,
    /// The target refuses half of the calls because there are too many.
    Throttle,
    /// The target refuses some entries of a batch, and takes the others.
    Partial,
    /// The target takes the record, and its answer is lost or is a 500.
    LostAnswers,
    /// kill -9 of the gateway while requests are in flight, and a new start on the same store.
    Kill,
    /// The disk of the store is full.
    DiskFull,
    /// The target takes calls and answers none of them; when it wakes up, it carries out half of them.
    Freeze,
    /// SIGTERM while requests are in flight, the drain, and a new start on the same store.
    Reload,
}

impl Fault {
    pub const ALL: [Fault; 9] = [
        Fault::Down,
        Fault::Slow,
        Fault::Throttle,
        Fault::Partial,
        Fault::LostAnswers,
        Fault::Kill,
        Fault::DiskFull,
        Fault::Freeze,
        Fault::Reload,
    ];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Down => "down",
            Fault::Slow => "slow",
            Fault::Throttle => "throttle",
            Fault::Partial => "partial",
            Fault::LostAnswers => "lost-answers",
            Fault::Kill => "kill",
            Fault::DiskFull => "disk-full",
            Fault::Freeze => "freeze",
            Fault::Reload => "reload",
        }
    }

    /// Whether the fault is the target's, so that a route to AWS has to exist.
    pub fn is_of_the_target(self) -> bool {
        !matches!(self, Fault::Kill | Fault::DiskFull | Fault::Reload)
    }

    /// Whether the fault lasts; the others are moments.
    fn lasts(self) -> bool {
        !matches!(self, Fault::Kill | Fault::Reload)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let found = Fault::ALL.into_iter().find(|fault| fault.name() == text);
        found.ok_or_else(|| {
            let names = Fault::ALL.map(Fault::name).join(", ");
            format!("{text:?} is no fault; there are {names}")
        })
    }
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Milliseconds after the first request.
    pub at: u64,
    pub fault: Fault,
    /// Milliseconds; 0 for what is a moment.
    pub lasts: u64,
    /// `down`: connections are accepted and reset, instead of refused.
    pub reset: bool,
    /// Milliseconds into the fault: the gateway is killed too.
    pub kill_after: Option<u64>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7.3} s  {:<12}", self.at as f64 / 1000.0, self.fault)?;
        if self.lasts > 0 {
            write!(f, "  for {:.3} s", self.lasts as f64 / 1000.0)?;
        }
        if self.reset {
            f.write_str(", connections are reset")?;
        }
        if let Some(after) = self.kill_after {
            write!(f, ", with a kill after {:.3} s", after as f64 / 1000.0)?;
        }
        Ok(())
    }
}

/// Nothing happens before this, nor as long before the end: what works is seen to work.
const CALM: u64 = 1000;
/// A fault and the pause after it take at least this long, and about this long where there is time.
const SHORTEST_SLOT: u64 = 800;
const USUAL_SLOT: u64 = 1800;

/// When what happens. Each fault happens at least once.
///
/// # Errors
/// The drill is too short for all of them.
pub fn schedule(seed: u64, length: Duration, faults: &[Fault]) -> Result<Vec<Step>, String> {
    if faults.is_empty() {
        return Ok(Vec::new());
    }
    let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let usable = length.saturating_sub(2 * CALM);
    let kinds = faults.len() as u64;
    if usable < kinds * SHORTEST_SLOT {
        let needed = (kinds * SHORTEST_SLOT + 2 * CALM).div_ceil(1000);
        return Err(format!(
            "{} faults need at least {needed} seconds; give more --seconds or fewer --faults",
            faults.len()
        ));
    }
    let rounds = (usable / (kinds * USUAL_SLOT)).max(1);
    let slot = usable / (rounds * kinds);
    let mut random = Random::of(seed, &[0]);
    let mut steps = Vec::new();
    for round in 0..rounds {
        let mut order = faults.to_vec();
        random.shuffle(&mut order);
        for (place, fault) in (0u64..).zip(order) {
            let at = CALM + (round * kinds + place) * slot + random.between(0, slot / 5);
            let lasts = random.between(slot * 2 / 5, slot * 7 / 10);
            let (reset, kills) = (random.percent(40), random.percent(35));
            let kill_after = random.between(lasts / 4, lasts * 3 / 4);
            steps.push(Step {
                at,
                fault,
                lasts: if fault.lasts() { lasts } else { 0 },
                reset: reset && fault == Fault::Down,
                kill_after: (kills && fault.is_of_the_target() && faults.contains(&Fault::Kill))
                    .then_some(kill_after),
            });
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seed: u64, seconds: u64, faults: &[Fault]) -> Vec<Step> {
        schedule(seed, Duration::from_secs(seconds), faults).unwrap()
    }

    #[test]
    fn the_schedule_is_a_function_of_the_seed() {
        assert_eq!(of(1, 20, &Fault::ALL), of(1, 20, &Fault::ALL));
        assert_ne!(of(1, 20, &Fault::ALL), of(2, 20, &Fault::ALL));
    }

    #[test]
    fn every_fault_happens_within_the_time_and_none_overlaps_the_next() {
        for seed in 0..200 {
            for seconds in [10, 20, 61] {
                let steps = of(seed, seconds, &Fault::ALL);
                for fault in Fault::ALL {
                    assert!(
                        steps.iter().any(|step| step.fault == fault),
                        "{seed} {fault}"
                    );
                }
                let ends = steps.iter().map(|step| step.at + step.lasts);
                let begins = steps.iter().skip(1).map(|step| step.at);
                assert!(
                    ends.zip(begins.chain([seconds * 1000 - CALM]))
                        .all(|(end, next)| end <= next)
                );
                assert!(
                    steps
                        .iter()
                        .all(|step| step.kill_after.is_none_or(|after| after < step.lasts))
                );
            }
        }
    }

    #[test]
    fn a_drill_that_is_too_short_says_how_long_it_would_have_to_be() {
        let refusal = schedule(1, Duration::from_secs(5), &Fault::ALL).unwrap_err();
        assert!(refusal.contains("at least 10 seconds"), "{refusal}");
        assert_eq!(schedule(1, Duration::ZERO, &[]), Ok(Vec::new()));
        assert!(of(1, 5, &[Fault::Kill]).len() == 1);
    }

    #[test]
    fn nothing_kills_that_was_not_asked_to() {
        for seed in 0..50 {
            let steps = of(seed, 20, &[Fault::Down, Fault::Slow]);
            assert!(steps.iter().all(|step| step.kill_after.is_none()));
        }
    }

    #[test]
    fn a_fault_is_read_as_it_is_printed() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        assert!(
            "outage"
                .parse::<Fault>()
                .unwrap_err()
                .contains("lost-answers")
        );
    }
}
