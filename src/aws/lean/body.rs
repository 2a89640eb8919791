//! Writes the JSON of a request straight into its body, so that a payload is copied once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// A JSON text that grows at its end. Whoever writes it sees to the commas and brackets.
#[derive(Debug)]
pub struct Body(Vec<u8>);

impl Body {
    /// Room for a text of that many bytes, which need not be exact.
    pub fn with_capacity(bytes: usize) -> Body {
        Body(Vec::with_capacity(bytes))
    }

    /// JSON as it is.
    pub fn raw(&mut self, json: &str) -> &mut Body {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A text, quoted and escaped.
    pub fn text(&mut self, text: &str) -> &mut Body {
        self.0.push(b'"');
        escape(&mut self.0, text.as_bytes());
        self.0.push(b'"');
        self
    }

    /// Bytes as the protocols have them: base64, quoted.
    pub fn blob(&mut self, bytes: &[u8]) -> &mut Body {
        self.0.push(b'"');
        let at = self.0.len();
        self.0.resize(at + bytes.len().div_ceil(3) * 4, 0);
        // never fails: there is exactly as much room as the bytes need
        let written = STANDARD.encode_slice(bytes, &mut self.0[at..]);
        self.0.truncate(at + written.unwrap_or_default());
        self.0.push(b'"');
        self
    }

    /// A number.
    pub fn number(&mut self, number: impl std::fmt::Display) -> &mut Body {
        self.raw(&number.to_string())
    }

    /// A member, with the comma before it: `,"NAME":`.
    pub fn member(&mut self, name: &'static str) -> &mut Body {
        self.raw(",\"").raw(name).raw("\":")
    }

    /// A member with a text, where there is one.
    pub fn text_if_any(&mut self, name: &'static str, text: Option<&str>) -> &mut Body {
        if let Some(text) = text {
            self.member(name).text(text);
        }
        self
    }

    /// The text as it stands.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.0)
    }
}

/// How many bytes are looked at together: as many as a vector register holds everywhere.
const STEP: usize = 16;

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let mut clean = 0; // what lies before has been written
    let mut at = 0;
    while at < text.len() {
        let step = &text[at..text.len().min(at + STEP)];
        if step.len() == STEP && !step.iter().fold(false, |any, byte| any | is_special(*byte)) {
            at += STEP;
            continue;
        }
        for (offset, byte) in step.iter().enumerate() {
            if is_special(*byte) {
                out.extend_from_slice(&text[clean..at + offset]);
                clean = at + offset + 1;
                push_escaped(out, *byte);
            }
        }
        at += step.len();
    }
    out.extend_from_slice(&text[clean..]);
}

/// RFC 8259, section 7: quotation mark, reverse solidus, and the control characters.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        b'"' | b'\\' => byte,
        _ => {
            out.extend_from_slice(b"\\u00");
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[DIGITS[high], DIGITS[low]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_reads_back_as_it_was(text in "([a-z]{0,40}|[\u{0}-\u{1f}\"\\\\/é🎈])*") {
            let mut body = Body::with_capacity(0);
            body.text(&text);
            let back: String = serde_json::from_slice(&body.finish()).unwrap();
            prop_assert_eq!(back, text);
        }

        #[test]
        fn any_bytes_read_back_as_they_were(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut body = Body::with_capacity(0);
            body.blob(&bytes);
            let back: String = serde_json::from_slice(&body.finish()).unwrap();
            prop_assert_eq!(STANDARD.decode(back).unwrap(), bytes);
        }
    }

    #[test]
    fn members_follow_each_other() {
        let mut body = Body::with_capacity(64);
        body.raw("{\"A\":").text("a\"b\n\u{1}");
        body.text_if_any("B", None).text_if_any("C", Some("c"));
        body.member("D").number(-1).raw("}");
        assert_eq!(
            &body.finish()[..],
            br#"{"A":"a\"b\n\u0001","C":"c","D":-1}"#
        );
    }
}
