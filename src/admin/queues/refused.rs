//! Why an operator's wish was not fulfilled: a status for the listener, words for the person.

use http::StatusCode;
use thiserror::Error;

use crate::store::{MoveError, StoreError};

/// A refusal.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct Refused {
    pub status: StatusCode,
    pub message: String,
}

impl Refused {
    /// The wish makes no sense.
    pub fn asked_wrongly(message: impl Into<String>) -> Refused {
        Refused {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    /// The caller may not do this.
    pub fn forbidden(message: impl Into<String>) -> Refused {
        Refused {
            status: StatusCode::FORBIDDEN,
            message: message.into(),
        }
    }

    /// The store cannot be used now.
    pub fn unavailable(message: impl Into<String>) -> Refused {
        Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: message.into(),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        let status = match &error {
            StoreError::UnknownQueue(_) => StatusCode::NOT_FOUND,
            transient if transient.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Refused {
            status,
            message: error.to_string(),
        }
    }
}

impl From<MoveError> for Refused {
    fn from(error: MoveError) -> Refused {
        let status = match &error {
            MoveError::Running => StatusCode::CONFLICT,
            MoveError::NoSuchTask => StatusCode::NOT_FOUND,
            MoveError::NotADeadLetterQueue | MoveError::Invalid(_) => StatusCode::BAD_REQUEST,
            MoveError::Store(error) => return error.clone().into(),
        };
        Refused {
            status,
            message: error.to_string(),
        }
    }
}
