//! What an integration reaches outside of the gateway, as far as the configuration names it: for policies
//! (`penstock iam`), and for whoever wants to know whether it is there (`penstock plan --live`).

use super::parameter::Param;

/// A thing of AWS that calls are made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    pub kind: ReachedKind,
    /// As the configuration names it (a queue's URL, a name, an ARN); `None` where each request does.
    pub name: Option<String>,
    /// Where the configuration says so; else `aws.region`, or the process's surroundings.
    pub region: Option<String>,
    /// The parameter that names it: `QueueUrl`.
    pub parameter: &'static str,
    /// What a policy has to allow.
    pub actions: &'static [&'static str],
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReachedKind {
    Queue,
    Stream,
    Bus,
    /// Of Step Functions; of type EXPRESS where it is waited for.
    Machine {
        express: bool,
    },
    Execution,
    /// `application/environment/profile`
    Configuration,
    Table,
}

impl Reached {
    /// One whose name and region are parameters.
    pub(super) fn by(
        kind: ReachedKind,
        parameter: &'static str,
        name: &Param<String>,
        region: &Option<Param<String>>,
        actions: &'static [&'static str],
    ) -> Reached {
        Reached {
            kind,
            name: name.constant().cloned(),
            region: region.as_ref().and_then(Param::constant).cloned(),
            parameter,
            actions,
        }
    }
}
