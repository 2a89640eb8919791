//! `penstock send`: a test delivery, signed as a webhook's sender signs, sent to a URL.

mod shown;

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Uri};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::load::{blueprint_or_problems, fetched};
use super::{Exit, headers, print};
use crate::authn;
use crate::authn::webhook::{Draft, SignError, Signer, Wish};
use crate::config::secrets::Vault;
use crate::model::secret::Secret;
use crate::outbound::{self, Bounds, Named};

/// Where the secret may stand instead of on the command line, which others on the machine can read.
const SECRET_VARIABLE: &str = "PENSTOCK_SEND_SECRET";

/// The most of an answer that is read, in bytes.
const MOST_OF_AN_ANSWER: usize = 1 << 20;

/// Send a test delivery, signed as a webhook's sender would sign it
#[derive(Debug, Args)]
pub struct Send {
    /// Where to send it, such as http://localhost:8080/hooks/stripe
    url: String,
    /// The sender whose deliveries it is like: stripe, github, slack, …
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "config",
        conflicts_with = "config"
    )]
    preset: Option<String>,
    /// A route file whose authorizer says how to sign, and with which secret
    #[arg(long, value_name = "FILE", requires = "authorizer")]
    config: Option<PathBuf>,
    /// The webhook authorizer of that file
    #[arg(long, value_name = "NAME", requires = "config")]
    authorizer: Option<String>,
    /// The secret that it shares with the gateway, or the private key where the gateway has the public one. Others on this
    /// machine can read it here; PENSTOCK_SEND_SECRET in the environment and `--secret-file` are read by nobody else
    #[arg(long, value_name = "SECRET", conflicts_with = "secret_file")]
    secret: Option<String>,
    /// A file that holds the secret, or the private key; a line break at its end is not part of it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// A header, `name: value`; may be given several times. It takes the place of one that would be made
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The body; `@FILE` reads a file, `@-` standard input [default: `{}`]
    #[arg(short = 'd', long = "data", value_name = "BODY")]
    data: Option<String>,
    /// The method
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: Method,
    /// The `public_url` of the gateway's authorizer, where the sender signs it [default: the file's, or the URL]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The sender's id of the delivery [default: a new one, where it is in a header]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// When it is signed: seconds since 1970, or RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    timestamp: Option<i64>,
    /// A PEM file of certificate authorities to trust beside those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How long to wait for the answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    /// Print the request as a curl command, and send nothing. A secret that it carries is not shown
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to send.
struct Refusal(Exit, String);

impl From<String> for Refusal {
    fn from(text: String) -> Refusal {
        Refusal(Exit::Usage, text)
    }
}

impl From<SignError> for Refusal {
    fn from(error: SignError) -> Refusal {
        let text = match error {
            SignError::NoSecret => {
                format!("{error}: write --secret-file FILE, or set {SECRET_VARIABLE}")
            }
            SignError::Unfit(text) => text,
        };
        Refusal(Exit::Usage, text)
    }
}

impl Send {
    pub fn run(&self) -> Exit {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let done = match runtime {
            Ok(runtime) => runtime.block_on(self.sent()),
            Err(error) => {
                eprintln!("error: the runtime cannot be started: {error}");
                return Exit::CannotStart;
            }
        };
        done.unwrap_or_else(|Refusal(exit, text)| {
            if !text.is_empty() {
                eprintln!("error: {text}");
            }
            exit
        })
    }

    async fn sent(&self) -> Result<Exit, Refusal> {
        let secret = self.secret()?;
        let signer = self.signer(secret.as_ref()).await?;
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        let wish = Wish {
            id: self.id.clone(),
            at_millis: self
                .timestamp
                .unwrap_or(i64::try_from(now).unwrap_or(i64::MAX)),
            hides_secret: self.dry_run,
        };
        let draft = signer.sign(self.draft()?, &wish)?;
        if self.dry_run {
            print(&match self.json {
                true => format!("{:#}\n", shown::request(&draft)),
                false => shown::curl(&draft),
            });
            return Ok(Exit::Ok);
        }
        let mut request = Request::new(draft.body.clone());
        *request.method_mut() = draft.method.clone();
        *request.uri_mut() = draft.url.clone();
        *request.headers_mut() = draft.headers.clone();
        let client = outbound::Client::new(outbound::Settings {
            ca: self.ca.clone(),
            ..outbound::Settings::default()
        });
        let bounds = Bounds {
            timeout: Duration::from_secs(self.timeout),
            max_body: MOST_OF_AN_ANSWER,
        };
        let begun = Instant::now();
        let answer = client.send(request, Named::ByOperator, bounds).await;
        let answer = answer.map_err(|error| Refusal(Exit::Problems, error.to_string()))?;
        let took = begun.elapsed();
        print(&match self.json {
            true => format!("{:#}\n", shown::answer_json(&answer, took)),
            false => shown::answer(&answer, took),
        });
        Ok(match answer.status().is_success() {
            true => Exit::Ok,
            false => Exit::Problems,
        })
    }

    fn secret(&self) -> Result<Option<Secret<String>>, String> {
        let text = match (&self.secret_file, &self.secret) {
            (Some(file), _) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("{}: {error}", file.display()))?;
                let text = Secret::new(text);
                let line = text.expose();
                let line = line.strip_suffix('\n').unwrap_or(line);
                Some(line.strip_suffix('\r').unwrap_or(line).to_owned())
            }
            (None, Some(text)) => Some(text.clone()),
            (None, None) => match std::env::var(SECRET_VARIABLE) {
                Ok(text) => Some(text),
                Err(std::env::VarError::NotPresent) => None,
                Err(error) => return Err(format!("{SECRET_VARIABLE}: {error}")),
            },
        };
        Ok(text.map(Secret::new))
    }

    async fn signer(&self, secret: Option<&Secret<String>>) -> Result<Signer, Refusal> {
        let (Some(file), Some(name)) = (&self.config, &self.authorizer) else {
            let preset = self.preset.as_deref().unwrap_or_default();
            let public_url = self.public_url.clone().unwrap_or_else(|| self.url.clone());
            return Ok(Signer::of_preset(preset, secret, public_url)?);
        };
        let vault = Vault::default();
        let compiled = fetched(std::slice::from_ref(file), &vault).await;
        let compiled = compiled.map_err(|text| Refusal(Exit::CannotStart, text))?;
        // What is wrong has been printed.
        let blueprint = blueprint_or_problems(compiled)
            .ok_or_else(|| Refusal(Exit::Problems, String::new()))?;
        let mut named = blueprint.routes().flat_map(|route| &route.authorizers);
        let spec = match named.find(|(known, _)| known == name) {
            Some((_, authn::Spec::Webhook(spec))) => spec,
            Some(_) => return Err(format!("`{name}` is not a webhook authorizer").into()),
            None => return Err(format!("no route has the authorizer `{name}`").into()),
        };
        Ok(Signer::of_authorizer(
            spec,
            secret,
            self.public_url.clone(),
        )?)
    }

    /// The request so far.
    fn draft(&self) -> Result<Draft, String> {
        let url: Uri = self
            .url
            .parse()
            .map_err(|error| format!("{:?} is not a URL: {error}", self.url))?;
        if !["http", "https"].contains(&url.scheme_str().unwrap_or_default()) {
            return Err(format!(
                "{:?} is not a URL; write http://… or https://…",
                self.url
            ));
        }
        let mut headers = headers::read(&self.headers)?;
        let body = self.body()?;
        if let Some(kind) = content_type(&body, self.preset.as_deref()) {
            headers
                .entry(CONTENT_TYPE)
                .or_insert(HeaderValue::from_static(kind));
        }
        Ok(Draft {
            method: self.method.clone(),
            url,
            headers,
            body,
        })
    }

    fn body(&self) -> Result<Bytes, String> {
        let written = self
            .data
            .as_deref()
            .map(|data| data.strip_prefix('@').ok_or(data));
        Ok(match written {
            // Twilio's deliveries are forms.
            None if self.preset.as_deref() == Some("twilio") => Bytes::new(),
            None => Bytes::from_static(b"{}"),
            Some(Err(text)) => text.as_bytes().to_vec().into(),
            Some(Ok("-")) => {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .read_to_end(&mut bytes)
                    .map_err(|error| format!("standard input cannot be read: {error}"))?;
                bytes.into()
            }
            Some(Ok(file)) => std::fs::read(file)
                .map_err(|error| format!("{file}: {error}"))?
                .into(),
        })
    }
}

/// What a body is, unless a header says it.
fn content_type(body: &[u8], preset: Option<&str>) -> Option<&'static str> {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    match std::str::from_utf8(body) {
        _ if is_json => Some("application/json"),
        Ok(_) if preset == Some("twilio") => Some("application/x-www-form-urlencoded"),
        Ok("") => None,
        Ok(_) => Some("text/plain; charset=utf-8"),
        Err(_) => Some("application/octet-stream"),
    }
}

/// A time in milliseconds since 1970.
fn time_of(text: &str) -> Result<i64, String> {
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => Some(seconds),
        Err(_) => OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .map(OffsetDateTime::unix_timestamp),
    };
    seconds
        .and_then(|seconds| seconds.checked_mul(1_000))
        .ok_or_else(|| "write seconds since 1970, or 2026-03-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_or_a_date() {
        assert_eq!(time_of("1700000000"), Ok(1_700_000_000_000));
        assert_eq!(time_of("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert!(time_of("yesterday").is_err());
    }

    #[test]
    fn a_body_s_kind_is_told_from_its_bytes() {
        assert_eq!(content_type(b"{}", None), Some("application/json"));
        assert_eq!(content_type(b"", None), None);
        let form = Some("application/x-www-form-urlencoded");
        assert_eq!(content_type(b"a=1", Some("twilio")), form);
        assert_eq!(
            content_type(b"\xff", None),
            Some("application/octet-stream")
        );
    }
}
