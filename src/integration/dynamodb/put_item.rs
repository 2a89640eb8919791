//! `DynamoDB-PutItem`. Putting the same item again changes nothing, so a record whose outcome is unknown is sent again
//! without harm; with a `ConditionExpression` the second may be refused for the first one's sake, and then asks what
//! stands there: the same item is a success.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::attribute::{AttributeMap, Attributes, Empty, size};
use super::{
    CONTENT_TYPE, Names, compiled_names, compiled_region, expression, names, region, table,
};
use crate::aws::Operation;
use crate::integration::answer::{Answered, NativeAnswer, Rendered, object};
use crate::integration::parameter::{Compiler, Flaw, MapError, Param, optional};
use crate::integration::reach::{Reached, ReachedKind};
use crate::integration::refusal::{Service, TargetError};
use crate::integration::{
    Called, Effect, Kind, OwnKeys, TargetName, Targets, called, service_body,
};
use crate::mapping::Sources;
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// An item with its attributes' names (service quotas).
const ITEM_BYTES: usize = 409_600;

/// Writes one item into a table, in the place of one of the same key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DynamoDB-PutItem")]
pub struct PutItem {
    /// The table, by name or ARN.
    #[serde(rename = "TableName")]
    #[schemars(required)]
    table_name: Option<Text>,
    /// The item, its primary key among its attributes. At most 400 KB. An attribute whose mapped value is empty is left
    /// out.
    #[serde(rename = "Item")]
    #[schemars(required)]
    item: Option<AttributeMap>,
    /// What has to be so for the item to be written: `attribute_not_exists(id)`. Else the record is refused (422).
    #[serde(rename = "ConditionExpression", default)]
    condition_expression: Option<Text>,
    /// Names that stand for attributes in expressions: `#year: year`.
    #[serde(rename = "ExpressionAttributeNames", default)]
    #[schemars(with = "std::collections::BTreeMap<String, Text>")]
    expression_attribute_names: IndexMap<String, Text>,
    /// Values that stand in expressions: `":now": { N: $context.requestTimeEpoch }`.
    #[serde(rename = "ExpressionAttributeValues", default)]
    expression_attribute_values: Option<AttributeMap>,
    /// `NONE`, or `ALL_OLD` for the item that stood there before.
    #[serde(rename = "ReturnValues", default)]
    return_values: Option<Text>,
    /// `NONE`, or `ALL_OLD` for the item that stood in the way of the condition.
    #[serde(rename = "ReturnValuesOnConditionCheckFailure", default)]
    return_values_on_failure: Option<Text>,
    /// `NONE`, `TOTAL` or `INDEXES`.
    #[serde(rename = "ReturnConsumedCapacity", default)]
    return_consumed_capacity: Option<Text>,
    /// `NONE` or `SIZE`.
    #[serde(rename = "ReturnItemCollectionMetrics", default)]
    return_item_collection_metrics: Option<Text>,
    /// The region to call in; default: the ARN's, else `aws.region`.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
}

/// A compiled `DynamoDB-PutItem`.
#[derive(Clone, Debug)]
pub struct Compiled {
    table_name: Param<String>,
    item: Attributes,
    condition_expression: Option<Param<String>>,
    expression_attribute_names: Names,
    expression_attribute_values: Option<Attributes>,
    return_values: Option<Param<String>>,
    return_values_on_failure: Option<Param<String>>,
    return_consumed_capacity: Option<Param<String>>,
    return_item_collection_metrics: Option<Param<String>>,
    region: Option<Param<String>>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(rename = "TableName")]
    table_name: String,
    #[serde(rename = "Item")]
    item: Map<String, Value>,
    #[serde(
        rename = "ConditionExpression",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    condition_expression: Option<String>,
    #[serde(
        rename = "ExpressionAttributeNames",
        default,
        skip_serializing_if = "IndexMap::is_empty"
    )]
    expression_attribute_names: IndexMap<String, String>,
    #[serde(
        rename = "ExpressionAttributeValues",
        default,
        skip_serializing_if = "Map::is_empty"
    )]
    expression_attribute_values: Map<String, Value>,
    #[serde(
        rename = "ReturnValues",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    return_values: Option<String>,
    #[serde(
        rename = "ReturnValuesOnConditionCheckFailure",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    return_values_on_failure: Option<String>,
    #[serde(
        rename = "ReturnConsumedCapacity",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    return_consumed_capacity: Option<String>,
    #[serde(
        rename = "ReturnItemCollectionMetrics",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    return_item_collection_metrics: Option<String>,
    #[serde(rename = "Region", default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// The answer: what was asked to be told of the write, in the service's own JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Put(Map<String, Value>);

fn returned(bytes: bytes::Bytes) -> Result<String, Flaw> {
    super::one_of(bytes, &["NONE", "ALL_OLD"])
}

fn metrics(bytes: bytes::Bytes) -> Result<String, Flaw> {
    super::one_of(bytes, &["NONE", "SIZE"])
}

impl Kind for PutItem {
    const NAME: &'static str = "DynamoDB-PutItem";
    const SERVICE: Service = Service::DynamoDb;
    const EFFECT: Effect = Effect::Stores;
    const FIELDS: &[&str] = &["attributes"];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Put;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        const VALUES: &str = "ExpressionAttributeValues";
        let table_name = compiler.required("TableName", &self.table_name, table);
        let item = match &self.item {
            Some(item) => item.compile("Item", Empty::Dropped, compiler),
            None => {
                compiler.error(
                    "Item",
                    "the parameter `Item` is missing",
                    "write its attributes: { id: { S: $context.requestId }, body: { S: $request.body } }",
                );
                None
            }
        };
        let region = compiled_region(table_name.as_ref(), &self.region, compiler);
        let values = self.expression_attribute_values.as_ref();
        let values = values.and_then(|map| map.compile(VALUES, Empty::Refused, compiler));
        let strangers: Vec<String> = values
            .iter()
            .filter_map(Attributes::known)
            .flatten()
            .filter(|name| !super::placeholder(name, ':'))
            .map(str::to_owned)
            .collect();
        for name in strangers {
            let at = compiler.at.key(VALUES).key(&name);
            compiler
                .problems
                .error(&at, format!("{name:?} is not a placeholder"))
                .help("it begins with `:`: `\":now\": { N: … }`");
        }
        Some(Compiled {
            condition_expression: compiler.optional(
                "ConditionExpression",
                &self.condition_expression,
                expression,
            ),
            expression_attribute_names: compiled_names(&self.expression_attribute_names, compiler),
            expression_attribute_values: values,
            return_values: compiler.optional("ReturnValues", &self.return_values, returned),
            return_values_on_failure: compiler.optional(
                "ReturnValuesOnConditionCheckFailure",
                &self.return_values_on_failure,
                returned,
            ),
            return_consumed_capacity: compiler.optional(
                "ReturnConsumedCapacity",
                &self.return_consumed_capacity,
                super::capacity,
            ),
            return_item_collection_metrics: compiler.optional(
                "ReturnItemCollectionMetrics",
                &self.return_item_collection_metrics,
                metrics,
            ),
            region,
            table_name: table_name?,
            item: item?,
        })
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        let (table, region) = (&compiled.table_name, &compiled.region);
        let actions = &["dynamodb:PutItem"];
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
        let item = compiled.item.value(sources)?;
        let bytes = size(&item);
        if bytes > ITEM_BYTES {
            return Err(MapError::Limit {
                target: "DynamoDB",
                parameter: "Item".to_owned(),
                limit: format!("{bytes} bytes, at most {ITEM_BYTES} (400 KB) are allowed"),
            });
        }
        let values = compiled.expression_attribute_values.as_ref();
        let values = values.map(|values| values.value(sources)).transpose()?;
        Ok(Request {
            item,
            condition_expression: optional(&compiled.condition_expression, sources)?,
            expression_attribute_names: names(&compiled.expression_attribute_names, sources)?,
            expression_attribute_values: values.unwrap_or_default(),
            return_values: optional(&compiled.return_values, sources)?,
            return_values_on_failure: optional(&compiled.return_values_on_failure, sources)?,
            return_consumed_capacity: optional(&compiled.return_consumed_capacity, sources)?,
            return_item_collection_metrics: optional(
                &compiled.return_item_collection_metrics,
                sources,
            )?,
            region: region(&compiled.region, &table_name, sources)?,
            table_name,
        })
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Put>, TargetError> {
        let (service, operation) = (Service::DynamoDb, Operation::PutItem);
        let body = service_body(&request, service)?;
        let region = request.region.as_deref();
        let called: Called<Map<String, Value>> =
            called(targets, operation, service, region, body, deadline).await?;
        // the service says nothing of a write but that it was one: only the id tells its answer from another's
        if called.request_id.is_none() {
            return Err(TargetError::no_receipt(service, "the request's id"));
        }
        Ok(Called {
            answer: Put(called.answer),
            request_id: called.request_id,
        })
    }
}

impl PutItem {
    /// `None` where each request names the table.
    pub(in crate::integration) fn table(compiled: &Compiled) -> Option<&str> {
        compiled.table_name.constant().map(String::as_str)
    }
}

impl Request {
    pub(in crate::integration) fn target(&self) -> TargetName {
        super::target(&self.table_name, self.region.as_deref())
    }

    /// The target, if it is the same for every request.
    pub(in crate::integration) fn target_of(compiled: &Compiled) -> Option<TargetName> {
        let region = Param::constant_if_any(&compiled.region)?.map(String::as_str);
        Some(super::target(compiled.table_name.constant()?, region))
    }

    pub(in crate::integration) fn size(&self) -> usize {
        size(&self.item)
    }

    /// The same call, which is told what stands there if its condition refuses it.
    pub(in crate::integration) fn asking(mut self) -> Request {
        if self.condition_expression.is_some() {
            self.return_values_on_failure = Some("ALL_OLD".to_owned());
        }
        self
    }

    /// Whether the item that stood in the way of the condition is this one: an earlier attempt has written it.
    pub(in crate::integration) fn is_there(&self, refusal: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Refused {
            #[serde(rename = "Item")]
            item: Map<String, Value>,
        }
        // numbers and sets may come back in another spelling: then they differ, and the record is a dead letter
        serde_json::from_slice::<Refused>(refusal).is_ok_and(|refused| refused.item == self.item)
    }
}

impl Answered for Put {
    fn native(&self) -> NativeAnswer {
        NativeAnswer::Stored(object([("attributes", self.0.get("Attributes").cloned())]))
    }

    fn aws(&self, _: &str) -> Rendered {
        Rendered::new(200, CONTENT_TYPE, Value::Object(self.0.clone()).to_string())
    }

    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "attributes" => Some(Cow::Owned(self.0.get("Attributes")?.to_string())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integration::tests::{compile, json, map, problems};
    use crate::model::code::Code;

    #[test]
    fn every_parameter_stands_in_the_call() {
        let integration = compile(
            r##"{"DynamoDB-PutItem": {"TableName": "orders", "Item": {"id": {"S": "$request.header.x-a"}, "n": {"N": "$request.header.x-number"},
            "raw": {"B": "$request.body"}, "b64": {"B": "AAEC"}, "flag": {"BOOL": true}, "nothing": {"NULL": true}, "gone": {"S": "${request.header.x-missing:-}"},
            "m": {"M": {"k": {"S": "v"}}}, "l": {"L": [{"S": "a"}, {"N": 1.5}]}, "ss": {"SS": ["a", "$request.header.x-a"]}},
            "ConditionExpression": "attribute_not_exists(#i) OR n < :n", "ExpressionAttributeNames": {"#i": "id"}, "ExpressionAttributeValues": {":n": {"N": "7"}},
            "ReturnValues": "ALL_OLD", "ReturnValuesOnConditionCheckFailure": "NONE", "ReturnConsumedCapacity": "TOTAL", "ReturnItemCollectionMetrics": "SIZE"}}"##,
        );
        assert!(integration.stores() && integration.refuses_spool().is_none());
        assert_eq!(
            json(&integration, b"\x00\xff"),
            r##"{"DynamoDB-PutItem":{"TableName":"orders","Item":{"id":{"S":"alpha"},"n":{"N":"7"},"raw":{"B":"AP8="},"b64":{"B":"AAEC"},"flag":{"BOOL":true},"nothing":{"NULL":true},"m":{"M":{"k":{"S":"v"}}},"l":{"L":[{"S":"a"},{"N":"1.5"}]},"ss":{"SS":["a","alpha"]}},"ConditionExpression":"attribute_not_exists(#i) OR n < :n","ExpressionAttributeNames":{"#i":"id"},"ExpressionAttributeValues":{":n":{"N":"7"}},"ReturnValues":"ALL_OLD","ReturnValuesOnConditionCheckFailure":"NONE","ReturnConsumedCapacity":"TOTAL","ReturnItemCollectionMetrics":"SIZE"}}"##
        );
        let target = map(&integration, b"").unwrap().target().unwrap();
        assert_eq!(target.as_str(), "dynamodb:orders");
    }

    #[test]
    fn the_body_can_be_the_item_and_says_its_types() {
        let integration = compile(
            r#"{"DynamoDB-PutItem": {"TableName": "orders", "Item": "$request.body.item"}}"#,
        );
        assert_eq!(
            json(&integration, br#"{"item": {"id": {"S": "1"}}}"#),
            r#"{"DynamoDB-PutItem":{"TableName":"orders","Item":{"id":{"S":"1"}}}}"#
        );
        let wrong = map(&integration, br#"{"item": {"id": "1"}}"#).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "Item holds a value that does not say its type"
        );
    }

    #[test]
    fn an_item_over_400_kb_is_refused_before_it_is_sent() {
        let integration = compile(
            r#"{"DynamoDB-PutItem": {"TableName": "orders", "Item": {"id": {"S": "1"}, "raw": {"B": "$request.body"}}}}"#,
        );
        let most = ITEM_BYTES - "id1raw".len();
        assert!(map(&integration, &vec![0; most]).is_ok());
        let error = map(&integration, &vec![0; most + 1]).unwrap_err();
        assert_eq!((error.code(), error.status()), (Code::TargetLimit, 413));
    }

    #[test]
    fn a_record_is_kept_and_read_back_word_for_word() {
        let integration = compile(
            r#"{"DynamoDB-PutItem": {"TableName": "orders", "Item": {"id": {"S": "1"}}, "Region": "us-east-1"}}"#,
        );
        let request = map(&integration, b"").unwrap();
        let kept = crate::integration::Request::decode(&request.encode().unwrap()).unwrap();
        assert_eq!(
            serde_json::to_string(&kept).unwrap(),
            serde_json::to_string(&request).unwrap()
        );
        let told = request.spooled_answer("s-1").unwrap();
        assert_eq!(told.native(), NativeAnswer::Stored(Map::new()));
    }

    #[test]
    fn what_stands_in_the_way_of_a_resend_may_be_itself() {
        let integration = compile(
            r#"{"DynamoDB-PutItem": {"TableName": "orders", "Item": {"id": {"S": "1"}}, "ConditionExpression": "attribute_not_exists(id)"}}"#,
        );
        let crate::integration::Call::DynamoDbPutItem(request) =
            map(&integration, b"").unwrap().call
        else {
            panic!("a put");
        };
        let request = request.asking();
        assert_eq!(request.return_values_on_failure.as_deref(), Some("ALL_OLD"));
        assert!(request.is_there(br#"{"__type":"x","Item":{"id":{"S":"1"}}}"#));
        assert!(!request.is_there(br#"{"__type":"x","Item":{"id":{"S":"1"},"by":{"S":"other"}}}"#));
        assert!(!request.is_there(br#"{"__type":"x"}"#));
    }

    #[test]
    fn what_is_missing_or_no_placeholder_is_refused_at_check() {
        assert_eq!(problems(r#"{"DynamoDB-PutItem": {}}"#).len(), 2);
        assert_eq!(
            problems(
                r#"{"DynamoDB-PutItem": {"TableName": "orders", "Item": {"id": {"S": "1"}}, "ExpressionAttributeValues": {"n": {"N": "1"}}}}"#
            ),
            [
                "error: integration.DynamoDB-PutItem.ExpressionAttributeValues.n: \"n\" is not a placeholder; it begins with `:`: `\":now\": { N: … }`"
            ]
        );
    }
}
