//! SQS's Query-protocol XML: what callers of the aws dialect have always got (reference, 2.4). One line.

use std::fmt::Write as _;

use bytes::Bytes;

/// The content type of SQS's answers.
pub(super) const CONTENT_TYPE: &str = "text/xml";

const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

/// An XML document being written.
pub(super) struct Document(String);

impl Document {
    /// Begins `<{action}Response>`.
    fn begin(root: &str) -> Document {
        Document(format!(
            "<?xml version=\"1.0\"?><{root} xmlns=\"{NAMESPACE}\">"
        ))
    }

    /// An element with text.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        let _ = write!(self.0, "<{name}>"); // writing to a String cannot fail
        escape(text, &mut self.0);
        let _ = write!(self.0, "</{name}>");
    }

    /// An element with text, if there is any.
    pub(super) fn text_if_any(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// An element with elements in it.
    pub(super) fn nested(&mut self, name: &str, inside: impl FnOnce(&mut Document)) {
        let _ = write!(self.0, "<{name}>");
        inside(self);
        let _ = write!(self.0, "</{name}>");
    }
}

/// `<{action}Response>` with its result, if the action has one, and the request id.
pub(super) fn response(
    action: &str,
    request_id: &str,
    result: Option<&dyn Fn(&mut Document)>,
) -> Bytes {
    let root = format!("{action}Response");
    let mut document = Document::begin(&root);
    if let Some(result) = result {
        document.nested(&format!("{action}Result"), |document| result(document));
    }
    document.nested("ResponseMetadata", |metadata| {
        metadata.text("RequestId", request_id)
    });
    document.0.push_str(&format!("</{root}>"));
    Bytes::from(document.0)
}

/// `<ErrorResponse>`.
pub(super) fn error(status: u16, code: &str, message: &str, request_id: &str) -> Bytes {
    let mut document = Document::begin("ErrorResponse");
    document.nested("Error", |error| {
        error.text("Type", if status < 500 { "Sender" } else { "Receiver" });
        error.text("Code", code);
        error.text("Message", message);
        error.0.push_str("<Detail/>");
    });
    document.text("RequestId", request_id);
    document.0.push_str("</ErrorResponse>");
    Bytes::from(document.0)
}

/// Text content. A carriage return has to be an entity, or a reader turns it into a line feed (XML 1.0, 2.11); so are
/// the other control characters, which XML cannot hold otherwise.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            c if c.is_ascii_control() => {
                let _ = write!(out, "&#x{:X};", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_so_that_every_reader_gets_it_back() {
        let mut out = String::new();
        escape("<a b=\"c\">&\r\n\té🎈\u{1}", &mut out);
        assert_eq!(out, "&lt;a b=&quot;c&quot;&gt;&amp;&#xD;\n\té🎈&#x1;");
    }

    #[test]
    fn an_answer_without_a_result_has_only_its_metadata() {
        let body = response("DeleteMessage", "r-1", None);
        assert_eq!(
            &body[..],
            &b"<?xml version=\"1.0\"?><DeleteMessageResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></DeleteMessageResponse>"[..]
        );
    }

    #[test]
    fn a_server_fault_is_the_receiver_s() {
        let body = error(503, "ServiceUnavailable", "later", "r");
        assert!(
            std::str::from_utf8(&body)
                .unwrap()
                .contains("<Type>Receiver</Type>")
        );
    }
}
