//! TLS: versions, names, client certificates, new files, and what is no TLS.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::listen::tls::{ClientsSpec, MinVersion, PairSpec, Tls, TlsSpec, provider};
use crate::listen::{HandshakeFailure, ProxyProtocol};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A certificate with its key.
struct Made {
    cert: rcgen::Certificate,
    key: KeyPair,
}

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issued(by: &Issuer, name: &str, serial: u64, change: impl Fn(&mut CertificateParams)) -> Made {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, by).unwrap();
    Made { cert, key }
}

fn server(by: &Issuer, name: &str) -> Made {
    issued(by, name, 1, |_| {})
}

/// Writes a pair of files; gives their paths.
fn pair(folder: &Path, name: &str, made: &Made) -> PairSpec {
    let pair = PairSpec {
        cert: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    };
    std::fs::write(&pair.key, made.key.serialize_pem()).unwrap();
    std::fs::write(&pair.cert, made.cert.pem()).unwrap();
    pair
}

fn spec(certificates: Vec<PairSpec>) -> TlsSpec {
    TlsSpec {
        certificates,
        min_version: MinVersion::Tls12,
        clients: None,
    }
}

fn terms(spec: TlsSpec) -> Terms {
    Terms {
        tls: Some(Arc::new(Tls::open(spec).unwrap())),
        ..Terms::default()
    }
}

/// A client that trusts an authority.
struct Client {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
    own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
}

impl Client {
    fn of(authority: &Issuer) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        Client {
            roots,
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: Vec::new(),
            own: None,
        }
    }

    fn showing(mut self, made: &Made) -> Client {
        let key = PrivateKeyDer::try_from(made.key.serialize_der()).unwrap();
        self.own = Some((made.cert.der().clone(), key));
        self
    }

    async fn connect(
        &self,
        gateway: &Gateway,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(vec![cert.clone()], key.clone_key())
                .unwrap(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connecting =
            TlsConnector::from(Arc::new(config)).connect(name, gateway.connect().await);
        tokio::time::timeout(PATIENCE, connecting).await.unwrap()
    }

    /// Asks once; the answer, or the error that ended the connection.
    async fn ask(&self, gateway: &Gateway, name: &str) -> std::io::Result<String> {
        let mut stream = self.connect(gateway, name).await?;
        get(&mut stream).await
    }
}

async fn get(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream
        .write_all(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
        .await?;
    let reading = async {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"GET /a 0\n") {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

/// The certificate that the server has shown.
fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

fn failures(gateway: &Gateway, reason: HandshakeFailure) -> u64 {
    let mut counts = gateway.stats.handshake_failures();
    counts.find(|(own, _)| *own == reason).unwrap().1
}

#[tokio::test]
async fn both_versions_are_spoken_and_the_older_one_only_if_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("ca");
    let files = pair(folder.path(), "a", &server(&ca, "a.example"));
    let gateway = Gateway::start_on(
        terms(spec(vec![files.clone()])),
        ConnectionLimits::default(),
    );
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = Client {
            versions: vec![version],
            ..Client::of(&ca)
        };
        assert!(client.ask(&gateway, "a.example").await.is_ok());
    }
    assert!(
        gateway
            .echo
            .peers
            .lock()
            .unwrap()
            .iter()
            .all(|peer| peer.secure)
    );
    let newer = TlsSpec {
        min_version: MinVersion::Tls13,
        ..spec(vec![files])
    };
    let gateway = Gateway::start_on(terms(newer), ConnectionLimits::default());
    let client = Client {
        versions: vec![&rustls::version::TLS12],
        ..Client::of(&ca)
    };
    assert!(client.ask(&gateway, "a.example").await.is_err());
    eventually(|| failures(&gateway, HandshakeFailure::Incompatible) == 1).await;
    assert!(Client::of(&ca).ask(&gateway, "a.example").await.is_ok());
    assert_eq!(gateway.stats.handshakes(), 1);
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("ca");
    let made: Vec<Made> = ["first.example", "*.shop.example", "pay.shop.example"]
        .iter()
        .map(|name| server(&ca, name))
        .collect();
    let files = made
        .iter()
        .enumerate()
        .map(|(index, made)| pair(folder.path(), &index.to_string(), made))
        .collect();
    let gateway = Gateway::start_on(terms(spec(files)), ConnectionLimits::default());
    for (name, index) in [
        ("first.example", 0),
        ("a.shop.example", 1),
        ("pay.shop.example", 2),
        ("PAY.shop.example", 2),
    ] {
        let stream = Client::of(&ca).connect(&gateway, name).await.unwrap();
        assert_eq!(&shown(&stream), made[index].cert.der(), "{name}");
    }
    for stranger in ["unknown.example", "a.b.shop.example", "shop.example"] {
        let refused = Client::of(&ca)
            .connect(&gateway, stranger)
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("not valid for name"),
            "{stranger}: {refused}"
        );
    }
}

#[tokio::test]
async fn http_2_is_agreed_on_and_http_1_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("ca");
    let files = pair(folder.path(), "a", &server(&ca, "a.example"));
    let gateway = Gateway::start_on(terms(spec(vec![files])), ConnectionLimits::default());
    let client = Client {
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ..Client::of(&ca)
    };
    let stream = client.connect(&gateway, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = Request::builder()
        .uri("https://a.example/h2")
        .body(())
        .unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(gateway.stats.http2(), 1);
    drop(send);
    driving.abort();
    let client = Client {
        alpn: vec![b"http/1.1".to_vec()],
        ..Client::of(&ca)
    };
    let mut stream = client.connect(&gateway, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    get(&mut stream).await.unwrap();
    let client = Client {
        alpn: vec![b"spdy/3".to_vec()],
        ..Client::of(&ca)
    };
    assert!(client.connect(&gateway, "a.example").await.is_err());
    eventually(|| failures(&gateway, HandshakeFailure::Incompatible) == 1).await;
}

#[tokio::test]
async fn plain_http_is_told_so_and_what_is_neither_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("ca");
    let files = pair(folder.path(), "a", &server(&ca, "a.example"));
    let gateway = Gateway::start_on(terms(spec(vec![files])), ConnectionLimits::default());
    let answer = gateway.exchange("GET /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("write https:// in place of http://"),
        "{answer}"
    );
    assert_eq!(gateway.malformed(), [(MalformedKind::PlainHttp, Some(400))]);
    assert_eq!(gateway.exchange(b"\0\x01\x02").await, "");
    let garbled = gateway.exchange(b"\x16\x03\x01\x00\x02\xff\xff").await;
    assert!(!garbled.contains("HTTP"), "{garbled}");
    drop(gateway.connect().await);
    eventually(|| gateway.stats.open() == 0).await;
    let counted = |reason| failures(&gateway, reason);
    assert_eq!(counted(HandshakeFailure::PlainHttp), 1);
    assert_eq!(counted(HandshakeFailure::NotTls), 1);
    let all: u64 = gateway
        .stats
        .handshake_failures()
        .map(|(_, count)| count)
        .sum();
    assert_eq!(all, 3, "a port that is only tried is no failure");
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn a_handshake_has_the_time_of_a_head() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("ca");
    let files = pair(folder.path(), "a", &server(&ca, "a.example"));
    let limits = ConnectionLimits {
        header_timeout: Duration::from_millis(200),
        ..ConnectionLimits::default()
    };
    let gateway = Gateway::start_on(terms(spec(vec![files])), limits);
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        assert_eq!(gateway.exchange(begun).await, "");
    }
    assert_eq!(failures(&gateway, HandshakeFailure::Timeout), 3);
}

#[tokio::test]
async fn new_certificates_are_taken_over_and_connections_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("ca");
    let (old, new) = (server(&ca, "a.example"), server(&ca, "a.example"));
    // as Kubernetes mounts them: a link to a folder, which is swapped as a whole
    let link = folder.path().join("live");
    let swap = |to: &str| {
        let fresh = folder.path().join("fresh");
        std::os::unix::fs::symlink(folder.path().join(to), &fresh).unwrap();
        std::fs::rename(fresh, &link).unwrap();
    };
    for (name, made) in [("1", &old), ("2", &new), ("broken", &old)] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        pair(&folder.path().join(name), "a", made);
    }
    std::fs::write(folder.path().join("broken/a.key"), new.key.serialize_pem()).unwrap();
    swap("1");
    let files = PairSpec {
        cert: link.join("a.pem"),
        key: link.join("a.key"),
    };
    let gateway = Gateway::start_on(terms(spec(vec![files])), ConnectionLimits::default());
    let client = Client::of(&ca);
    let mut kept = client.connect(&gateway, "a.example").await.unwrap();
    get(&mut kept).await.unwrap();

    swap("broken");
    eventually(|| gateway.stats.reload_failures() == 1).await;
    let stream = client.connect(&gateway, "a.example").await.unwrap();
    assert_eq!(&shown(&stream), old.cert.der());

    swap("2");
    let waiting = async {
        while &shown(&client.connect(&gateway, "a.example").await.unwrap()) != new.cert.der() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    get(&mut kept).await.unwrap();
    assert_eq!(&shown(&kept), old.cert.der());
    assert_eq!(gateway.stats.reload_failures(), 1);
    assert_eq!(gateway.stats.expiries().len(), 1);
}

/// A listener that asks for certificates of `ca`.
fn asking(folder: &Path, ca: &Issuer, required: bool, crls: Vec<std::path::PathBuf>) -> Gateway {
    let roots = folder.join("ca.pem");
    std::fs::write(&roots, ca.pem()).unwrap();
    let files = pair(folder, "server", &server(ca, "a.example"));
    let spec = TlsSpec {
        clients: Some(ClientsSpec {
            ca: roots,
            required,
            crls,
        }),
        ..spec(vec![files])
    };
    Gateway::start_on(terms(spec), ConnectionLimits::default())
}

#[tokio::test]
async fn client_certificates_are_required_or_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, stranger) = (authority("ca"), authority("stranger"));
    let required = asking(folder.path(), &ca, true, Vec::new());
    let good = issued(&ca, "client.example", 0x0102, |_| {});
    assert!(
        Client::of(&ca)
            .showing(&good)
            .ask(&required, "a.example")
            .await
            .is_ok()
    );
    let seen = required.echo.peers.lock().unwrap()[0].clone();
    let certificate = seen.client_cert.as_ref().unwrap();
    assert_eq!(certificate.subject.to_string(), "CN=client.example");
    assert_eq!(certificate.issuer.to_string(), "CN=ca");
    assert_eq!(certificate.serial, "01:02");
    let expired = issued(&ca, "client.example", 3, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let untrusted = issued(&stranger, "client.example", 4, |_| {});
    let for_servers = issued(&ca, "client.example", 5, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (client, reason) in [
        (Client::of(&ca), HandshakeFailure::CertificateMissing),
        (
            Client::of(&ca).showing(&expired),
            HandshakeFailure::CertificateExpired,
        ),
        (
            Client::of(&ca).showing(&untrusted),
            HandshakeFailure::CertificateUntrusted,
        ),
        (
            Client::of(&ca).showing(&for_servers),
            HandshakeFailure::CertificateInvalid,
        ),
    ] {
        assert!(
            client.ask(&required, "a.example").await.is_err(),
            "{reason:?}"
        );
        eventually(|| failures(&required, reason) == 1).await;
    }
    assert_eq!(required.requests().len(), 1);

    let optional = asking(folder.path(), &ca, false, Vec::new());
    assert!(Client::of(&ca).ask(&optional, "a.example").await.is_ok());
    assert!(optional.echo.peers.lock().unwrap()[0].client_cert.is_none());
    assert!(
        Client::of(&ca)
            .showing(&untrusted)
            .ask(&optional, "a.example")
            .await
            .is_err()
    );
}

fn revocation_list(by: &Issuer, serials: &[u64], year: i32) -> rcgen::CertificateRevocationList {
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(year, 1, 1),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(by).unwrap()
}

#[tokio::test]
async fn revoked_certificates_are_refused_and_so_are_those_of_which_nothing_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("ca");
    let list = folder.path().join("revoked.pem");
    let write = |serials: &[u64], year| {
        std::fs::write(&list, revocation_list(&ca, serials, year).pem().unwrap()).unwrap()
    };
    write(&[7], 2080);
    let gateway = asking(folder.path(), &ca, true, vec![list.clone()]);
    let (good, revoked) = (
        issued(&ca, "good.example", 6, |_| {}),
        issued(&ca, "revoked.example", 7, |_| {}),
    );
    let good = Client::of(&ca).showing(&good);
    assert!(good.ask(&gateway, "a.example").await.is_ok());
    assert!(
        Client::of(&ca)
            .showing(&revoked)
            .ask(&gateway, "a.example")
            .await
            .is_err()
    );
    eventually(|| failures(&gateway, HandshakeFailure::CertificateRevoked) == 1).await;
    // a new list is taken over
    write(&[6, 7], 2080);
    let waiting = async {
        while good.ask(&gateway, "a.example").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    // one that is out of date tells nothing
    write(&[], 2021);
    let outdated = asking(folder.path(), &ca, true, vec![list.clone()]);
    assert!(good.ask(&outdated, "a.example").await.is_err());
    eventually(|| failures(&outdated, HandshakeFailure::RevocationUnknown) == 1).await;
    // and neither does somebody else's
    std::fs::write(
        &list,
        revocation_list(&authority("stranger"), &[], 2080)
            .pem()
            .unwrap(),
    )
    .unwrap();
    let foreign = asking(folder.path(), &ca, true, vec![list]);
    assert!(good.ask(&foreign, "a.example").await.is_err());
    eventually(|| failures(&foreign, HandshakeFailure::RevocationUnknown) == 1).await;
}

#[tokio::test]
async fn the_proxy_header_comes_before_the_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("ca");
    let files = pair(folder.path(), "a", &server(&ca, "a.example"));
    let terms = Terms {
        proxy_protocol: ProxyProtocol::V1,
        ..terms(spec(vec![files]))
    };
    let gateway = Gateway::start_on(terms, ConnectionLimits::default());
    let mut stream = gateway.connect().await;
    stream
        .write_all(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n")
        .await
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(Client::of(&ca).roots)
        .with_no_client_auth();
    let name = ServerName::try_from("a.example").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    get(&mut stream).await.unwrap();
    let peer = gateway.echo.peers.lock().unwrap()[0].clone();
    assert_eq!(peer.source.to_string(), "203.0.113.9:4711");
    assert!(peer.secure);
}
