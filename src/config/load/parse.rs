//! YAML text → located tree. JSON is read as the YAML that it is. Everything a tree cannot be trusted with is refused
//! here: duplicate keys, several documents, keys that are no text, tags, nesting and aliases without bound. In a
//! vendor's document a tag is the short form of a template function, and becomes its long one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::quotes;
use super::tree::{Entry, Key, Kind, Mark, Node, Refusal, Scalar};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// The deepest nesting that is read: no section is a quarter as deep, and readers recurse.
pub const MAX_DEPTH: usize = 64;
/// The most nodes that aliases may add to one file: enough for honest use, too few for an alias bomb.
pub const MAX_ALIASED: usize = 10_000;

/// What a tag of one's own (`!Ref`) means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// Nothing: it is refused.
    Refused,
    /// A template function: `!Ref X` is `{ Ref: X }`, `!Sub X` is `{ Fn::Sub: X }`.
    Functions,
}

/// Reads one file's text. `None` when it cannot be read to its end or holds no mapping; what is wrong is in
/// `problems`, which may also name troubles beside a tree that is returned.
pub fn parse(text: &str, file: &Arc<Path>, tags: Tags, problems: &mut Problems) -> Option<Node> {
    let mut builder = Builder {
        file,
        text,
        tags,
        problems,
        open: Vec::new(),
        anchors: HashMap::new(),
        aliased: 0,
        root: None,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.take(event, span.start),
            Err(error) => builder.syntax_error(&error),
        };
        step?;
    }
    let root = builder.root;
    let at = Mark {
        file: file.clone(),
        line: 1,
        column: 1,
    };
    let (message, mark) = match root {
        None => ("the file is empty: it holds no configuration", at),
        Some(Node {
            kind: Kind::Null, ..
        }) => ("the file is empty: it holds no configuration", at),
        Some(
            root @ Node {
                kind: Kind::Mapping(_),
                ..
            },
        ) => return Some(root),
        Some(Node { kind, mark, .. }) => match kind {
            Kind::Sequence(_) => ("the file holds a list, expected `key: value` lines", mark),
            _ => ("the file holds one text, expected `key: value` lines", mark),
        },
    };
    problems
        .error(&ConfigPath::root(), message)
        .at(mark.place());
    None
}

/// The keys of the root, as far as the text can be read.
pub fn root_keys(text: &str) -> Vec<String> {
    let (mut keys, mut depth, mut awaits_key) = (Vec::new(), 0usize, true);
    let mut parser = Parser::new_from_str(text);
    while let Some(Ok((event, _))) = parser.next_event() {
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => {
                depth = depth.saturating_sub(1);
                // the value of a root key has ended
                awaits_key = true;
            }
            Event::Scalar(text, ..) if depth == 1 => {
                if awaits_key {
                    keys.push(text.into_owned());
                }
                awaits_key = !awaits_key;
            }
            Event::Alias(_) if depth == 1 => awaits_key = !awaits_key,
            _ => {}
        }
    }
    keys
}

/// A collection whose end has not come yet.
struct Open {
    mark: Mark,
    anchor: usize,
    tag: Tagged,
    parts: Parts,
}

/// What a node's tag said.
#[derive(Default)]
struct Tagged {
    /// The value is text, whatever it looks like.
    text: bool,
    /// The tag means nothing here.
    refused: Option<Refusal>,
    /// The long name of a template function.
    function: Option<String>,
}

impl Tagged {
    /// The node with what its tag says of it.
    fn applied(self, mut node: Node) -> Node {
        node.refused = self.refused;
        let Some(function) = self.function else {
            return node;
        };
        let mark = node.mark.clone();
        let key = Key {
            text: function,
            mark: mark.clone(),
        };
        Node::new(Kind::Mapping(vec![Entry { key, value: node }]), mark)
    }
}

enum Parts {
    Sequence(Vec<Node>),
    Mapping(Box<Mapping>),
}

#[derive(Default)]
struct Mapping {
    entries: Vec<Entry>,
    /// Where each key stood first.
    seen: HashMap<String, Mark>,
    /// The key whose value comes next, and whether it is one too many.
    key: Option<(Key, bool)>,
    /// The mapping, or list of mappings, under `<<`.
    merged: Option<Node>,
}

struct Builder<'a> {
    file: &'a Arc<Path>,
    text: &'a str,
    tags: Tags,
    problems: &'a mut Problems,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn mark(&self, at: Marker) -> Mark {
        Mark {
            file: self.file.clone(),
            line: at.line(),
            column: at.col() + 1,
        }
    }

    /// The path of what comes next.
    fn path(&self) -> ConfigPath {
        self.open
            .iter()
            .fold(ConfigPath::root(), |path, open| match &open.parts {
                Parts::Sequence(items) => path.index(items.len()),
                Parts::Mapping(mapping) => match &mapping.key {
                    Some((key, _)) => path.key(&key.text),
                    None => path,
                },
            })
    }

    /// Notes a trouble at which reading ends.
    fn stop<T>(&mut self, at: &Mark, message: impl Into<String>, help: &str) -> Option<T> {
        let path = self.path();
        let problem = self.problems.error(&path, message).at(at.place());
        if !help.is_empty() {
            problem.help(help);
        }
        None
    }

    /// Takes one event; `None` when reading cannot go on.
    fn take(&mut self, event: Event<'_>, at: Marker) -> Option<()> {
        let mark = self.mark(at);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
            Event::DocumentStart(_) if self.root.is_some() => self.stop(
                &mark,
                "a second document begins here",
                "one file holds one document: split the file, or remove `---`",
            ),
            Event::DocumentStart(_) => Some(()),
            Event::SequenceStart(anchor, tag) => {
                self.begin(Parts::Sequence(Vec::new()), mark, anchor, tag.as_deref())
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(Parts::Mapping(Box::default()), mark, anchor, tag.as_deref())
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let node = self.scalar(text.into_owned(), plain, mark, tag.as_deref());
                self.place(node, anchor)
            }
            Event::Alias(anchor) => {
                let node = self.alias(anchor, mark)?;
                self.place(node, 0)
            }
        }
    }

    fn begin(&mut self, parts: Parts, mark: Mark, anchor: usize, tag: Option<&Tag>) -> Option<()> {
        if self.awaits_key() {
            return self.stop(
                &mark,
                "a key must be text, found a list or mapping",
                "a key that begins with { or [ needs quotes",
            );
        }
        if self.open.len() >= MAX_DEPTH {
            return self.stop(
                &mark,
                format!("nested more than {MAX_DEPTH} levels deep"),
                "",
            );
        }
        let tag = self.tag(tag, &mark);
        self.open.push(Open {
            mark,
            anchor,
            tag,
            parts,
        });
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        let open = self.open.pop()?;
        let kind = match open.parts {
            Parts::Sequence(items) => Kind::Sequence(items),
            Parts::Mapping(mapping) => self.close(*mapping),
        };
        let node = open.tag.applied(Node::new(kind, open.mark));
        self.place(node, open.anchor)
    }

    /// A mapping at its end: what is merged by `<<` gives way to what is written.
    fn close(&mut self, mapping: Mapping) -> Kind {
        let Mapping {
            mut entries,
            mut seen,
            merged,
            ..
        } = mapping;
        let Some(merged) = merged else {
            return Kind::Mapping(entries);
        };
        let mark = merged.mark.clone();
        let sources = match merged.kind {
            Kind::Sequence(items) => items,
            kind => vec![Node::new(kind, mark.clone())],
        };
        for source in sources {
            let Kind::Mapping(from) = source.kind else {
                let path = self.path().key("<<");
                self.problems
                    .error(&path, "only a mapping can be merged by `<<`")
                    .help("write `<<: *anchor` of a mapping, or a list of such")
                    .at(source.mark.place());
                continue;
            };
            for entry in from {
                if !seen.contains_key(&entry.key.text) {
                    seen.insert(entry.key.text.clone(), entry.key.mark.clone());
                    entries.push(entry);
                }
            }
        }
        Kind::Mapping(entries)
    }

    fn scalar(&mut self, text: String, plain: bool, mark: Mark, tag: Option<&Tag>) -> Node {
        let tag = self.tag(tag, &mark);
        let quoted = !plain || tag.text;
        // only values can be nothing: a key such as `null` keeps its text
        let nothing = match text.as_str() {
            "" => !quoted,
            "~" | "null" | "Null" | "NULL" => !quoted && !self.awaits_key(),
            _ => false,
        };
        let kind = if nothing {
            Kind::Null
        } else {
            Kind::Scalar(Scalar::written(text, quoted))
        };
        tag.applied(Node::new(kind, mark))
    }

    fn awaits_key(&self) -> bool {
        match self.open.last().map(|open| &open.parts) {
            Some(Parts::Mapping(mapping)) => mapping.key.is_none(),
            _ => false,
        }
    }

    fn tag(&mut self, tag: Option<&Tag>, mark: &Mark) -> Tagged {
        let mut said = Tagged::default();
        let Some(tag) = tag else {
            return said;
        };
        let core = tag.is_yaml_core_schema();
        match tag.suffix.as_str() {
            "str" if core => said.text = true,
            "int" | "float" | "bool" | "null" | "map" | "seq" if core => {}
            name if !core && self.tags == Tags::Functions && !self.awaits_key() => {
                said.function = Some(match name {
                    "Ref" | "Condition" => name.to_owned(),
                    name => format!("Fn::{name}"),
                });
            }
            _ => {
                let path = self.path();
                let shown = if core {
                    format!("!!{}", tag.suffix)
                } else {
                    tag.to_string()
                };
                self.problems
                    .error(&path, format!("the tag `{shown}` has no meaning here"))
                    .help("quote a text that begins with `!`")
                    .at(mark.place());
                said.refused = Some(Refusal::default());
            }
        }
        said
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Option<Node> {
        let Some(node) = self.anchors.get(&anchor) else {
            return self.stop(&mark, "an alias inside the value that it stands for", "");
        };
        let (size, height) = (node.size(), node.height());
        let mut node = node.clone();
        self.aliased += size;
        if self.aliased > MAX_ALIASED {
            let message = format!("aliases add more than {MAX_ALIASED} values to this file");
            return self.stop(&mark, message, "");
        }
        if self.open.len() + height > MAX_DEPTH + 1 {
            return self.stop(
                &mark,
                format!("nested more than {MAX_DEPTH} levels deep"),
                "",
            );
        }
        node.mark = mark;
        Some(node)
    }

    /// Puts a finished node where it belongs: it is a key, a value, an item or the root.
    fn place(&mut self, node: Node, anchor: usize) -> Option<()> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        if self.awaits_key() {
            return self.key(node);
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.root = Some(node),
            Some(Parts::Sequence(items)) => items.push(node),
            Some(Parts::Mapping(mapping)) => match mapping.key.take() {
                Some((_, true)) | None => {}
                Some((key, false)) if key.text == "<<" => mapping.merged = Some(node),
                Some((key, false)) => mapping.entries.push(Entry { key, value: node }),
            },
        }
        Some(())
    }

    fn key(&mut self, node: Node) -> Option<()> {
        let text = match node.kind {
            Kind::Scalar(scalar) => scalar.text().into_owned(),
            Kind::Null => return self.stop(&node.mark, "a key is missing before `:`", ""),
            Kind::Sequence(_) | Kind::Mapping(_) => {
                return self.stop(
                    &node.mark,
                    "a key must be text, found a list or mapping",
                    "",
                );
            }
        };
        let path = self.path().key(&text);
        if text.contains("${env:") || text.contains("${file:") {
            self.problems
                .error(&path, "a key cannot be substituted")
                .help("`${env:…}` and `${file:…}` stand in values only")
                .at(node.mark.place());
        }
        let Some(Parts::Mapping(mapping)) = self.open.last_mut().map(|open| &mut open.parts) else {
            return None;
        };
        let first = mapping.seen.get(&text).cloned();
        if let Some(first) = &first {
            self.problems
                .error(
                    &path,
                    format!("this key is written twice, first at {}", first.place()),
                )
                .help("keep one of the two")
                .at(node.mark.place());
        } else {
            mapping.seen.insert(text.clone(), node.mark.clone());
        }
        mapping.key = Some((
            Key {
                text,
                mark: node.mark,
            },
            first.is_some(),
        ));
        Some(())
    }

    fn syntax_error(&mut self, error: &ScanError) -> Option<()> {
        if let Some((line, column, quote)) = quotes::culprit(self.text, error.marker().line()) {
            let mark = Mark {
                file: self.file.clone(),
                line,
                column,
            };
            let message = quotes::typographic(quote);
            return self.stop(&mark, message, "write a straight quote in its place");
        }
        let mark = self.culprit(error.info(), self.mark(*error.marker()));
        let line = self.text.lines().nth(mark.line.saturating_sub(1));
        let (message, help) = explain(error.info(), line.unwrap_or_default());
        self.stop(&mark, message, help)
    }

    /// Where the cause stands, for the errors that the parser notices before or after it.
    fn culprit(&self, info: &str, noticed: Mark) -> Mark {
        let indent = |line: &str| line.chars().take_while(|c| c.is_whitespace()).count();
        let lines = || self.text.lines().zip(1..);
        let found = if is_tab(info) {
            lines()
                .skip_while(|(_, number)| *number < noticed.line)
                .find_map(|(line, number)| {
                    let at = line.chars().position(|c| c == '\t')?;
                    (at < indent(line)).then_some((number, at + 1))
                })
        } else if info.contains("simple key expect") {
            lines()
                .take_while(|(_, number)| {
                    *number < noticed.line || (*number == noticed.line && noticed.column > 1)
                })
                .filter(|(line, _)| {
                    let text = line.trim_start();
                    !text.is_empty() && !text.starts_with('#')
                })
                .last()
                .map(|(line, number)| (number, indent(line) + 1))
        } else {
            None
        };
        match found {
            Some((line, column)) => Mark {
                line,
                column,
                ..noticed
            },
            None => noticed,
        }
    }
}

fn is_tab(info: &str) -> bool {
    info.contains("tab") && !info.contains("table")
}

/// The parser's words in plain ones, and what to do about it.
fn explain(info: &str, line: &str) -> (String, &'static str) {
    let in_flow = info.contains("flow") || info.contains("illegal placement of ':'");
    let (message, help) = if is_tab(info) {
        ("a tab where YAML wants spaces", "indent with spaces")
    } else if in_flow && line.contains("${") {
        (
            "`${` inside `{…}` or `[…]` is not quoted",
            "in one-line style, write such a value in quotes: \"${…}\"",
        )
    } else if in_flow {
        (
            "`{…}` or `[…]` is not closed, or a comma is missing",
            "a value that holds { } [ ] or , needs quotes",
        )
    } else if info.contains("mapping values are not allowed") {
        (
            "a second `: ` on this line, or wrong indentation",
            "a value that holds `: ` needs quotes",
        )
    } else if info.contains("did not find expected key") {
        (
            "expected a `key:` here",
            "check the indentation; a value that begins with { or [ needs quotes",
        )
    } else if info.contains("expected '-' indicator") {
        (
            "expected `- ` and the next item of the list here",
            "check the indentation",
        )
    } else if info.contains("simple key expect") {
        (
            "this line holds a text without `: `",
            "write `key: value`, with a space after the colon",
        )
    } else if info.contains("quoted scalar") && info.contains("escape") {
        (
            "an unknown escape after \\ in double quotes",
            "use single quotes, or write \\\\ for a backslash",
        )
    } else if info.contains("indentation in quoted scalar")
        || info.contains("unexpected end of stream")
    {
        ("a quote is opened here and not closed", "")
    } else if info.contains("unknown anchor") {
        (
            "`*` refers to an anchor that is not defined above",
            "a text that begins with `*` needs quotes",
        )
    } else if let Some(found) = info.strip_prefix("unexpected character: ") {
        let found = found.trim_matches(['`', '\'']);
        return (
            format!("a text cannot begin with `{found}`"),
            "write it in quotes",
        );
    } else if info.contains("unprintable") {
        ("a control character, which YAML does not allow", "")
    } else if info.contains("recursion limit") {
        return (format!("nested more than {MAX_DEPTH} levels deep"), "");
    } else {
        return (format!("not valid YAML: {info}"), "");
    };
    (message.to_owned(), help)
}
