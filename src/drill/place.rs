//! Where records go: a queue, a stream, a bus, a state machine; at the fake target or inside the gateway's store.

use std::fmt;

use serde::Serialize;

/// What keeps records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Service {
    #[serde(rename = "SQS")]
    Sqs,
    Kinesis,
    EventBridge,
    StepFunctions,
    /// An embedded queue.
    #[serde(rename = "queue")]
    Queue,
    /// What a target has refused for good, in the gateway's store.
    #[serde(rename = "dead letters")]
    DeadLetters,
    /// What is still on its way, in the gateway's store.
    #[serde(rename = "spool")]
    Spool,
}

/// One queue, stream, bus or machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    pub service: Service,
    pub name: String,
}

impl Place {
    pub fn new(service: Service, name: impl Into<String>) -> Place {
        Place {
            service,
            name: name.into(),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Service::Sqs => "SQS",
            Service::Kinesis => "Kinesis",
            Service::EventBridge => "EventBridge",
            Service::StepFunctions => "Step Functions",
            Service::Queue => "queue",
            Service::DeadLetters => "dead letters of",
            Service::Spool => "spool of",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.service, self.name)
    }
}

/// Where a route's records have to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub service: Service,
    /// `None`: each request says where.
    pub name: Option<String>,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("(named by each request)");
        write!(f, "{} {name}", self.service)
    }
}

impl Destination {
    /// From an integration's tag and its target's label; `None` for what stores nothing.
    pub fn of(tag: &str, label: &str) -> Option<Destination> {
        let name = (label != "dynamic").then(|| label.to_owned());
        let service = match tag {
            "SQS-SendMessage" => {
                if let Some(queue) = label.strip_prefix("queue:") {
                    return Some(Destination {
                        service: Service::Queue,
                        name: Some(queue.to_owned()),
                    });
                }
                Service::Sqs
            }
            "Kinesis-PutRecord" => Service::Kinesis,
            "EventBridge-PutEvents" => Service::EventBridge,
            "StepFunctions-StartExecution" => Service::StepFunctions,
            _ => return None,
        };
        Some(Destination { service, name })
    }

    /// Whether a record that was found there has arrived. A queue that requests name may be an embedded one.
    pub fn is(&self, place: &Place) -> bool {
        match &self.name {
            Some(name) => place.service == self.service && place.name == *name,
            None => {
                place.service == self.service
                    || (self.service == Service::Sqs && place.service == Service::Queue)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_where_records_have_to_arrive() {
        let queue = Destination::of("SQS-SendMessage", "queue:orders").unwrap();
        assert!(queue.is(&Place::new(Service::Queue, "orders")));
        assert!(!queue.is(&Place::new(Service::Sqs, "orders")));
        let any = Destination::of("SQS-SendMessage", "dynamic").unwrap();
        assert!(any.is(&Place::new(Service::Sqs, "x")) && any.is(&Place::new(Service::Queue, "y")));
        assert!(!any.is(&Place::new(Service::Kinesis, "x")));
        assert_eq!(Destination::of("SQS-ReceiveMessage", "orders"), None);
    }
}
