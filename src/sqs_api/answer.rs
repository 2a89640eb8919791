//! Answers on their way out, in the protocol of their request: JSON as the actions made it, or the Query protocol's XML,
//! in which the same names stand for elements.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::model::request_id::RequestId;

use super::action::Action;
use super::fault::Fault;

/// The two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// AWS JSON 1.0.
    Json,
    Query,
}

const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// Tells SDKs of the JSON protocol what the code was called in the Query protocol.
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// The answer of an action that was done; `result` is null where the action has none.
pub fn done(
    protocol: Protocol,
    action: Action,
    result: &Value,
    id: &RequestId,
) -> Response<Full<Bytes>> {
    let body = match (protocol, result) {
        (Protocol::Json, Value::Null) => String::new(),
        (Protocol::Json, result) => result.to_string(),
        (Protocol::Query, result) => document(action, result, id),
    };
    response(protocol, StatusCode::OK, body, id)
}

/// The answer to a request that was refused.
pub fn refused(protocol: Protocol, fault: &Fault, id: &RequestId) -> Response<Full<Bytes>> {
    let spelling = fault.code.spelling();
    let kind = if fault.code.is_sender() {
        "Sender"
    } else {
        "Receiver"
    };
    let body = match protocol {
        Protocol::Json => json!({ "__type": spelling.shape, "message": fault.message }).to_string(),
        Protocol::Query => {
            let mut xml = Xml::begin("ErrorResponse");
            xml.nested("Error", |xml| {
                xml.text("Type", kind);
                xml.text("Code", spelling.query);
                xml.text("Message", &fault.message);
                xml.text("Detail", "");
            });
            xml.text("RequestId", id.as_str());
            xml.end("ErrorResponse")
        }
    };
    let status = StatusCode::from_u16(spelling.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response(protocol, status, body, id);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("{};{kind}", spelling.query)) {
        headers.insert(QUERY_ERROR, value);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn response(
    protocol: Protocol,
    status: StatusCode,
    body: String,
    id: &RequestId,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let content_type = match protocol {
        Protocol::Json => "application/x-amz-json-1.0",
        Protocol::Query => "text/xml",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

fn document(action: Action, result: &Value, id: &RequestId) -> String {
    let name = action.name();
    let root = format!("{name}Response");
    let mut xml = Xml::begin(&root);
    if let Value::Object(fields) = result {
        xml.nested(&format!("{name}Result"), |xml| {
            for (key, value) in fields {
                xml.member(action, key, value);
            }
        });
    }
    xml.nested("ResponseMetadata", |xml| xml.text("RequestId", id.as_str()));
    xml.end(&root)
}

/// A document being written, on one line.
struct Xml(String);

impl Xml {
    fn begin(root: &str) -> Xml {
        Xml(format!(
            "<?xml version=\"1.0\"?><{root} xmlns=\"{NAMESPACE}\">"
        ))
    }

    fn end(mut self, root: &str) -> String {
        let _ = write!(self.0, "</{root}>"); // writing to a String cannot fail
        self.0
    }

    fn nested(&mut self, name: &str, inside: impl FnOnce(&mut Xml)) {
        let _ = write!(self.0, "<{name}>");
        inside(self);
        let _ = write!(self.0, "</{name}>");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.nested(name, |xml| escape(text, &mut xml.0));
    }

    /// A member of a structure; lists and maps are flattened into repeated elements of another name.
    fn member(&mut self, action: Action, key: &str, value: &Value) {
        match (element(action, key), value) {
            (Some(name), Value::Array(items)) => {
                for item in items {
                    self.member(action, &name, item);
                }
            }
            (Some(name), Value::Object(entries)) => {
                let key_name = if name == "Tag" { "Key" } else { "Name" };
                for (key, value) in entries {
                    self.nested(&name, |xml| {
                        xml.text(key_name, key);
                        xml.member(action, "Value", value);
                    });
                }
            }
            (_, Value::Object(fields)) => self.nested(key, |xml| {
                for (key, value) in fields {
                    xml.member(action, key, value);
                }
            }),
            (_, Value::Array(items)) => {
                for item in items {
                    self.member(action, key, item);
                }
            }
            (_, Value::String(text)) => self.text(key, text),
            (_, Value::Null) => {}
            (_, plain) => self.text(key, &plain.to_string()),
        }
    }
}

/// What a list or a map is called when it is flattened (the service's model, names for query compatibility).
fn element(action: Action, key: &str) -> Option<String> {
    Some(match key {
        "QueueUrls" | "queueUrls" => "QueueUrl".to_owned(),
        "Attributes" => "Attribute".to_owned(),
        "MessageAttributes" => "MessageAttribute".to_owned(),
        "Tags" => "Tag".to_owned(),
        "Messages" => "Message".to_owned(),
        "Failed" => "BatchResultErrorEntry".to_owned(),
        "Successful" | "Results" => format!("{}ResultEntry", action.name()),
        _ => return None,
    })
}

/// Text content. A carriage return has to be an entity, or a reader turns it into a line feed (XML 1.0, 2.11). What XML
/// cannot hold at all comes only out of a caller's own words, in a refusal.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            c if c.is_ascii_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqs_api::fault::Code;
    use http_body_util::BodyExt as _;

    async fn text(response: Response<Full<Bytes>>) -> String {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn inside(xml: &str) -> &str {
        let from = xml.find("/\">").map_or(0, |at| at + 3);
        let to = xml.find("<ResponseMetadata>").unwrap_or(xml.len());
        &xml[from..to]
    }

    #[test]
    fn messages_are_flattened_as_the_service_does_it() {
        let result = json!({"Messages": [{
            "MessageId": "m", "Body": "<a>&\r\n", "Attributes": {"SentTimestamp": "1"},
            "MessageAttributes": {"n": {"StringValue": "v", "DataType": "String"}}
        }]});
        let xml = document(Action::ReceiveMessage, &result, &RequestId::mint());
        assert_eq!(
            inside(&xml),
            "<ReceiveMessageResult><Message><MessageId>m</MessageId><Body>&lt;a&gt;&amp;&#xD;\n</Body>\
             <Attribute><Name>SentTimestamp</Name><Value>1</Value></Attribute>\
             <MessageAttribute><Name>n</Name><Value><StringValue>v</StringValue><DataType>String</DataType></Value></MessageAttribute>\
             </Message></ReceiveMessageResult>"
        );
    }

    #[test]
    fn lists_maps_and_batches_have_their_own_elements() {
        for (action, result, expected) in [
            (
                Action::ListQueues,
                json!({"QueueUrls": ["a", "b"]}),
                "<ListQueuesResult><QueueUrl>a</QueueUrl><QueueUrl>b</QueueUrl></ListQueuesResult>",
            ),
            (
                Action::ListQueueTags,
                json!({"Tags": {"k": "v"}}),
                "<ListQueueTagsResult><Tag><Key>k</Key><Value>v</Value></Tag></ListQueueTagsResult>",
            ),
            (
                Action::DeleteMessageBatch,
                json!({"Successful": [{"Id": "1"}], "Failed": [{"Id": "2", "SenderFault": true}]}),
                "<DeleteMessageBatchResult><DeleteMessageBatchResultEntry><Id>1</Id></DeleteMessageBatchResultEntry>\
                 <BatchResultErrorEntry><Id>2</Id><SenderFault>true</SenderFault></BatchResultErrorEntry></DeleteMessageBatchResult>",
            ),
            (
                Action::ListMessageMoveTasks,
                json!({"Results": [{"Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 3}]}),
                "<ListMessageMoveTasksResult><ListMessageMoveTasksResultEntry><Status>RUNNING</Status>\
                 <ApproximateNumberOfMessagesMoved>3</ApproximateNumberOfMessagesMoved></ListMessageMoveTasksResultEntry></ListMessageMoveTasksResult>",
            ),
            (
                Action::ReceiveMessage,
                json!({}),
                "<ReceiveMessageResult></ReceiveMessageResult>",
            ),
            (Action::DeleteMessage, Value::Null, ""),
        ] {
            let xml = document(action, &result, &RequestId::mint());
            assert_eq!(inside(&xml), expected);
        }
    }

    #[tokio::test]
    async fn a_refusal_names_its_code_in_both_protocols() {
        let fault = Fault::no_queue();
        let id = RequestId::mint();
        let json = refused(Protocol::Json, &fault, &id);
        assert_eq!(json.status(), 400);
        assert_eq!(
            json.headers()[QUERY_ERROR],
            "AWS.SimpleQueueService.NonExistentQueue;Sender"
        );
        assert_eq!(json.headers()[REQUEST_ID], id.as_str());
        assert_eq!(
            text(json).await,
            r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}"#
        );
        let xml = text(refused(Protocol::Query, &fault, &id)).await;
        assert!(
            xml.contains(
                "<Error><Type>Sender</Type><Code>AWS.SimpleQueueService.NonExistentQueue</Code>"
            ),
            "{xml}"
        );
        let ours = refused(
            Protocol::Query,
            &Code::ServiceUnavailable.because("full"),
            &id,
        );
        assert_eq!(
            (
                ours.status().as_u16(),
                ours.headers()[RETRY_AFTER].as_bytes()
            ),
            (503, &b"1"[..])
        );
        assert!(text(ours).await.contains("<Type>Receiver</Type>"));
    }

    #[tokio::test]
    async fn an_action_without_a_result_answers_nothing_in_json() {
        let id = RequestId::mint();
        assert_eq!(
            text(done(
                Protocol::Json,
                Action::DeleteMessage,
                &Value::Null,
                &id
            ))
            .await,
            ""
        );
        assert_eq!(
            text(done(
                Protocol::Json,
                Action::ReceiveMessage,
                &json!({}),
                &id
            ))
            .await,
            "{}"
        );
    }
}
