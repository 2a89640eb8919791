//! `AppConfig-GetConfiguration`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{Answered, NativeAnswer, Rendered, object};
use super::parameter::{Compiler, MapError, Param, optional, text};
use super::reach::{Reached, ReachedKind};
use super::refusal::{Lost, Service, TargetError};
use super::{Called, Effect, Kind, OwnKeys, Targets, within};
use crate::mapping::Sources;
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// Gets a configuration that is deployed to an environment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AppConfig-GetConfiguration")]
pub struct GetConfiguration {
    /// The application, by name or id.
    #[serde(rename = "Application")]
    #[schemars(required)]
    application: Option<Text>,
    /// The environment, by name or id.
    #[serde(rename = "Environment")]
    #[schemars(required)]
    environment: Option<Text>,
    /// The configuration profile, by name or id.
    #[serde(rename = "Configuration")]
    #[schemars(required)]
    configuration: Option<Text>,
    /// An id of the client, which decides when a gradual deployment reaches it. 1 to 64 characters.
    #[serde(rename = "ClientId")]
    #[schemars(required)]
    client_id: Option<Text>,
    /// The version that the client has: if it is current, the answer is 204 without content.
    #[serde(rename = "ClientConfigurationVersion", default)]
    client_configuration_version: Option<Text>,
    /// The region to call in; default `aws.region`.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
}

/// A compiled `AppConfig-GetConfiguration`.
#[derive(Clone, Debug)]
pub struct Compiled {
    application: Param<String>,
    environment: Param<String>,
    configuration: Param<String>,
    client_id: Param<String>,
    client_configuration_version: Option<Param<String>>,
    region: Option<Param<String>>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    #[serde(rename = "Application")]
    application: String,
    #[serde(rename = "Environment")]
    environment: String,
    #[serde(rename = "Configuration")]
    configuration: String,
    #[serde(rename = "ClientId")]
    client_id: String,
    #[serde(
        rename = "ClientConfigurationVersion",
        skip_serializing_if = "Option::is_none"
    )]
    client_configuration_version: Option<String>,
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// The answer: the content, with its own type. None: the client's version is current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    content: Option<Bytes>,
    content_type: Option<String>,
    version: Option<String>,
}

impl Kind for GetConfiguration {
    const NAME: &'static str = "AppConfig-GetConfiguration";
    const SERVICE: Service = Service::AppConfig;
    const EFFECT: Effect = Effect::Reads;
    const FIELDS: &[&str] = &["configurationVersion", "contentType"];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Configuration;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let application = compiler.required("Application", &self.application, text::<1, 64>);
        let environment = compiler.required("Environment", &self.environment, text::<1, 64>);
        let configuration = compiler.required("Configuration", &self.configuration, text::<1, 128>);
        let client_id = compiler.required("ClientId", &self.client_id, text::<1, 64>);
        Some(Compiled {
            client_configuration_version: compiler.optional(
                "ClientConfigurationVersion",
                &self.client_configuration_version,
                text::<1, 1024>,
            ),
            region: compiler.region(&self.region),
            application: application?,
            environment: environment?,
            configuration: configuration?,
            client_id: client_id?,
        })
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        Some(Reached {
            kind: ReachedKind::Configuration,
            name: GetConfiguration::label(compiled),
            region: compiled.region.as_ref().and_then(Param::constant).cloned(),
            parameter: "Application",
            actions: &["appconfig:GetConfiguration"],
        })
    }

    fn label(compiled: &Compiled) -> Option<String> {
        let of = |param: &Param<String>| param.constant().cloned();
        Some(format!(
            "{}/{}/{}",
            of(&compiled.application)?,
            of(&compiled.environment)?,
            of(&compiled.configuration)?
        ))
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        Ok(Request {
            application: compiled.application.value(sources)?,
            environment: compiled.environment.value(sources)?,
            configuration: compiled.configuration.value(sources)?,
            client_id: compiled.client_id.value(sources)?,
            client_configuration_version: optional(
                &compiled.client_configuration_version,
                sources,
            )?,
            region: optional(&compiled.region, sources)?,
        })
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Configuration>, TargetError> {
        use aws_sdk_appconfig::operation::RequestId as _;
        let lost = Lost::Harmless;
        let client = targets
            .aws
            .appconfig(request.region.as_deref(), deadline)
            .await;
        let client =
            client.map_err(|error| TargetError::from_call(Service::AppConfig, lost, error))?;
        // the one call that the vendor's gateway makes, deprecated as it is
        #[allow(deprecated)]
        let call = client
            .get_configuration()
            .application(request.application)
            .environment(request.environment)
            .configuration(request.configuration)
            .client_id(request.client_id)
            .set_client_configuration_version(request.client_configuration_version.clone());
        let output = within(Box::pin(call.send()), Service::AppConfig, lost, deadline).await?;
        // content of any type is a configuration: only the version tells the service's from another's
        if output.configuration_version.is_none() {
            let missing = "a configuration's version";
            return Err(TargetError::incomplete(Service::AppConfig, missing));
        }
        Ok(Called {
            request_id: output.request_id().map(str::to_owned),
            answer: Configuration::from(output, request.client_configuration_version),
        })
    }
}

impl Configuration {
    fn from(
        output: aws_sdk_appconfig::operation::get_configuration::GetConfigurationOutput,
        asked: Option<String>,
    ) -> Configuration {
        let content = output.content.map(|blob| Bytes::from(blob.into_inner()));
        let content = content.filter(|content| !content.is_empty());
        let current = asked.is_some() && asked == output.configuration_version;
        Configuration {
            // without content the answer is empty in either case; 204 says that this is because nothing is new
            content: content.or((!current).then(Bytes::new)),
            content_type: output.content_type,
            version: output.configuration_version,
        }
    }

    fn rendered(&self) -> Rendered {
        let version = self.version.as_deref().map(HeaderValue::from_str);
        let header = HeaderName::from_static("configuration-version");
        Rendered {
            status: self.status(),
            content_type: self.content.as_ref().and(self.content_type.clone()),
            headers: version
                .into_iter()
                .flatten()
                .map(|value| (header.clone(), value))
                .collect(),
            body: self.content.clone().unwrap_or_default(),
        }
    }
}

impl Answered for Configuration {
    fn native(&self) -> NativeAnswer {
        // Without content nothing is new: the version says so.
        let (text, encoding) = match self
            .content
            .as_deref()
            .map(|bytes| (bytes, std::str::from_utf8(bytes)))
        {
            None => (None, None),
            Some((_, Ok(text))) => (Some(text.to_owned()), None),
            Some((bytes, Err(_))) => (Some(BASE64.encode(bytes)), Some("base64")),
        };
        NativeAnswer::Fields(object([
            ("Content", text.map(Value::from)),
            ("ContentEncoding", encoding.map(Value::from)),
            (
                "ContentType",
                self.content
                    .as_ref()
                    .and(self.content_type.as_deref())
                    .map(Value::from),
            ),
            (
                "ConfigurationVersion",
                self.version.as_deref().map(Value::from),
            ),
        ]))
    }
    fn aws(&self, _: &str) -> Rendered {
        self.rendered()
    }
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "configurationVersion" => self.version.as_deref().map(Cow::Borrowed),
            "contentType" => self.content_type.as_deref().map(Cow::Borrowed),
            _ => None,
        }
    }
    fn status(&self) -> u16 {
        if self.content.is_some() { 200 } else { 204 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integration::tests::{compile, map, problems};
    use aws_sdk_appconfig::operation::get_configuration::GetConfigurationOutput;
    use aws_smithy_types::Blob;

    #[test]
    fn every_parameter_stands_in_the_call() {
        let yaml = r#"{"AppConfig-GetConfiguration": {"Application": "shop", "Environment": "prod", "Configuration": "flags",
            "ClientId": "$request.header.x-a", "ClientConfigurationVersion": "${request.header.x-missing:-}", "Region": "us-east-1"}}"#;
        let integration = compile(yaml);
        assert_eq!(integration.target_label(), "shop/prod/flags");
        assert_eq!(
            serde_json::to_string(&map(&integration, b"").unwrap()).unwrap(),
            r#"{"AppConfig-GetConfiguration":{"Application":"shop","Environment":"prod","Configuration":"flags","ClientId":"alpha","Region":"us-east-1"}}"#
        );
        assert_eq!(
            problems(r#"{"AppConfig-GetConfiguration": {"Region": "us-east-1"}}"#).len(),
            4
        );
    }

    #[test]
    fn the_native_answer_speaks_the_service_s_own_names() {
        let output = |content: &[u8]| {
            GetConfigurationOutput::builder()
                .content(Blob::new(content))
                .content_type("text/plain")
                .configuration_version("3")
                .build()
        };
        let native = |content: &[u8], asked: Option<&str>| match Configuration::from(
            output(content),
            asked.map(str::to_owned),
        )
        .native()
        {
            NativeAnswer::Fields(fields) => Value::from(fields).to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            native(b"on", None),
            r#"{"Content":"on","ContentType":"text/plain","ConfigurationVersion":"3"}"#
        );
        assert_eq!(
            native(b"\xff", None),
            r#"{"Content":"/w==","ContentEncoding":"base64","ContentType":"text/plain","ConfigurationVersion":"3"}"#
        );
        assert_eq!(native(b"", Some("3")), r#"{"ConfigurationVersion":"3"}"#);
    }

    #[test]
    fn content_keeps_its_type_and_a_current_version_is_204() {
        let output = |content: &str| {
            GetConfigurationOutput::builder()
                .content(Blob::new(content))
                .content_type("application/json")
                .configuration_version("3")
                .build()
        };
        let fresh = Configuration::from(output("{}"), Some("2".into())).aws("r");
        assert_eq!(
            (fresh.status, fresh.content_type.as_deref(), &fresh.body[..]),
            (200, Some("application/json"), &b"{}"[..])
        );
        assert_eq!(fresh.headers[0].1, "3");
        let current = Configuration::from(output(""), Some("3".into())).aws("r");
        assert_eq!(
            (
                current.status,
                current.content_type.as_deref(),
                current.body.len()
            ),
            (204, None, 0)
        );
        assert_eq!(Configuration::from(output(""), None).aws("r").status, 200);
    }
}
