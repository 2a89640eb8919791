//! A tree as YAML text: block style, quotes only where a reader would else see something else, comments above what they
//! are about, short lists on one line.

use super::build::Comments;
use crate::config::load::tree::{Kind, Node, Scalar};
use crate::model::path::ConfigPath;

/// The longest line that a list of plain texts is put on.
const WIDTH: usize = 100;

/// Writes a tree. Texts of one line stand as they are where YAML reads them back so, longer ones as blocks.
pub fn write(tree: &Node, comments: &Comments) -> String {
    let mut writer = Writer {
        out: String::new(),
        comments,
    };
    for comment in comments.on(&ConfigPath::root()) {
        writer.comment(comment, 0);
    }
    if !writer.out.is_empty() {
        writer.out.push('\n');
    }
    writer.below(tree, &ConfigPath::root(), 0);
    writer.out
}

struct Writer<'a> {
    out: String,
    comments: &'a Comments,
}

impl Writer<'_> {
    fn indent(&mut self, depth: usize) {
        for _ in 0..depth {
            self.out.push_str("  ");
        }
    }

    fn comment(&mut self, text: &str, depth: usize) {
        for line in text.lines() {
            self.indent(depth);
            self.out.push_str("# ");
            // a control character would end the comment, or the file
            self.out.extend(line.chars().filter(|c| !c.is_control()));
            self.out.push('\n');
        }
    }

    /// The entries of a mapping or the items of a list, each on lines of its own.
    fn below(&mut self, node: &Node, path: &ConfigPath, depth: usize) {
        match &node.kind {
            Kind::Mapping(entries) => {
                for entry in entries {
                    let path = path.key(&entry.key.text);
                    for comment in self.comments.on(&path) {
                        self.comment(comment, depth);
                    }
                    self.indent(depth);
                    self.out.push_str(&scalar(&entry.key.text, true, false));
                    self.out.push(':');
                    self.value(&entry.value, &path, depth);
                }
            }
            Kind::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = path.index(index);
                    self.indent(depth);
                    self.out.push('-');
                    self.value(item, &path, depth);
                }
            }
            _ => {}
        }
    }

    /// What stands behind a key or a dash.
    fn value(&mut self, node: &Node, path: &ConfigPath, depth: usize) {
        match &node.kind {
            Kind::Null => self.out.push_str(" null\n"),
            Kind::Scalar(leaf) => self.leaf(leaf, depth),
            Kind::Mapping(entries) if entries.is_empty() => self.out.push_str(" {}\n"),
            Kind::Sequence(items) => {
                let line = one_line(items);
                match line {
                    Some(line) if line.len() + 2 * depth <= WIDTH => {
                        self.out.push(' ');
                        self.out.push_str(&line);
                        self.out.push('\n');
                    }
                    _ => {
                        self.out.push('\n');
                        self.below(node, path, depth + 1);
                    }
                }
            }
            Kind::Mapping(_) => {
                self.out.push('\n');
                self.below(node, path, depth + 1);
            }
        }
    }

    fn leaf(&mut self, leaf: &Scalar, depth: usize) {
        let text = leaf.text();
        if let Some(header) = block(&text) {
            self.out.push(' ');
            self.out.push_str(header);
            self.out.push('\n');
            for line in text.trim_end_matches('\n').split('\n') {
                if !line.is_empty() {
                    self.indent(depth + 1);
                    self.out.push_str(line);
                }
                self.out.push('\n');
            }
            return;
        }
        self.out.push(' ');
        self.out.push_str(&scalar(&text, leaf.quoted, false));
        self.out.push('\n');
    }
}

/// A list of short leaves on one line.
fn one_line(items: &[Node]) -> Option<String> {
    let mut texts = Vec::new();
    for item in items {
        let Kind::Scalar(leaf) = &item.kind else {
            return None;
        };
        texts.push(scalar(&leaf.text(), leaf.quoted, true));
    }
    Some(format!("[{}]", texts.join(", ")))
}

/// The head of a block scalar for a text of several lines; `None` for one that a block cannot hold as it is.
fn block(text: &str) -> Option<&'static str> {
    let body = text.trim_end_matches('\n');
    let several = body.contains('\n');
    let plain = !body.starts_with([' ', '\t', '\n'])
        && !text
            .chars()
            .any(|c| (c.is_control() && c != '\n' && c != '\t') || is_break(c))
        && !body.lines().any(|line| line.ends_with([' ', '\t', '\r']));
    if !several || !plain {
        return None;
    }
    match text.len() - body.len() {
        0 => Some("|-"),
        1 => Some("|"),
        _ => None,
    }
}

/// What YAML or a terminal takes for the end of a line.
fn is_break(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// A leaf on one line. `is_text`: it must not be read as a number, a boolean or nothing.
fn scalar(text: &str, is_text: bool, in_flow: bool) -> String {
    if text.chars().any(|c| c.is_control() || is_break(c)) {
        return double_quoted(text);
    }
    // a date, say, was a text to whoever read it as it stood
    let counts = text == "true"
        || text == "false"
        || text == "null"
        || text.parse::<f64>().is_ok()
        || text.starts_with("0x")
        || text.starts_with("0o");
    let bare = (!is_text && counts) || reads_as_text(text);
    if bare && stands_plain(text, in_flow) {
        return text.to_owned();
    }
    if text.contains('\'') && !text.contains(['"', '\\']) {
        return format!("\"{text}\"");
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// Whether a plain text could not be taken for something else, by YAML 1.1 or 1.2.
fn reads_as_text(text: &str) -> bool {
    const WORDS: [&str; 9] = ["", "~", "null", "true", "false", "yes", "no", "on", "off"];
    if WORDS.contains(&text.to_lowercase().as_str()) {
        return false;
    }
    // numbers in any spelling, dates and times of day: whatever begins as a number does
    let unsigned = text.trim_start_matches(['+', '-']);
    let begins_as_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let is_number = begins_as_number
        && unsigned
            .chars()
            .all(|c| c.is_ascii_hexdigit() || "._:xXoOeE+-TZ".contains(c));
    let special = [".inf", ".nan"].contains(&unsigned.to_lowercase().as_str());
    !is_number && !special
}

/// Whether a text can stand without quotes.
fn stands_plain(text: &str, in_flow: bool) -> bool {
    const INDICATORS: &str = "-?:,[]{}#&*!|>'\"%@`";
    let mut chars = text.chars();
    let (Some(first), last) = (chars.next(), text.chars().last()) else {
        return false;
    };
    if first.is_whitespace() || last.is_some_and(|c| c.is_whitespace() || c == ':') {
        return false;
    }
    if INDICATORS.contains(first) {
        let second = chars.next();
        let may = "-?:".contains(first)
            && second.is_some_and(|c| !c.is_whitespace() && !",[]{}".contains(c));
        if !may {
            return false;
        }
    }
    if text.contains(": ")
        || text.contains(" #")
        || text.contains(":\t")
        || text.starts_with("---")
        || text.starts_with("...")
    {
        return false;
    }
    !in_flow || !text.contains([',', '[', ']', '{', '}'])
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || is_break(c) => {
                let code = u32::from(c);
                out.push_str(&match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    _ => format!("\\u{code:04x}"),
                });
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::config::load::parse::{Tags, parse};
    use crate::config::load::tree::Mark;
    use crate::config::vendor::build::{Mapping, list, plain, text};
    use crate::model::problem::Problems;

    fn mark() -> Mark {
        Mark {
            file: Arc::from(Path::new("x.yaml")),
            line: 1,
            column: 1,
        }
    }

    fn read(yaml: &str) -> Node {
        let mut problems = Problems::default();
        let tree = parse(
            yaml,
            &Arc::from(Path::new("x.yaml")),
            Tags::Refused,
            &mut problems,
        );
        assert!(problems.0.is_empty(), "{yaml}\n{:?}", problems.0);
        tree.unwrap()
    }

    /// The node without its places; a text and a plain scalar differ only where a reader would see it.
    fn shape(node: &Node) -> String {
        match &node.kind {
            Kind::Null => "null".to_owned(),
            Kind::Scalar(leaf) => {
                let kind = if leaf.quoted || reads_as_text(&leaf.text()) {
                    "text"
                } else {
                    "plain"
                };
                format!("{kind} {:?}", leaf.text())
            }
            Kind::Sequence(items) => format!("{:?}", items.iter().map(shape).collect::<Vec<_>>()),
            Kind::Mapping(entries) => {
                let entries = entries
                    .iter()
                    .map(|e| (e.key.text.clone(), shape(&e.value)));
                format!("{:?}", entries.collect::<Vec<_>>())
            }
        }
    }

    #[test]
    fn quotes_stand_where_they_are_needed_and_nowhere_else() {
        let at = mark();
        let mut root = Mapping::new(&at);
        for (key, value) in [
            ("a", "$request.body"),
            ("b", "true"),
            ("c", "12"),
            ("d", "1.0"),
            ("e", "a: b"),
            ("f", "it's"),
            ("g", "#x"),
            ("h", "POST /orders/{id}"),
            ("i", ""),
            ("j", "two\nlines\n"),
            ("k", "tab\there"),
            ("l", "*"),
            ("POST /a", "-1"),
            ("200", "2020-01-01"),
            ("m", "{\"a\": 1}"),
            ("n", "arn:aws:sqs:eu-west-1:1:q"),
            ("o", "10s"),
        ] {
            root.put(key, &at, text(value, &at));
        }
        root.put("p", &at, plain("12", &at));
        root.put(
            "q",
            &at,
            list(vec![text("a,b", &at), text("12", &at), text("x", &at)], &at),
        );
        let tree = root.node();
        let written = write(&tree, &Comments::default());
        assert_eq!(
            written,
            "a: $request.body\nb: 'true'\nc: '12'\nd: '1.0'\ne: 'a: b'\nf: it's\ng: '#x'\nh: POST /orders/{id}\ni: ''\n\
             j: |\n  two\n  lines\nk: \"tab\\there\"\nl: '*'\nPOST /a: '-1'\n'200': '2020-01-01'\nm: '{\"a\": 1}'\n\
             n: arn:aws:sqs:eu-west-1:1:q\no: 10s\np: 12\nq: ['a,b', '12', x]\n"
        );
        assert_eq!(shape(&read(&written)), shape(&tree));
    }

    #[test]
    fn comments_stand_above_what_they_are_about() {
        let at = mark();
        let mut inner = Mapping::new(&at);
        inner.put("b", &at, text("c", &at));
        let mut root = Mapping::new(&at);
        root.put_mapping("a", inner);
        let mut comments = Comments::default();
        comments.add(&ConfigPath::root(), "first\nsecond");
        comments.add(&ConfigPath::root().key("a").key("b"), "of b");
        assert_eq!(
            write(&root.node(), &comments),
            "# first\n# second\n\na:\n  # of b\n  b: c\n"
        );
    }

    fn node() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            "\\PC{0,12}".prop_map(|t| text(t, &mark())),
            "[a-z:#{}\\[\\],'\"\\-?!&*| \n\t%@0-9.]{0,16}".prop_map(|t| text(t, &mark())),
            any::<i64>().prop_map(|n| plain(n.to_string(), &mark())),
            any::<bool>().prop_map(|b| plain(b.to_string(), &mark())),
            any::<String>().prop_map(|t| text(t.replace(['\u{fffe}', '\u{ffff}'], ""), &mark())),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5)
                    .prop_map(|items| list(items, &mark())),
                proptest::collection::vec(("[a-zA-Z$/{}:# '\"0-9-]{1,10}", inner), 0..5).prop_map(
                    |entries| {
                        let mut mapping = Mapping::new(&mark());
                        for (key, value) in entries {
                            if key != "<<" {
                                mapping.put(key, &mark(), value);
                            }
                        }
                        mapping.node()
                    }
                ),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn what_is_written_reads_back_as_it_was(value in node()) {
            let mut root = Mapping::new(&mark());
            root.put("root", &mark(), value);
            let tree = root.node();
            let written = write(&tree, &Comments::default());
            prop_assert_eq!(shape(&read(&written)), shape(&tree), "{}", written);
        }
    }
}
