//! The names in certificates (RFC 4514): written out in the order of the certificate, as the vendor does
//! (`C=US,O=Acme,CN=client`), and patterns of them.

use std::fmt;

use x509_parser::asn1_rs::Tag;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Attribute types that have a short name. Others are written as numbers.
const TYPES: [(&str, &str); 17] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.42", "GN"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A distinguished name: attribute types and values, in the order of the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistinguishedName(Vec<(String, String)>);

/// What a distinguished name has to hold: `O=Acme,CN=partner-*`. Every part that is named has to be there, in any order;
/// what is not named may be anything. `*` stands for any run of characters within one value.
///
/// A type that is named stands in the name exactly as often as in the pattern: a certificate with a second `CN` does not
/// pass for its first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamePattern(Vec<(String, Glob)>);

/// Text in which `*` stands for any run of characters, and `\*` for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(Vec<String>);

impl DistinguishedName {
    /// The name as a certificate holds it.
    pub fn of(name: &X509Name<'_>) -> DistinguishedName {
        let parts = name.iter_attributes().map(|attribute| {
            let oid = attribute.attr_type().to_id_string();
            let short = TYPES.iter().find(|(number, _)| *number == oid);
            let kind = short.map_or(oid.as_str(), |(_, short)| short);
            (kind.to_owned(), text(attribute))
        });
        DistinguishedName(parts.collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of an attribute type.
    pub fn values<'n>(&'n self, kind: &str) -> impl Iterator<Item = &'n str> {
        self.0
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(kind))
            .map(|(_, value)| value.as_str())
    }
}

/// A value as text; one that is no string as `#` and its bytes.
fn text(attribute: &AttributeTypeAndValue<'_>) -> String {
    if let Ok(text) = attribute.as_str() {
        return text.to_owned();
    }
    let bytes = attribute.as_slice();
    match attribute.attr_value().tag() {
        Tag::BmpString => {
            let units = bytes.chunks(2).map(|pair| match *pair {
                [high, low] => u16::from_be_bytes([high, low]),
                _ => 0xfffd,
            });
            String::from_utf16_lossy(&units.collect::<Vec<_>>())
        }
        // in practice Latin-1
        Tag::T61String => bytes.iter().map(|byte| char::from(*byte)).collect(),
        _ => bytes
            .iter()
            .fold("#".to_owned(), |text, byte| text + &format!("{byte:02x}")),
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (kind, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{kind}={}", escaped(value))?;
        }
        Ok(())
    }
}

/// A value whose own commas cannot be taken for those between parts (RFC 4514, 2.4). Control characters go out as their
/// bytes, so that a name is one line.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, letter) in value.chars().enumerate() {
        let special = matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=')
            || (index == 0 && matches!(letter, '#' | ' '))
            || (index == last && letter == ' ');
        if letter.is_control() {
            for byte in letter.to_string().bytes() {
                text += &format!("\\{byte:02X}");
            }
            continue;
        }
        if special {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

impl NamePattern {
    /// Reads `TYPE=VALUE,TYPE=VALUE`. The error says what to write.
    pub fn parse(text: &str) -> Result<NamePattern, String> {
        let refused = || {
            format!("{text:?} is not a distinguished name; write one such as `O=Acme,CN=client-*`")
        };
        let mut parts = Vec::new();
        for part in split(text) {
            let (kind, value) = part.split_once('=').ok_or_else(refused)?;
            let kind = kind.trim();
            let known = TYPES
                .iter()
                .find(|(_, short)| short.eq_ignore_ascii_case(kind));
            let number =
                kind.contains('.') && kind.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            let kind = match known {
                Some((_, short)) => (*short).to_owned(),
                None if number => kind.to_owned(),
                None => {
                    return Err(format!(
                        "{kind:?} is not an attribute of a distinguished name; known: {}, and numbers such as 2.5.4.3",
                        TYPES.map(|(_, short)| short).join(", ")
                    ));
                }
            };
            let value = value.trim();
            if value.is_empty() {
                return Err(refused());
            }
            parts.push((kind, Glob::parse(value)));
        }
        if parts.is_empty() {
            return Err(refused());
        }
        Ok(NamePattern(parts))
    }

    /// Whether a name holds what the pattern names.
    pub fn matches(&self, name: &DistinguishedName) -> bool {
        self.0.iter().all(|(kind, _)| {
            let globs: Vec<&Glob> = self
                .0
                .iter()
                .filter(|(own, _)| own == kind)
                .map(|(_, glob)| glob)
                .collect();
            let values: Vec<&str> = name.values(kind).collect();
            globs.len() == values.len() && paired(&globs, &values)
        })
    }
}

/// Whether each glob can have a value of its own. There are one or two of them.
fn paired(globs: &[&Glob], values: &[&str]) -> bool {
    let Some((first, rest)) = globs.split_first() else {
        return values.is_empty();
    };
    (0..values.len()).any(|taken| {
        let mut left = values.to_vec();
        first.matches(left.remove(taken)) && paired(rest, &left)
    })
}

/// The parts of a pattern: commas and plus signs part them, unless a backslash stands before.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut escape) = (0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escape => escape = false,
            '\\' => escape = true,
            ',' | '+' => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

impl Glob {
    /// A backslash takes the meaning from the character after it.
    pub fn parse(text: &str) -> Glob {
        let mut pieces = vec![String::new()];
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let taken = match letter {
                '*' => {
                    pieces.push(String::new());
                    continue;
                }
                '\\' => letters.next().unwrap_or('\\'),
                letter => letter,
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(taken);
            }
        }
        Glob(pieces)
    }

    /// Whether the whole text is of this form; letters as they are.
    pub fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|only| only == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else {
            return false;
        };
        for piece in middle {
            let Some(at) = rest.find(piece.as_str()) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(parts: &[(&str, &str)]) -> DistinguishedName {
        let owned = |(kind, value): &(&str, &str)| ((*kind).to_owned(), (*value).to_owned());
        DistinguishedName(parts.iter().map(owned).collect())
    }

    #[test]
    fn a_value_cannot_be_taken_for_parts() {
        let shown = name(&[("O", "Acme, Inc"), ("CN", "x,CN=admin"), ("OU", " a\n#")]).to_string();
        assert_eq!(shown, "O=Acme\\, Inc,CN=x\\,CN\\=admin,OU=\\ a\\0A#");
    }

    #[test]
    fn patterns_name_parts_in_any_order_and_leave_the_rest_open() {
        let subject = name(&[
            ("C", "US"),
            ("O", "Acme, Inc"),
            ("OU", "a"),
            ("OU", "b"),
            ("CN", "client-7"),
        ]);
        for (pattern, matches) in [
            ("CN=client-7", true),
            ("cn=client-*", true),
            ("CN=client-7,C=US", true),
            ("C=US,O=Acme\\, Inc,OU=a,OU=b,CN=client-7", true),
            ("OU=b,OU=a", true),
            ("OU=a", false),
            ("OU=a,OU=a", false),
            ("CN=*", true),
            ("CN=client", false),
            ("CN=Client-7", false),
            ("CN=*-7*", true),
            ("CN=client-7,L=*", false),
            ("2.5.4.3=client-7", false),
        ] {
            assert_eq!(
                NamePattern::parse(pattern).unwrap().matches(&subject),
                matches,
                "{pattern}"
            );
        }
        let two = name(&[("CN", "evil"), ("CN", "client-7")]);
        assert!(!NamePattern::parse("CN=client-7").unwrap().matches(&two));
        let sly = name(&[("CN", "x,CN=client-7")]);
        assert!(!NamePattern::parse("CN=client-7").unwrap().matches(&sly));
    }

    #[test]
    fn what_is_no_name_says_what_to_write() {
        for wrong in ["", "client", "CN=", "CN=a,,O=b", "CN=a,b"] {
            assert!(
                NamePattern::parse(wrong)
                    .unwrap_err()
                    .contains("is not a distinguished name"),
                "{wrong}"
            );
        }
        assert!(
            NamePattern::parse("NC=a")
                .unwrap_err()
                .contains("is not an attribute")
        );
    }

    #[test]
    fn stars_stand_for_any_run_and_nothing_else_does() {
        for (glob, text, matches) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("a**b", "a--b", true),
            ("*.example", "x.example", true),
            ("*.example", "x.example.evil", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a.c", "abc", false),
            ("*ab*ab", "ab", false),
        ] {
            assert_eq!(Glob::parse(glob).matches(text), matches, "{glob} {text}");
        }
    }
}
