//! What a queue is declared to be, and the rules that a set of declarations keeps together.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::value::QueueName;

use super::error::DeclareError;

/// The longest visibility timeout (SQS: 12 hours).
pub const MAX_VISIBILITY: Duration = Duration::from_secs(43_200);
/// The longest delay (SQS: 15 minutes).
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// A queue as declared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueSpec {
    /// By SQS's rule; a FIFO queue's name ends in `.fifo`.
    pub name: String,
    /// Order per message group, groups in flight exclusively, deduplication over five minutes.
    pub fifo: bool,
    /// FIFO: without a deduplication id, the SHA-256 of the body is one.
    pub content_based_deduplication: bool,
    /// Newest first. Not together with `fifo`.
    pub lifo: bool,
    /// How long a received message stays invisible unless the receiver says otherwise; up to 12 hours.
    pub visibility_timeout: Duration,
    /// How long a message is kept; `None`: until somebody removes it.
    pub retention: Option<Duration>,
    /// How long a new message stays invisible; up to 15 minutes.
    pub delay: Duration,
    /// Bytes of bodies and attributes that the queue may hold.
    pub max_size: Option<u64>,
    /// Bytes of one message's body and attributes.
    pub max_message_size: u64,
    /// Where a message goes that has been received too often.
    pub redrive: Option<Redrive>,
}

/// A redrive policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Redrive {
    /// The dead-letter queue, of the same kind (FIFO or standard).
    pub to: String,
    /// Deliveries before the message moves there, at least 1.
    pub max_receive_count: u32,
}

impl QueueSpec {
    /// A queue with SQS's defaults; FIFO if its name says so.
    pub fn new(name: impl Into<String>) -> QueueSpec {
        let name = name.into();
        QueueSpec {
            fifo: name.ends_with(".fifo"),
            name,
            content_based_deduplication: false,
            lifo: false,
            visibility_timeout: Duration::from_secs(30),
            retention: Some(Duration::from_secs(4 * 86_400)),
            delay: Duration::ZERO,
            max_size: None,
            max_message_size: 1 << 20,
            redrive: None,
        }
    }

    /// The rules that one declaration keeps by itself.
    fn check(&self) -> Result<(), DeclareError> {
        let invalid = |reason: String| {
            Err(DeclareError::Invalid {
                queue: self.name.clone(),
                reason,
            })
        };
        match self.name.parse::<QueueName>() {
            Err(reason) => return invalid(reason),
            Ok(name) if name.is_fifo() != self.fifo => {
                return invalid("a FIFO queue's name, and only such a name, ends in .fifo".into());
            }
            Ok(_) => {}
        }
        if self.fifo && self.lifo {
            return invalid("lifo and fifo exclude each other".into());
        }
        if self.content_based_deduplication && !self.fifo {
            return invalid("content_based_deduplication needs a FIFO queue".into());
        }
        if self.visibility_timeout > MAX_VISIBILITY {
            return invalid("visibility_timeout is at most 12h".into());
        }
        if self.delay > MAX_DELAY {
            return invalid("delay is at most 15m".into());
        }
        if self.max_message_size == 0 {
            return invalid("max_message_size is at least 1 byte".into());
        }
        if self
            .redrive
            .as_ref()
            .is_some_and(|redrive| redrive.max_receive_count == 0)
        {
            return invalid("redrive.max_receive_count is at least 1".into());
        }
        Ok(())
    }
}

/// What an operator should know after queues were declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The file holds a queue that is no longer declared. Its messages stay, and can be read.
    Undeclared { queue: String, depth: u64 },
}

/// Checks a set of declarations against each other and against the queues that the file already holds.
pub(super) fn check_all(specs: &[QueueSpec], held: &[QueueSpec]) -> Result<(), DeclareError> {
    let mut by_name: HashMap<&str, &QueueSpec> = HashMap::new();
    for spec in specs {
        spec.check()?;
        if by_name.insert(&spec.name, spec).is_some() {
            return Err(DeclareError::Twice {
                queue: spec.name.clone(),
            });
        }
    }
    for old in held {
        let now = *by_name.entry(&old.name).or_insert(old);
        if now.fifo != old.fifo {
            return Err(DeclareError::FifoChanged {
                queue: old.name.clone(),
                was_fifo: old.fifo,
            });
        }
    }
    for spec in specs {
        let mut path = vec![spec.name.clone()];
        let mut at = spec;
        while let Some(redrive) = &at.redrive {
            let Some(next) = by_name.get(redrive.to.as_str()) else {
                if !specs.contains(at) {
                    // Its users removed the dead-letter queue of a queue on the way: no fault of this declaration.
                    break;
                }
                return Err(DeclareError::UnknownRedrive {
                    queue: at.name.clone(),
                    to: redrive.to.clone(),
                });
            };
            if next.fifo != at.fifo {
                return Err(DeclareError::Invalid {
                    queue: at.name.clone(),
                    reason: format!(
                        "its dead-letter queue {:?} must be of the same kind, FIFO or standard",
                        next.name
                    ),
                });
            }
            path.push(next.name.clone());
            if path[..path.len() - 1].contains(&next.name) {
                return Err(DeclareError::RedriveCycle { queues: path });
            }
            at = next;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redriven(name: &str, to: &str) -> QueueSpec {
        QueueSpec {
            redrive: Some(Redrive {
                to: to.into(),
                max_receive_count: 3,
            }),
            ..QueueSpec::new(name)
        }
    }

    #[test]
    fn dead_letters_go_to_a_queue_that_exists_and_never_round_in_a_circle() {
        let good = [redriven("a", "b"), redriven("b", "c"), QueueSpec::new("c")];
        assert_eq!(check_all(&good, &[]), Ok(()));
        let circle = [redriven("a", "b"), redriven("b", "a")];
        assert!(matches!(
            check_all(&circle, &[]),
            Err(DeclareError::RedriveCycle { .. })
        ));
        assert!(matches!(
            check_all(&[redriven("a", "a")], &[]),
            Err(DeclareError::RedriveCycle { .. })
        ));
        assert!(matches!(
            check_all(&[redriven("a", "nowhere")], &[]),
            Err(DeclareError::UnknownRedrive { .. })
        ));
        assert_eq!(
            check_all(&[redriven("a", "old")], &[QueueSpec::new("old")]),
            Ok(())
        );
        let mixed = [redriven("a", "b.fifo"), QueueSpec::new("b.fifo")];
        assert!(matches!(
            check_all(&mixed, &[]),
            Err(DeclareError::Invalid { .. })
        ));
    }

    #[test]
    fn a_declaration_that_contradicts_itself_is_refused() {
        let base = QueueSpec::new("q");
        let wrong = [
            QueueSpec {
                name: "not a name".into(),
                ..base.clone()
            },
            QueueSpec {
                fifo: true,
                ..base.clone()
            },
            QueueSpec {
                lifo: true,
                ..QueueSpec::new("q.fifo")
            },
            QueueSpec {
                content_based_deduplication: true,
                ..base.clone()
            },
            QueueSpec {
                delay: Duration::from_secs(901),
                ..base.clone()
            },
            QueueSpec {
                visibility_timeout: Duration::from_secs(43_201),
                ..base
            },
        ];
        for spec in wrong {
            let refused = check_all(std::slice::from_ref(&spec), &[]);
            assert!(
                matches!(refused, Err(DeclareError::Invalid { .. })),
                "{spec:?}"
            );
        }
    }
}
