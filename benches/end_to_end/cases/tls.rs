//! TLS on kept connections: what the gateway spends more than without it.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsConnector;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::client::Load;
use crate::support::figures::{Limit, Report};
use crate::support::gateway::{MOCK, Setup};
use crate::support::turns::{COLUMNS, Contestant, compare, take};

use super::accept::orders;

/// A certificate for `localhost` that nobody has signed: the keys of a listener that uses it, and a client that trusts
/// it alone.
pub fn certified(folder: &Path) -> Outcome<(String, TlsConnector)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((
        format!(", tls: {{ cert: {certificate:?}, key: {key:?} }}"),
        TlsConnector::from(Arc::new(client)),
    ))
}

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let pace = options.pace(5, 2.0);
    let mut report = Report::open(
        &options.results,
        "tls",
        "Mock target, key, throttle, metrics, access log; TLS 1.3 on kept connections against plain HTTP.",
        &COLUMNS,
    );
    let (keys, connector) = certified(folder)?;
    let plain = Setup::orders(MOCK).start(folder, "gateway, plain")?;
    let tls = Setup::orders(MOCK)
        .listener(&keys)
        .start(folder, "gateway, TLS")?;
    let contestants = [
        Contestant {
            load: orders(&plain),
            server: plain,
            fake: None,
        },
        Contestant {
            load: Load {
                tls: Some(connector),
                ..orders(&tls)
            },
            server: tls,
            fake: None,
        },
    ];
    for connections in options.connections(&[64, 256]) {
        let rounds = take(&contestants, connections, pace).await?;
        for (own, contestant) in rounds.iter().zip(&contestants) {
            let (compared, name) = (compare(own, &rounds[0]), &contestant.server.name);
            report.row(
                &compared.cells(name, connections),
                compared.json(name, connections),
            );
            if contestant.load.tls.is_some() {
                report.budget(
                    &format!("CPU against plain, {connections} connections"),
                    compared.cpu_ratio.median,
                    Limit::AtMost(1.6),
                );
            }
        }
    }
    report.close()
}
