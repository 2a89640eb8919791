//! JSON text → located tree, by the rules of JSON and with messages in its terms: for documents that programs write,
//! with tabs, escapes in pairs and lines of any length, which YAML does not take. Duplicate keys and nesting without
//! bound are refused as in YAML.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::parse::MAX_DEPTH;
use super::quotes::{is_typographic, typographic};
use super::tree::{Entry, Key, Kind, Mark, Node, Scalar};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// Whether a text is JSON rather than YAML, by its beginning: `{` and then a key in quotes, or nothing.
pub fn looks_like_json(text: &str) -> bool {
    let Some(rest) = text.trim_start().strip_prefix('{') else {
        return false;
    };
    rest.trim_start().starts_with(['"', '}', '“', '”'])
}

/// Reads one file's text. `None` when it is not JSON to its end; what is wrong is in `problems`.
pub fn parse(text: &str, file: &Arc<Path>, problems: &mut Problems) -> Option<Node> {
    let mut reader = Reader::new(text, file);
    let read = reader.document();
    for (path, first, again) in reader.twice.drain(..) {
        problems
            .error(
                &path,
                format!("this key is written twice, first at {}", first.place()),
            )
            .help("keep one of the two")
            .at(again.place());
    }
    match read {
        Ok(node) => Some(node),
        Err(fault) => {
            let problem = problems
                .error(&fault.path, fault.message)
                .at(fault.mark.place());
            if !fault.help.is_empty() {
                problem.help(fault.help);
            }
            None
        }
    }
}

/// The keys of the root, as far as the text can be read.
pub fn root_keys(text: &str) -> Vec<String> {
    let file: Arc<Path> = Arc::from(Path::new(""));
    let mut reader = Reader::new(text, &file);
    // what is wrong is said by `parse`
    let _ = reader.document();
    reader.root_keys
}

/// Where JSON ends to be JSON.
struct Fault {
    path: ConfigPath,
    mark: Mark,
    message: String,
    help: &'static str,
}

type Read<T> = Result<T, Box<Fault>>;

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
    file: &'a Arc<Path>,
    path: ConfigPath,
    root_keys: Vec<String>,
    /// Keys that stand in one mapping twice: their path, and both places.
    twice: Vec<(ConfigPath, Mark, Mark)>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, file: &'a Arc<Path>) -> Reader<'a> {
        Reader {
            rest: text.chars().peekable(),
            line: 1,
            column: 1,
            file,
            path: ConfigPath::root(),
            root_keys: Vec::new(),
            twice: Vec::new(),
        }
    }

    fn mark(&self) -> Mark {
        Mark {
            file: self.file.clone(),
            line: self.line,
            column: self.column,
        }
    }

    fn fault<T>(&self, mark: Mark, message: impl Into<String>, help: &'static str) -> Read<T> {
        Err(Box::new(Fault {
            path: self.path.clone(),
            mark,
            message: message.into(),
            help,
        }))
    }

    fn next(&mut self) -> Option<char> {
        let found = self.rest.next()?;
        if found == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(found)
    }

    fn blank(&mut self) {
        while self.rest.peek().is_some_and(|c| " \t\r\n".contains(*c)) {
            self.next();
        }
    }

    /// What stands here and was not expected.
    fn unexpected<T>(&mut self, expected: &str) -> Read<T> {
        let mark = self.mark();
        match self.rest.peek().copied() {
            None => self.fault(
                mark,
                format!("the file ends where {expected} is expected"),
                "",
            ),
            Some(quote) if is_typographic(quote) => self.fault(
                mark,
                typographic(quote),
                "write a straight quote in its place",
            ),
            Some('\'') => self.fault(
                mark,
                format!("found `'`, expected {expected}"),
                "JSON's texts stand in double quotes",
            ),
            Some('/' | '#') => self.fault(
                mark,
                "JSON has no comments",
                "remove it, or write the document as YAML",
            ),
            Some(found) => self.fault(mark, format!("found `{found}`, expected {expected}"), ""),
        }
    }

    fn document(&mut self) -> Read<Node> {
        self.blank();
        let node = self.value(0)?;
        self.blank();
        if self.rest.peek().is_some() {
            return self.unexpected("the end of the file");
        }
        Ok(node)
    }

    fn value(&mut self, depth: usize) -> Read<Node> {
        let mark = self.mark();
        if depth > MAX_DEPTH {
            return self.fault(
                mark,
                format!("nested more than {MAX_DEPTH} levels deep"),
                "",
            );
        }
        let kind = match self.rest.peek().copied() {
            Some('{') => self.mapping(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => Kind::Scalar(Scalar::written(self.text()?, true)),
            Some(c) if c.is_ascii_alphanumeric() || c == '-' => self.plain(mark.clone())?,
            _ => return self.unexpected("a value"),
        };
        Ok(Node::new(kind, mark))
    }

    fn mapping(&mut self, depth: usize) -> Read<Kind> {
        self.next();
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Mark> = HashMap::new();
        self.blank();
        if self.rest.peek() == Some(&'}') {
            self.next();
            return Ok(Kind::Mapping(entries));
        }
        loop {
            self.blank();
            let mark = self.mark();
            match self.rest.peek() {
                Some('"') => {}
                Some('}') => {
                    return self.fault(
                        mark,
                        "found `}` behind a comma, expected a key",
                        "remove the comma",
                    );
                }
                _ => return self.unexpected("a key in double quotes"),
            }
            let text = self.text()?;
            if depth == 0 {
                self.root_keys.push(text.clone());
            }
            self.blank();
            if self.rest.peek() != Some(&':') {
                return self.unexpected("`:`");
            }
            self.next();
            self.blank();
            let outer = self.path.clone();
            self.path = outer.key(&text);
            let value = self.value(depth + 1)?;
            let path = std::mem::replace(&mut self.path, outer);
            match seen.get(&text) {
                Some(first) => self.twice.push((path, first.clone(), mark)),
                None => {
                    seen.insert(text.clone(), mark.clone());
                    let key = Key { text, mark };
                    entries.push(Entry { key, value });
                }
            }
            self.blank();
            match self.rest.peek() {
                Some(',') => self.next(),
                Some('}') => {
                    self.next();
                    return Ok(Kind::Mapping(entries));
                }
                _ => return self.unexpected("`,` or `}`"),
            };
        }
    }

    fn list(&mut self, depth: usize) -> Read<Kind> {
        self.next();
        let mut items = Vec::new();
        self.blank();
        if self.rest.peek() == Some(&']') {
            self.next();
            return Ok(Kind::Sequence(items));
        }
        loop {
            self.blank();
            let outer = self.path.clone();
            self.path = outer.index(items.len());
            items.push(self.value(depth + 1)?);
            self.path = outer;
            self.blank();
            match self.rest.peek() {
                Some(',') => self.next(),
                Some(']') => {
                    self.next();
                    return Ok(Kind::Sequence(items));
                }
                _ => return self.unexpected("`,` or `]`"),
            };
        }
    }

    /// A number or one of the three words.
    fn plain(&mut self, mark: Mark) -> Read<Kind> {
        let mut text = String::new();
        while let Some(c) = self.rest.peek().copied() {
            if !c.is_ascii_alphanumeric() && !"+-.".contains(c) {
                break;
            }
            text.push(c);
            self.next();
        }
        match text.as_str() {
            "null" => Ok(Kind::Null),
            "true" | "false" => Ok(Kind::Scalar(Scalar::written(text, false))),
            number if serde_json::from_str::<serde_json::Number>(number).is_ok() => {
                Ok(Kind::Scalar(Scalar::written(text, false)))
            }
            _ => self.fault(
                mark,
                format!("found `{text}`, expected a value"),
                "JSON's texts stand in double quotes",
            ),
        }
    }

    /// A text in quotes.
    fn text(&mut self) -> Read<String> {
        let begin = self.mark();
        self.next();
        let mut text = String::new();
        let mut curly: Option<(Mark, char)> = None;
        loop {
            let mark = self.mark();
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape(mark)?),
                None | Some('\n') => {
                    return match curly {
                        Some((at, quote)) => self.fault(
                            at,
                            typographic(quote),
                            "write a straight quote in its place",
                        ),
                        None => self.fault(begin, "a quote is opened here and not closed", ""),
                    };
                }
                Some(c) if c < ' ' && c != '\t' => {
                    return self.fault(mark, "a control character in a text", "escape it");
                }
                Some(c) => {
                    if is_typographic(c) {
                        curly = Some((mark, c));
                    }
                    text.push(c);
                }
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self, mark: Mark) -> Read<char> {
        Ok(match self.next() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = self.code(&mark)?;
                let code = match first {
                    // RFC 8259, 7: two escapes make one character outside the basic plane
                    0xd800..=0xdbff if self.next() == Some('\\') && self.next() == Some('u') => {
                        let second = self.code(&mark)?;
                        match second {
                            0xdc00..=0xdfff => {
                                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                            }
                            _ => first,
                        }
                    }
                    code => code,
                };
                match char::from_u32(code) {
                    Some(found) => found,
                    None => return self.fault(mark, "half of a surrogate pair", ""),
                }
            }
            _ => {
                return self.fault(
                    mark,
                    "an unknown escape after \\",
                    "write \\\\ for a backslash",
                );
            }
        })
    }

    fn code(&mut self, mark: &Mark) -> Read<u32> {
        let mut code = 0;
        for _ in 0..4 {
            match self.next().and_then(|c| c.to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return self.fault(mark.clone(), "`\\u` wants four hexadecimal digits", ""),
            }
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut problems = Problems::default();
        let node = parse(text, &Arc::from(Path::new("api.json")), &mut problems);
        (node, problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_programs_write_is_read_with_its_places() {
        let (node, problems) = read(
            "{\n\t\"a\": \"\\ud83d\\ude00 \\/ \\u00e9\",\t\"b\": [1, -2.5e3, true, null],\n\t\"c\": {\"d\":\"x\"}}\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        let node = node.unwrap();
        let text = |path: ConfigPath| match &node.at(&path).unwrap().kind {
            Kind::Scalar(scalar) => scalar.text().into_owned(),
            other => format!("{other:?}"),
        };
        let root = ConfigPath::root();
        assert_eq!(text(root.key("a")), "😀 / é");
        assert_eq!(text(root.key("b").index(1)), "-2.5e3");
        assert_eq!(text(root.key("b").index(3)), "Null");
        let mark = &node.at(&root.key("c").key("d")).unwrap().mark;
        assert_eq!((mark.line, mark.column), (3, 12));
    }

    #[test]
    fn what_is_wrong_is_said_at_its_place() {
        for (text, said) in [
            (
                "{\"a\": 1,}",
                "api.json:1:9: error: found `}` behind a comma, expected a key; remove the comma",
            ),
            (
                "{\"a\": 'b'}",
                "api.json:1:7: error: a: found `'`, expected a value; JSON's texts stand in double quotes",
            ),
            (
                "{\"a\": \"b”,\n\"c\": 1}",
                "api.json:1:9: error: a: the typographic quote `”` (U+201D) stands where `\"` was meant; write a straight quote in its place",
            ),
            (
                "{“a”: 1}",
                "api.json:1:2: error: the typographic quote `“` (U+201C) stands where `\"` was meant; write a straight quote in its place",
            ),
            (
                "{\"a\": {\"b\": 1 \"c\": 2}}",
                "api.json:1:15: error: a: found `\"`, expected `,` or `}`",
            ),
            (
                "{\"a\": tru}",
                "api.json:1:7: error: a: found `tru`, expected a value; JSON's texts stand in double quotes",
            ),
            (
                "{\"a\": 01}",
                "api.json:1:7: error: a: found `01`, expected a value; JSON's texts stand in double quotes",
            ),
            (
                "{\"a\": [1",
                "api.json:1:9: error: a: the file ends where `,` or `]` is expected",
            ),
            (
                "{\"a\": 1, \"a\": 2}",
                "api.json:1:10: error: a: this key is written twice, first at api.json:1:2; keep one of the two",
            ),
            (
                "{\"a\": \"\\ud83d\"}",
                "api.json:1:8: error: a: half of a surrogate pair",
            ),
            (
                "{\"a\": 1} x",
                "api.json:1:10: error: found `x`, expected the end of the file",
            ),
        ] {
            assert_eq!(read(text).1, [said], "{text}");
        }
        let deep = "[".repeat(100);
        assert!(read(&deep).1[0].contains("nested more than"));
    }

    #[test]
    fn the_keys_of_the_root_are_known_also_where_the_rest_is_broken() {
        assert_eq!(
            root_keys("{\"openapi\": \"3.0.1\", \"paths\": {\"x\": oops"),
            ["openapi", "paths"]
        );
        assert!(looks_like_json(" \n{ \"a\": 1 }"));
        assert!(!looks_like_json("{a: 1}"));
        assert!(!looks_like_json("a: {\"b\": 1}"));
    }
}
