//! What a look comes to.

use serde::Serialize;

use super::Look;
use crate::aws::CallError;

/// What becomes of requests, as far as a look can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It is there, and fits.
    Ok,
    /// It could not be looked at; calls may work all the same.
    Unknown,
    /// Some requests will not do what they seem to.
    Warning,
    /// No request can work.
    Error,
}

impl Verdict {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Unknown => "unknown",
            Verdict::Warning => "warning",
            Verdict::Error => "error",
        }
    }
}

impl Look {
    pub(super) fn unknown(&mut self, why: impl Into<String>) {
        self.found(Verdict::Unknown, why.into());
    }

    pub(super) fn warning(&mut self, what: impl Into<String>) {
        self.found(Verdict::Warning, what.into());
    }

    pub(super) fn error(&mut self, what: impl Into<String>) {
        self.found(Verdict::Error, what.into());
    }

    fn found(&mut self, verdict: Verdict, what: String) {
        self.verdict = self.verdict.max(verdict);
        self.findings.push(what);
    }

    /// A look that did not come about. Who may not look may be allowed to send.
    pub(super) fn failed(&mut self, error: &CallError) {
        let refusal = match error {
            CallError::NotSent { reason } | CallError::Lost { reason } => {
                return self.error(format!("it cannot be reached: {reason}"));
            }
            CallError::Setup { code, reason } => return self.error(format!("{code}: {reason}")),
            CallError::Refused(refusal) => refusal,
        };
        let code = refusal.code.rsplit(['.', '#']).next().unwrap_or_default();
        match code {
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
                self.unknown(format!(
                    "{code}: looking is not permitted, which says nothing about sending; `penstock iam --with-live` prints a policy that allows both"
                ));
            }
            "QueueDoesNotExist"
            | "NonExistentQueue"
            | "ResourceNotFoundException"
            | "StateMachineDoesNotExist" => {
                self.error(format!("it does not exist ({code})"));
            }
            _ => self.error(format!("{code} ({}): {}", refusal.status, refusal.message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Refusal;

    fn refused(code: &str) -> Look {
        let mut look = Look {
            target: "x".into(),
            kind: "SQS queue",
            routes: Vec::new(),
            verdict: Verdict::Ok,
            facts: Vec::new(),
            findings: Vec::new(),
        };
        look.failed(&CallError::Refused(Box::new(Refusal {
            status: 400,
            code: code.into(),
            message: "m".into(),
            request_id: None,
            content_type: None,
            body: bytes::Bytes::new(),
        })));
        look
    }

    #[test]
    fn who_may_not_look_is_not_said_to_fail() {
        assert_eq!(refused("AccessDeniedException").verdict, Verdict::Unknown);
        let gone = refused("AWS.SimpleQueueService.NonExistentQueue");
        assert_eq!(gone.verdict, Verdict::Error);
        assert_eq!(gone.findings, ["it does not exist (NonExistentQueue)"]);
        assert_eq!(refused("Other").findings, ["Other (400): m"]);
    }

    #[test]
    fn the_worst_finding_is_the_verdict() {
        let mut look = refused("AccessDenied");
        look.warning("w");
        assert_eq!(look.verdict, Verdict::Warning);
        look.error("e");
        look.unknown("u");
        assert_eq!((look.verdict, look.findings.len()), (Verdict::Error, 4));
    }
}
