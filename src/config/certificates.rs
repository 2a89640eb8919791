//! The files of TLS that listeners name: read when a configuration is checked, so that what cannot be used is said before
//! anything is started. What is read here is thrown away; the listener reads it again when it is opened.

use std::time::SystemTime;

use crate::listen::TlsSpec;
use crate::listen::tls::material::{Material, Part};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// Reads the files of a listener's TLS. `at`: its `tls`; `several`: whether the certificates are a list.
pub fn check(spec: &TlsSpec, several: bool, at: &ConfigPath, problems: &mut Problems) {
    let place = |part: Part| match part {
        Part::Cert(index) if several => at.key("certificates").index(index).key("cert"),
        Part::Key(index) if several => at.key("certificates").index(index).key("key"),
        Part::Cert(_) => at.key("cert"),
        Part::Key(_) => at.key("key"),
        Part::Ca => at.key("client_ca"),
        Part::Crl(index) => at.key("crl").index(index),
    };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    match Material::read(spec) {
        Ok(material) => {
            for stale in material.stale(now) {
                problems.warning(&place(stale.part), stale.to_string());
            }
        }
        Err(errors) => {
            for error in errors {
                problems.error(&place(error.part), error.to_string());
            }
        }
    }
}
