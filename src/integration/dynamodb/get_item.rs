//! `DynamoDB-GetItem`.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::attribute::{AttributeMap, Attributes, Empty};
use super::{
    CONTENT_TYPE, Names, compiled_names, compiled_region, expression, names, region, table,
};
use crate::aws::Operation;
use crate::integration::answer::{Answered, NativeAnswer, Rendered};
use crate::integration::parameter::{Compiler, MapError, Param, optional};
use crate::integration::reach::{Reached, ReachedKind};
use crate::integration::refusal::{Service, TargetError};
use crate::integration::{Called, Effect, Kind, OwnKeys, Targets, called, service_body};
use crate::mapping::Sources;
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// Reads one item of a table.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DynamoDB-GetItem")]
pub struct GetItem {
    /// The table, by name or ARN.
    #[serde(rename = "TableName")]
    #[schemars(required)]
    table_name: Option<Text>,
    /// The whole primary key.
    #[serde(rename = "Key")]
    #[schemars(required)]
    key: Option<AttributeMap>,
    /// Whether the latest write is seen for certain, at twice the price. Default: false.
    #[serde(rename = "ConsistentRead", default)]
    consistent_read: Option<Text>,
    /// The attributes to give, by comma-separated paths. Default: all.
    #[serde(rename = "ProjectionExpression", default)]
    projection_expression: Option<Text>,
    /// Names that stand for attributes in expressions: `#year: year`.
    #[serde(rename = "ExpressionAttributeNames", default)]
    #[schemars(with = "std::collections::BTreeMap<String, Text>")]
    expression_attribute_names: IndexMap<String, Text>,
    /// `NONE`, `TOTAL` or `INDEXES`.
    #[serde(rename = "ReturnConsumedCapacity", default)]
    return_consumed_capacity: Option<Text>,
    /// The region to call in; default: the ARN's, else `aws.region`.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
}

/// A compiled `DynamoDB-GetItem`.
#[derive(Clone, Debug)]
pub struct Compiled {
    table_name: Param<String>,
    key: Attributes,
    consistent_read: Option<Param<bool>>,
    projection_expression: Option<Param<String>>,
    expression_attribute_names: Names,
    return_consumed_capacity: Option<Param<String>>,
    region: Option<Param<String>>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    #[serde(rename = "TableName")]
    table_name: String,
    #[serde(rename = "Key")]
    key: Map<String, Value>,
    #[serde(rename = "ConsistentRead", skip_serializing_if = "Option::is_none")]
    consistent_read: Option<bool>,
    #[serde(
        rename = "ProjectionExpression",
        skip_serializing_if = "Option::is_none"
    )]
    projection_expression: Option<String>,
    #[serde(
        rename = "ExpressionAttributeNames",
        skip_serializing_if = "IndexMap::is_empty"
    )]
    expression_attribute_names: IndexMap<String, String>,
    #[serde(
        rename = "ReturnConsumedCapacity",
        skip_serializing_if = "Option::is_none"
    )]
    return_consumed_capacity: Option<String>,
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// The answer, in the service's own JSON; without `Item` where there is none of that key.
#[derive(Clone, Debug, PartialEq)]
pub struct Got(Map<String, Value>);

impl Kind for GetItem {
    const NAME: &'static str = "DynamoDB-GetItem";
    const SERVICE: Service = Service::DynamoDb;
    const EFFECT: Effect = Effect::Reads;
    const FIELDS: &[&str] = &["item"];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Got;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let table_name = compiler.required("TableName", &self.table_name, table);
        let key = match &self.key {
            Some(key) => key.compile("Key", Empty::Refused, compiler),
            None => {
                compiler.error(
                    "Key",
                    "the parameter `Key` is missing",
                    "write the whole primary key: { year: { S: $request.querystring.year } }",
                );
                None
            }
        };
        let region = compiled_region(table_name.as_ref(), &self.region, compiler);
        Some(Compiled {
            consistent_read: compiler.optional(
                "ConsistentRead",
                &self.consistent_read,
                super::boolean,
            ),
            projection_expression: compiler.optional(
                "ProjectionExpression",
                &self.projection_expression,
                expression,
            ),
            expression_attribute_names: compiled_names(&self.expression_attribute_names, compiler),
            return_consumed_capacity: compiler.optional(
                "ReturnConsumedCapacity",
                &self.return_consumed_capacity,
                super::capacity,
            ),
            region,
            table_name: table_name?,
            key: key?,
        })
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        let (table, region) = (&compiled.table_name, &compiled.region);
        let actions = &["dynamodb:GetItem"];
        Some(Reached::by(
            ReachedKind::Table,
            "TableName",
            table,
            region,
            actions,
        ))
    }

    fn label(compiled: &Compiled) -> Option<String> {
        compiled
            .table_name
            .constant()
            .map(|name| super::label(name))
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let table_name = compiled.table_name.value(sources)?;
        Ok(Request {
            key: compiled.key.value(sources)?,
            consistent_read: optional(&compiled.consistent_read, sources)?,
            projection_expression: optional(&compiled.projection_expression, sources)?,
            expression_attribute_names: names(&compiled.expression_attribute_names, sources)?,
            return_consumed_capacity: optional(&compiled.return_consumed_capacity, sources)?,
            region: region(&compiled.region, &table_name, sources)?,
            table_name,
        })
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Got>, TargetError> {
        let (service, operation) = (Service::DynamoDb, Operation::GetItem);
        let region = request.region.clone();
        let body = service_body(&request, service)?;
        let region = region.as_deref();
        let called: Called<Map<String, Value>> =
            called(targets, operation, service, region, body, deadline).await?;
        // an item that is not there gives `{}`: only the id tells the service's answer from another's
        if called.request_id.is_none() {
            return Err(TargetError::incomplete(service, "the request's id"));
        }
        Ok(Called {
            answer: Got(called.answer),
            request_id: called.request_id,
        })
    }
}

impl Answered for Got {
    fn native(&self) -> NativeAnswer {
        NativeAnswer::Fields(self.0.clone())
    }

    fn aws(&self, _: &str) -> Rendered {
        Rendered::new(200, CONTENT_TYPE, Value::Object(self.0.clone()).to_string())
    }

    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "item" => Some(Cow::Owned(self.0.get("Item")?.to_string())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::integration::tests::{compile, json, map, problems};
    use crate::model::code::Code;

    #[test]
    fn every_parameter_stands_in_the_call() {
        let integration = compile(
            r##"{"DynamoDB-GetItem": {"TableName": "winners", "Key": {"year": {"S": "$request.querystring.q"}, "n": {"N": "7"}},
            "ConsistentRead": true, "ProjectionExpression": "#w, country", "ExpressionAttributeNames": {"#w": "winner"},
            "ReturnConsumedCapacity": "TOTAL", "Region": "us-east-1"}}"##,
        );
        assert_eq!(integration.target_label(), "winners");
        assert!(integration.reads() && !integration.stores() && integration.touches_aws());
        assert_eq!(
            json(&integration, b""),
            r##"{"DynamoDB-GetItem":{"TableName":"winners","Key":{"year":{"S":"query"},"n":{"N":"7"}},"ConsistentRead":true,"ProjectionExpression":"#w, country","ExpressionAttributeNames":{"#w":"winner"},"ReturnConsumedCapacity":"TOTAL","Region":"us-east-1"}}"##
        );
        let by_arn = compile(
            r#"{"DynamoDB-GetItem": {"TableName": "arn:aws:dynamodb:eu-north-1:1:table/winners", "Key": {"year": {"S": "x"}}}}"#,
        );
        assert!(json(&by_arn, b"").contains(r#""Region":"eu-north-1""#));
    }

    #[test]
    fn a_key_that_the_request_lacks_is_refused() {
        let integration = compile(
            r#"{"DynamoDB-GetItem": {"TableName": "winners", "Key": {"year": {"S": "$request.querystring.missing"}}}}"#,
        );
        let error = map(&integration, b"").unwrap_err();
        assert_eq!(error.code(), Code::MappingUnresolved);
        assert!(error.to_string().contains("Key.year"), "{error}");
        let empty = compile(
            r#"{"DynamoDB-GetItem": {"TableName": "winners", "Key": {"year": {"S": "${request.querystring.missing:-}"}}}}"#,
        );
        assert_eq!(
            map(&empty, b"").unwrap_err().to_string(),
            "Key.year is empty"
        );
    }

    #[test]
    fn what_the_service_would_refuse_is_refused_at_check() {
        assert_eq!(
            problems(
                r#"{"DynamoDB-GetItem": {"TableName": "x", "Key": {"a": "b", "c": {"S": "x", "N": "1"}, "d": {"X": "1"}, "e": {"N": "one"}, "f": {"SS": "x"}},
                "ConsistentRead": "maybe", "ExpressionAttributeNames": {"w": "winner"}, "ReturnConsumedCapacity": "ALL"}}"#
            ),
            [
                "error: integration.DynamoDB-GetItem.TableName: \"x\" is not a table's name; allowed: letters, digits, `_`, `.` and `-`, 3 to 255 characters",
                "error: integration.DynamoDB-GetItem.Key.a: an attribute's value says its type; write one type and its value, as in `{ S: $request.body.name }`; types: S, N, B, BOOL, NULL, M, L, SS, NS, BS",
                "error: integration.DynamoDB-GetItem.Key.c: an attribute has one type; write one type and its value, as in `{ S: $request.body.name }`; types: S, N, B, BOOL, NULL, M, L, SS, NS, BS",
                "error: integration.DynamoDB-GetItem.Key.d.X: \"X\" is not a type; write one type and its value, as in `{ S: $request.body.name }`; types: S, N, B, BOOL, NULL, M, L, SS, NS, BS",
                "error: integration.DynamoDB-GetItem.Key.e.N: is not a number; write one type and its value, as in `{ S: $request.body.name }`; types: S, N, B, BOOL, NULL, M, L, SS, NS, BS",
                "error: integration.DynamoDB-GetItem.Key.f.SS: `SS` is a list; write one type and its value, as in `{ S: $request.body.name }`; types: S, N, B, BOOL, NULL, M, L, SS, NS, BS",
                "error: integration.DynamoDB-GetItem.ConsistentRead: \"maybe\" must be true or false",
                "error: integration.DynamoDB-GetItem.ExpressionAttributeNames.w: \"w\" is not a placeholder; it begins with `#`: `#year: year`",
                "error: integration.DynamoDB-GetItem.ReturnConsumedCapacity: \"ALL\" is not a word for it; allowed: NONE, TOTAL, INDEXES",
            ]
        );
        assert_eq!(problems(r#"{"DynamoDB-GetItem": {}}"#).len(), 2);
    }
}
