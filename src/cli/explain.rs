//! `penstock explain`: what would become of a request, with nothing sent.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Uri};

use super::load::{Names, blueprint_or_problems, fetched};
use super::rehearsal::Rehearsal;
use super::{Exit, headers, print};
use crate::config::secrets::Vault;
use crate::pipeline::Explanation;
use crate::plan::Blueprint;

/// Show which route a request would take, what each phase would decide, and the exact service call. Nothing is sent
#[derive(Debug, Args)]
pub struct Explain {
    /// A route file, or a folder of them
    file: PathBuf,
    #[command(flatten)]
    names: Names,
    /// The method, such as POST
    method: String,
    /// The path as a client would send it, with its query
    path: String,
    /// A header, `name: value`; may be given several times
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The body; `@FILE` reads a file, `@-` standard input
    #[arg(short = 'd', long = "data", value_name = "BODY")]
    data: Option<String>,
    /// The listener that the request comes in on [default: the first one that has a route for it]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The address that it comes from; what `X-Forwarded-For` says counts where the listener trusts that address
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    from: IpAddr,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub fn run(&self) -> Exit {
        let (request, body) = match self.request() {
            Ok(request) => request,
            Err(refusal) => {
                eprintln!("error: {refusal}");
                return Exit::Usage;
            }
        };
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("error: the runtime cannot be started: {error}");
                return Exit::CannotStart;
            }
        };
        let vault = Vault::with_vars(self.names.vars.clone());
        let compiled = fetched(std::slice::from_ref(&self.file), &vault);
        let blueprint = match runtime.block_on(compiled) {
            Ok(compiled) => blueprint_or_problems(compiled),
            Err(refusal) => {
                eprintln!("error: {refusal}");
                return Exit::CannotStart;
            }
        };
        let Some(blueprint) = blueprint else {
            return Exit::Problems;
        };
        if let Some(name) = &self.listener
            && !blueprint
                .listeners
                .iter()
                .any(|listener| *listener.name == **name)
        {
            eprintln!("error: the listener `{name}` is not declared");
            return Exit::Usage;
        }
        // Keys of issuers are fetched as a gateway would fetch them.
        let explanation = match runtime.block_on(self.explained(&blueprint, request, &body)) {
            Ok(explanation) => explanation,
            Err(error) => {
                eprintln!("error: {error}");
                return Exit::CannotStart;
            }
        };
        if self.json {
            print(&format!("{:#}\n", serde_json::json!(explanation)));
        } else {
            print(&shown(&explanation));
        }
        if explanation.code.is_none() {
            Exit::Ok
        } else {
            Exit::Problems
        }
    }

    fn request(&self) -> Result<(http::Request<()>, Bytes), String> {
        let method: Method = self
            .method
            .parse()
            .map_err(|_| format!("{:?} is not a method", self.method))?;
        let uri: Uri = self
            .path
            .parse()
            .map_err(|error| format!("{:?} is not a path: {error}", self.path))?;
        let request = http::Request::builder().method(method).uri(uri);
        let mut headers = headers::read(&self.headers)?;
        let host = HeaderValue::from_static("localhost");
        headers.entry(http::header::HOST).or_insert(host);
        let mut request = request.body(()).map_err(|error| error.to_string())?;
        *request.headers_mut() = headers;
        let body = match self
            .data
            .as_deref()
            .map(|data| data.strip_prefix('@').ok_or(data))
        {
            None => Vec::new(),
            Some(Err(text)) => text.as_bytes().to_vec(),
            Some(Ok("-")) => {
                let mut bytes = Vec::new();
                std::io::stdin()
                    .read_to_end(&mut bytes)
                    .map_err(|error| format!("standard input cannot be read: {error}"))?;
                bytes
            }
            Some(Ok(file)) => std::fs::read(file).map_err(|error| format!("{file}: {error}"))?,
        };
        Ok((request, body.into()))
    }

    async fn explained(
        &self,
        blueprint: &Blueprint,
        request: http::Request<()>,
        body: &Bytes,
    ) -> std::io::Result<Explanation> {
        let rehearsal = Rehearsal::of(blueprint)?;
        let head = request.into_parts().0;
        let call = rehearsal.call(blueprint, head, self.listener.as_deref(), self.from.into());
        Ok(rehearsal.explain(&call, body, None).await)
    }
}

fn shown(explanation: &Explanation) -> String {
    let mut text = String::new();
    for decision in &explanation.phases {
        let mark = if decision.passes { "passes" } else { "REFUSED" };
        text += &format!("{:<13} {mark:<8} {}\n", decision.phase, decision.detail);
        if decision.phase == "route" {
            for (name, value) in &explanation.variables {
                text += &format!("{:<22} {name} = {value}\n", "");
            }
        }
    }
    if let Some(call) = &explanation.call {
        text += &format!("\n{call:#}\n");
    }
    text
}
