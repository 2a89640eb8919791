//! What people write under `authorizers.NAME.webhook`, and what a preset is made of: the same types. Their doc comments
//! are the reference; nothing is checked here beyond the form of each value.

mod forms;

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::secret::Secret;
use crate::model::value::{ByteSize, Span};

/// Webhook deliveries, verified by their sender's scheme: a preset, or the scheme written out, or a preset with single
/// keys of its own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookAuthorizer")]
pub struct Config {
    /// The sender, by name (`stripe`, `github`, `slack`, …): fills `verify`, `handshake`, `event` and `ack`. What is
    /// written beside it replaces single keys.
    pub preset: Option<String>,
    /// The secrets, or public keys, that are accepted: each a text, or `{ value, from, until }`. Two are the normal state
    /// while one replaces the other; which one matched is counted.
    pub secrets: Vec<SecretText>,
    /// The URL under which the sender knows this endpoint, byte for byte. Needed where the URL is signed.
    pub public_url: Option<String>,
    /// Settings that the scheme names as `config:NAME`: `verify_token`, `webhook_id`, `allowed_origin`, `audience`,
    /// `service_account`, `topic_arns`, …; a text or a list of texts.
    #[schemars(with = "std::collections::BTreeMap<String, Setting>")]
    pub config: IndexMap<String, Setting>,
    /// How a delivery is checked.
    pub verify: Option<Verify>,
    /// Questions that senders ask before or between deliveries, and their answers; the first rule whose `when` holds is
    /// used. Replaces the preset's list.
    pub handshake: Option<Vec<Handshake>>,
    /// Where the sender's own id and type of a delivery are.
    pub event: Option<Event>,
    /// What a stored delivery is answered, where the route's `response` says nothing else. Default: the dialect's answer.
    pub ack: Option<Ack>,
    /// Lets `scheme: none` pass. Default: false.
    pub allow_unsigned: bool,
    /// `live`, or `awaiting-secret`: the sender sends the secret itself (Asana, Notion), once, and the first one that
    /// comes is kept in `secret_file`; from then on, restarts included, the source is live. Default: `live`.
    pub state: State,
    /// The file that holds a secret beside `secrets`, read at start; a captured secret is written there (mode 0600).
    pub secret_file: Option<PathBuf>,
    /// What becomes of a refused delivery beside being refused: `refuse` (nothing), or `quarantine`: it is kept for
    /// debugging in a folder of its own, never forwarded. Default: `refuse`.
    pub on_fail: OnFail,
    /// Where refused deliveries are kept, and how many. Default: see there.
    pub quarantine: Option<QuarantineSettings>,
    /// A signed statement of who verified what, for consumers: `$webhook.attestation`. Default: none.
    pub attestation: Option<Attestation>,
}

/// What becomes of refused deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "WebhookOnFail")]
pub enum OnFail {
    /// They are refused.
    #[default]
    Refuse,
    /// They are refused and kept, apart and bounded.
    Quarantine,
}

/// The folder of refused deliveries.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookQuarantine")]
pub struct QuarantineSettings {
    /// The folder. Default: `quarantine/NAME`, beside the route file.
    pub folder: Option<PathBuf>,
    /// The most deliveries; the oldest goes first. Default: 1000.
    #[schemars(range(min = 1))]
    pub max: Option<usize>,
    /// The most bytes on disk; the oldest goes first. Default: 64MiB.
    pub max_size: Option<ByteSize>,
}

/// Whether the source has its secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "WebhookState")]
pub enum State {
    /// It has.
    #[default]
    Live,
    /// The first one that a sender sends is taken.
    AwaitingSecret,
}

/// A secret, and when it counts.
#[derive(Clone, Debug)]
pub struct SecretText {
    pub value: Secret<String>,
    pub from: Option<String>,
    pub until: Option<String>,
}

/// A secret with its time.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookSecretDetails")]
struct SecretDetails {
    /// The secret, as the sender shows it; best from `${env:…}` or `${file:…}`.
    value: Word,
    /// From when on it is accepted (RFC 3339): `2026-03-01T00:00:00Z`.
    #[serde(default)]
    from: Option<String>,
    /// Until when it is accepted, this moment not included (RFC 3339).
    #[serde(default)]
    until: Option<String>,
}

/// How a delivery is checked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookVerify")]
pub struct Verify {
    /// How to check.
    pub scheme: Option<Scheme>,
    /// The header that carries signatures, or several; all that are present count. `#` stands for 1, 2, 3 … until one
    /// is missing.
    pub header: Option<Several>,
    /// Where signatures are when not in a header: `json:/signature`, `query:sig`, `form:sig`.
    #[serde(rename = "in")]
    pub within: Option<String>,
    /// Cuts the carrier into items, which are trimmed.
    pub split: Option<String>,
    /// Keeps the items that start with this, and takes it off.
    pub prefix: Option<String>,
    /// The text form of a signature: `hex` or `base64`. Default: `hex`.
    pub encoding: Option<Encoding>,
    /// The bytes that were signed, a template: `{timestamp}.{body}`.
    pub signed: Option<String>,
    /// Says that `signed` does not cover the whole body, and that this is known.
    pub partial: Option<bool>,
    /// When the delivery was signed, and how old it may be.
    pub timestamp: Option<Timestamp>,
    /// From a secret's text to a key.
    pub key: Option<KeyForm>,
    /// What must hold besides.
    pub require: Option<Require>,
    /// `token` only: the JSON pointer of a list whose every element carries the token.
    pub each: Option<String>,
    /// `token` only: the element's member that is the token.
    pub field: Option<String>,
    /// `jwt` only: the algorithms that are accepted.
    pub algs: Option<Vec<String>>,
    /// `jwt` only: where keys come from.
    pub keys: Option<Keys>,
    /// `jwt` only: the issuers that are accepted.
    pub iss: Option<Several>,
    /// `jwt` only: the audiences of which the token must name one.
    pub aud: Option<Several>,
    /// `jwt` only: further claims and their values.
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub claims: IndexMap<String, serde_json::Value>,
    /// `jwt` only: how old `iat` may be.
    pub max_age: Option<Span>,
    /// `jwt` only: what clocks may differ by. Default: 30s.
    pub leeway: Option<Span>,
    /// `jwt` only: the claim that holds the body's SHA-256.
    pub body_hash: Option<BodyHash>,
}

/// How a delivery is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "WebhookScheme")]
pub enum Scheme {
    HmacSha1,
    HmacSha256,
    HmacSha512,
    Ed25519,
    /// Signatures in DER.
    EcdsaP256Sha256,
    RsaPkcs1Sha256,
    /// A plain digest over a text that holds the secret; legacy only.
    HashSha256,
    /// The carrier is the secret itself.
    Token,
    /// HTTP Basic; the secret is `user:password`.
    Basic,
    Jwt,
    /// Nothing is checked.
    None,
    Twilio,
    Sns,
    Paypal,
}

impl Scheme {
    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::HmacSha1 => "hmac-sha1",
            Scheme::HmacSha256 => "hmac-sha256",
            Scheme::HmacSha512 => "hmac-sha512",
            Scheme::Ed25519 => "ed25519",
            Scheme::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Scheme::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Scheme::HashSha256 => "hash-sha256",
            Scheme::Token => "token",
            Scheme::Basic => "basic",
            Scheme::Jwt => "jwt",
            Scheme::None => "none",
            Scheme::Twilio => "twilio",
            Scheme::Sns => "sns",
            Scheme::Paypal => "paypal",
        }
    }
}

/// A signature's text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "WebhookEncoding")]
pub enum Encoding {
    /// Either case.
    Hex,
    /// The standard alphabet, padded.
    Base64,
}

/// When a delivery was signed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookTimestamp")]
pub struct Timestamp {
    /// The header that holds it; `A,B` for the first that is present.
    pub header: Option<String>,
    /// The item of the signature's carrier that starts with this.
    pub param: Option<String>,
    /// The JSON pointer of the body's value.
    pub json: Option<String>,
    /// The form field.
    pub form: Option<String>,
    /// How it is written. Default: `unix`.
    pub format: Option<TimeFormat>,
    /// How old it may be, at most 24h. Default: 5m.
    pub tolerance: Option<Span>,
    /// How far ahead of this machine's clock it may be. Default: as `tolerance`.
    pub ahead: Option<Span>,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "WebhookTimeFormat")]
pub enum TimeFormat {
    /// Seconds since 1970.
    #[default]
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    Rfc3339,
}

/// From a secret's text to a key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookKey")]
pub struct KeyForm {
    /// Taken off the start of the text, where it stands there.
    pub strip: Option<String>,
    /// How the key is written; the last four are public keys. Default: `utf8`.
    pub encoding: Option<KeyEncoding>,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "WebhookKeyEncoding")]
pub enum KeyEncoding {
    /// The text is the key.
    #[default]
    Utf8,
    Hex,
    /// Padding may be missing.
    Base64,
    /// A public key's own bytes.
    RawHex,
    /// A public key's own bytes.
    RawBase64,
    /// A public key as SubjectPublicKeyInfo.
    SpkiBase64,
    /// A public key as SubjectPublicKeyInfo, or a certificate.
    Pem,
}

/// What must hold besides the signature.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookRequire")]
pub struct Require {
    /// Headers and the values that they must have.
    #[schemars(with = "std::collections::BTreeMap<String, Word>")]
    pub headers: IndexMap<String, Word>,
    /// References that must name nothing.
    pub absent: Vec<String>,
}

/// Where a token's keys come from; exactly one of them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookKeys")]
pub struct Keys {
    /// The URL of a key set.
    pub jwks: Option<String>,
    /// `secrets` are the keys.
    pub secrets: Option<bool>,
    /// Built-in code: `plaid`.
    pub code: Option<String>,
}

/// The claim that binds a token to its body.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookBodyHash")]
pub struct BodyHash {
    /// The claim's name.
    pub claim: String,
    /// Its text form. Default: `hex`.
    #[serde(default)]
    pub encoding: Option<Encoding>,
}

/// A question and its answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookHandshake")]
pub struct Handshake {
    /// What a request must look like.
    pub when: When,
    /// `none`: answered before verification; `verified`: after it. Default: `none`.
    #[serde(default)]
    pub auth: Auth,
    /// What must be equal, in constant time.
    #[serde(default)]
    pub check: Option<Check>,
    /// The reference whose value becomes the source's secret, while it awaits one.
    #[serde(default)]
    pub capture: Option<String>,
    /// The answer.
    pub reply: Reply,
}

/// What a request must look like: all that is written must hold. A condition is a text, `present`, `absent`, `[]` (an
/// empty list) or `token` (1 to 512 of `A-Z a-z 0-9 . _ ~ + / = -`).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookWhen")]
pub struct When {
    /// The method.
    pub method: Option<String>,
    /// Headers.
    #[schemars(with = "std::collections::BTreeMap<String, Condition>")]
    pub header: IndexMap<String, Condition>,
    /// Query parameters.
    #[schemars(with = "std::collections::BTreeMap<String, Condition>")]
    pub query: IndexMap<String, Condition>,
    /// Form fields of the body.
    #[schemars(with = "std::collections::BTreeMap<String, Condition>")]
    pub form: IndexMap<String, Condition>,
    /// Values of the JSON body, by JSON pointer.
    #[schemars(with = "std::collections::BTreeMap<String, Condition>")]
    pub json: IndexMap<String, Condition>,
}

/// When a handshake is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "WebhookHandshakeAuth")]
pub enum Auth {
    /// Before verification.
    #[default]
    None,
    /// After it.
    Verified,
}

/// An equality that an answer depends on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookCheck")]
pub struct Check {
    /// A reference to what the request brings.
    #[serde(rename = "ref")]
    pub reference: String,
    /// A reference to what it must be: `config:verify_token`.
    pub equals: String,
    /// The status of the refusal. Default: 403.
    #[serde(rename = "else", default)]
    #[schemars(range(min = 400, max = 499))]
    pub otherwise: Option<u16>,
}

/// An answer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookReply")]
pub struct Reply {
    /// Default: 200.
    #[schemars(range(min = 200, max = 299))]
    pub status: Option<u16>,
    /// `text/plain` or `application/json`.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// Headers; values are templates.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub headers: IndexMap<String, String>,
    /// The body, a template.
    pub body: Option<String>,
    /// The body as JSON, whose texts are templates.
    pub json: Option<serde_json::Value>,
}

/// Where the sender's own id and type of a delivery are.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookEvent")]
pub struct Event {
    /// A reference, or several of which the first that is not empty counts: `$webhook.id`, and by default the
    /// idempotency key.
    pub id: Option<Several>,
    /// The JSON pointer of a second item, whose presence means that the request has no single id.
    pub id_unless: Option<String>,
    /// A reference, or several of which the first that is not empty counts: `$webhook.type`.
    #[serde(rename = "type")]
    pub kind: Option<Several>,
}

/// What a stored delivery is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WebhookAck")]
pub struct Ack {
    /// Default: 202.
    #[schemars(range(min = 200, max = 299))]
    pub status: Option<u16>,
    /// The content type. Default: none.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// Default: empty.
    pub body: Option<String>,
}

/// A signed statement of who verified what.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookAttestation")]
pub struct Attestation {
    /// `HS256`: a secret of at least 16 bytes. `EdDSA`: an Ed25519 private key in PEM (PKCS #8).
    #[serde(deserialize_with = "forms::secret_word")]
    #[schemars(with = "String")]
    pub key: Secret<String>,
    /// `HS256` or `EdDSA`. Default: `HS256`.
    #[serde(default)]
    pub algorithm: AttestationAlgorithm,
    /// The key's name in the statement's head. Default: none.
    #[serde(default)]
    pub kid: Option<String>,
}

/// How a statement is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum AttestationAlgorithm {
    #[default]
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A text; numbers and booleans are taken as their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(pub String);

/// One text, or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Several(pub Vec<String>);

/// A setting: one text, or several. May be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting(pub Vec<Secret<String>>);

/// What a value of a request must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Present,
    Absent,
    EmptyList,
    Token,
    Is(String),
}
