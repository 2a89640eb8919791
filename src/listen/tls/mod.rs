//! TLS on a listener: which certificates it shows, which clients' certificates it accepts, and how all of that is read
//! anew when its files change.

pub mod failure;
pub mod material;

mod choice;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use self::choice::Choice;
use self::material::{Expiry, Material, MaterialError};
use super::stats::ListenStats;

/// How long after a failure the same files are read again.
const AGAIN: Duration = Duration::from_secs(30);
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long files that have changed have to stay as they are before they are read: a certificate and its key are two
/// files, and are seldom written at once.
const SETTLE: Duration = Duration::from_millis(250);

/// What TLS on a listener is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsSpec {
    /// The first is shown where no other fits.
    pub certificates: Vec<PairSpec>,
    pub min_version: MinVersion,
    /// `None`: clients are not asked for certificates.
    pub clients: Option<ClientsSpec>,
}

/// A certificate with its chain, and its key: files of PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PairSpec {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Whose certificates clients may show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientsSpec {
    /// A file of PEM: the roots that chains have to end at.
    pub ca: PathBuf,
    /// Whether a client without a certificate is refused in the handshake.
    pub required: bool,
    /// Files of PEM or DER. With at least one, every certificate of a chain has to be found good by a list of its issuer
    /// that is not out of date; a status that no list tells is a refusal.
    pub crls: Vec<PathBuf>,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MinVersion {
    #[default]
    Tls12,
    Tls13,
}

/// Why TLS cannot be had on a listener.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Material(Vec<MaterialError>),
    #[error("TLS cannot be set up: {0}")]
    Config(String),
}

/// TLS on a listener, at work.
#[derive(Debug)]
pub struct Tls {
    spec: TlsSpec,
    config: ArcSwap<ServerConfig>,
    /// The files as they were before they were read for the first time.
    first: Stamp,
    expiries: Vec<Expiry>,
}

/// What tells whether files have changed: for each its device, node, size and times; `None` where it cannot be had.
/// Symbolic links are followed, so that a folder which is swapped as a whole is seen too.
type Stamp = Vec<Option<[i64; 7]>>;

impl TlsSpec {
    fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = self
            .certificates
            .iter()
            .flat_map(|pair| [&pair.cert, &pair.key]);
        let clients = self
            .clients
            .iter()
            .flat_map(|clients| std::iter::once(&clients.ca).chain(&clients.crls));
        pairs.chain(clients).map(PathBuf::as_path)
    }

    fn stamp(&self) -> Stamp {
        let of = |path: &Path| {
            let file = fs::metadata(path).ok()?;
            Some([
                file.dev().cast_signed(),
                file.ino().cast_signed(),
                file.size().cast_signed(),
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec(),
            ])
        };
        self.files().map(of).collect()
    }
}

impl Tls {
    /// Reads the files. Blocks.
    pub fn open(spec: TlsSpec) -> Result<Tls, TlsError> {
        let first = spec.stamp();
        let material = Material::read(&spec).map_err(TlsError::Material)?;
        Ok(Tls {
            config: ArcSwap::new(Arc::new(server_config(&spec, &material)?)),
            spec,
            first,
            expiries: material.expiries(),
        })
    }

    /// What new connections are accepted with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Looks at the files for as long as it is polled, and takes over what they hold when they change. What cannot be
    /// used is logged, counted, and leaves everything as it was.
    pub(super) async fn watch(self: Arc<Self>, listener: Arc<str>, stats: Arc<ListenStats>) {
        stats.set_expiries(self.expiries.clone());
        let mut settled = self.first.clone();
        let mut seen = settled.clone();
        // Reading may have failed for want of descriptors, or of a server: the same files may do a while later.
        let mut again: Option<Instant> = None;
        loop {
            tokio::time::sleep(if seen == settled { LOOK_EVERY } else { SETTLE }).await;
            let this = self.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || this.spec.stamp()).await else {
                continue;
            };
            let retry = again.is_some_and(|at| at <= Instant::now());
            if now != seen || (now == settled && !retry) {
                seen = now;
                continue;
            }
            settled = now;
            again = None;
            let this = self.clone();
            let read = tokio::task::spawn_blocking(move || this.read_again()).await;
            match read {
                Ok(Ok(expiries)) => {
                    stats.set_expiries(expiries);
                    tracing::info!(%listener, "New certificates are in use");
                }
                Ok(Err(error)) => {
                    stats.reload_failed();
                    tracing::error!(%listener, %error, "New certificates cannot be used; the old ones stay");
                    again = Some(Instant::now() + AGAIN);
                }
                Err(error) => {
                    stats.reload_failed();
                    tracing::error!(%listener, %error, "Reading certificates failed; the old ones stay");
                }
            }
        }
    }

    fn read_again(&self) -> Result<Vec<Expiry>, TlsError> {
        let material = Material::read(&self.spec).map_err(TlsError::Material)?;
        let config = server_config(&self.spec, &material)?;
        self.config.store(Arc::new(config));
        Ok(material.expiries())
    }
}

/// The cryptography that certificates are read and used with.
pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn server_config(spec: &TlsSpec, material: &Material) -> Result<ServerConfig, TlsError> {
    let refused = |error: &dyn std::fmt::Display| TlsError::Config(error.to_string());
    let provider = Arc::new(provider());
    let versions: &[_] = match spec.min_version {
        MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        MinVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| refused(&error))?;
    let builder = match &spec.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(material.roots.clone());
            let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            if !clients.crls.is_empty() {
                verifier = verifier
                    .with_crls(material.crls.iter().cloned())
                    .enforce_revocation_expiration();
            }
            if !clients.required {
                verifier = verifier.allow_unauthenticated();
            }
            builder.with_client_cert_verifier(verifier.build().map_err(|error| refused(&error))?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Choice::new(&material.certificates)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if spec.clients.is_some() {
        // A session that is taken up again would not be asked whether its certificate has expired or been revoked.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| refused(&error))?;
    }
    Ok(config)
}
