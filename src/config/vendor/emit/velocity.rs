//! Request and response templates of REST integrations, as far as they select and join: the text and the references in
//! it. Templates are programs (VTL), and are not run: loops, conditions and functions of the language are refused by
//! name, so what is read here means what it says. Reading is pure.

use std::collections::HashMap;

/// A template that was understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    pub pieces: Vec<Piece>,
    /// `#set($context.requestOverride.header.NAME = "…")`.
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(String),
    Value(Value),
}

/// What a reference gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub source: Source,
    /// The function that its text has gone through.
    pub coding: Coding,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `$input.body`, or `$input.json('$')`, which writes the JSON anew.
    Body { anew: bool },
    /// `$input.path('$.a.b')`: a selector without its `$`.
    Path(String),
    /// `$input.json('$.a.b')`: the same as JSON text, a text with its quotes.
    Json(String),
    /// `$input.params('NAME')`: of the path, else the query, else a header.
    Parameter(String),
    /// `$input.params().header.get('NAME')`, and so on: `header`, `querystring` or `path`.
    Of(&'static str, String),
    /// `$context.NAME`.
    Context(String),
    /// `$stageVariables.NAME`.
    StageVariable(String),
}

/// The vendor's functions that say how a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Plain,
    /// `$util.urlEncode`.
    Url,
    /// `$util.escapeJavaScript`.
    Escaped,
    /// `$util.base64Encode`.
    Base64,
}

/// What a variable of the template stands for.
#[derive(Clone, Debug)]
enum Bound {
    Text(String),
    Value(Value),
}

/// The deepest nesting of functions: more is no template that anyone writes.
const DEEPEST: usize = 8;

/// Reads a template. `Err`: what in it would have to be run.
pub fn read(text: &str) -> Result<Template, String> {
    let mut reader = Reader {
        rest: text,
        variables: HashMap::new(),
        made: Template::default(),
    };
    reader.run()?;
    Ok(reader.made)
}

struct Reader<'a> {
    rest: &'a str,
    variables: HashMap<String, Bound>,
    made: Template,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(at) = self.rest.find(['$', '#']) {
            let (before, from) = self.rest.split_at(at);
            self.text(before);
            self.rest = from;
            if from.starts_with("##") {
                let end = from.find('\n').unwrap_or(from.len());
                self.rest = &from[end..];
            } else if let Some(inside) = from.strip_prefix("#set") {
                self.set(inside)?;
            } else if let Some(directive) = from.strip_prefix('#') {
                let word: String = directive
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || "{}@".contains(*c))
                    .collect();
                return Err(format!("`#{word}`"));
            } else {
                self.reference()?;
            }
        }
        let rest = self.rest;
        self.text(rest);
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.made.pieces.last_mut() {
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.made.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// `$…` in the text.
    fn reference(&mut self) -> Result<(), String> {
        // what `--vars` does not know, and what other tools fill in, is no reference of the template
        if let Some(inside) = self.rest.strip_prefix("${")
            && let Some(end) = inside.find('}')
            && !["stageVariables.", "context.", "input.", "util."]
                .iter()
                .any(|root| inside.starts_with(root))
            && !self.variables.contains_key(&inside[..end])
        {
            let (placeholder, rest) = self.rest.split_at(end + 3);
            self.text(placeholder);
            self.rest = rest;
            return Ok(());
        }
        let (found, rest) = self.evaluated(self.rest, 0)?;
        self.rest = rest;
        match found {
            Bound::Text(text) => self.text(&text),
            Bound::Value(value) => self.made.pieces.push(Piece::Value(value)),
        }
        Ok(())
    }

    /// `#set($name = …)`.
    fn set(&mut self, from: &'a str) -> Result<(), String> {
        let not_read = || "`#set` of more than a text or a reference".to_owned();
        let (inside, rest) = arguments(from.trim_start()).ok_or_else(not_read)?;
        let (name, value) = inside.split_once('=').ok_or_else(not_read)?;
        let name = name.trim().trim_start_matches('$');
        let name = name.trim_start_matches('{').trim_end_matches('}');
        let bound = self.argument(value.trim(), 0).map_err(|_| not_read())?;
        if let Some(header) = name.strip_prefix("context.requestOverride.header.") {
            let Bound::Text(text) = bound else {
                return Err(not_read());
            };
            self.made.headers.push((header.to_owned(), text));
        } else if name.contains('.') {
            return Err(format!("`#set(${name})`"));
        } else {
            self.variables.insert(name.to_owned(), bound);
        }
        self.rest = rest;
        Ok(())
    }

    /// An argument of a function: a text in quotes, or a reference, in quotes or not.
    fn argument(&self, text: &str, depth: usize) -> Result<Bound, String> {
        let inner = unquoted(text);
        let written = inner.unwrap_or(text).trim();
        if written.starts_with('$') {
            let (found, rest) = self.evaluated(written, depth + 1)?;
            return match rest.trim() {
                "" => Ok(found),
                _ => Err(format!("`{text}`")),
            };
        }
        match inner {
            Some(inner) if !inner.contains(['$', '#']) => Ok(Bound::Text(inner.to_owned())),
            _ => Err(format!("`{text}`")),
        }
    }

    /// The reference at the beginning of `text`, and what follows it.
    fn evaluated<'t>(&self, text: &'t str, depth: usize) -> Result<(Bound, &'t str), String> {
        let shown = || {
            let line = text.lines().next().unwrap_or_default();
            let end = line.find("\",").unwrap_or(line.len());
            format!("`{}`", line[..end].trim_end())
        };
        if depth > DEEPEST {
            return Err(shown());
        }
        let inner = text.trim_start_matches('$').trim_start_matches('!');
        let (inner, braced) = match inner.strip_prefix('{') {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let (name, rest) = identifier(inner);
        let (found, rest) = match name {
            "input" => input(rest).ok_or_else(shown)?,
            "util" => self.function(rest, depth).map_err(|_| shown())?,
            "context" => {
                let (path, rest) = dotted(rest).ok_or_else(shown)?;
                (plain(Source::Context(path)), rest)
            }
            "stageVariables" => {
                let (name, rest) = one_name(rest).ok_or_else(shown)?;
                (plain(Source::StageVariable(name)), rest)
            }
            name => match self.variables.get(name) {
                Some(Bound::Value(Value {
                    source: Source::Path(path),
                    coding: Coding::Plain,
                })) => {
                    let (further, rest) = selector(rest);
                    (plain(Source::Path(format!("{path}{further}"))), rest)
                }
                Some(bound) => (bound.clone(), rest),
                None => return Err(shown()),
            },
        };
        // a method of what was found, such as `.split(':')`, is run there
        let method = rest.strip_prefix('.').map(identifier);
        if method.is_some_and(|(name, rest)| !name.is_empty() && rest.starts_with('(')) {
            return Err(shown());
        }
        match braced {
            true => Ok((found, rest.strip_prefix('}').ok_or_else(shown)?)),
            false => Ok((found, rest)),
        }
    }

    /// `.urlEncode(…)` and its like.
    fn function<'t>(&self, text: &'t str, depth: usize) -> Result<(Bound, &'t str), String> {
        let unknown = || text.to_owned();
        let (name, rest) = identifier(text.strip_prefix('.').ok_or_else(unknown)?);
        let (argument, mut rest) = arguments(rest).ok_or_else(unknown)?;
        let coding = match name {
            "urlEncode" => Coding::Url,
            "escapeJavaScript" => Coding::Escaped,
            "base64Encode" => Coding::Base64,
            _ => return Err(unknown()),
        };
        // escapeJavaScript writes `'` as `\'`, which JSON does not know: the usual cure
        if coding == Coding::Escaped
            && let Some(cure) = rest.strip_prefix(".replaceAll")
            && let Some((replaced, after)) = arguments(cure)
            && matches!(replaced.rsplit_once(','), Some((_, by)) if unquoted(by.trim()) == Some("'"))
        {
            rest = after;
        }
        match self.argument(argument.trim(), depth)? {
            Bound::Text(text) if coding == Coding::Escaped => Ok((Bound::Text(text), rest)),
            Bound::Value(Value {
                source,
                coding: Coding::Plain,
            }) => Ok((Bound::Value(Value { source, coding }), rest)),
            Bound::Text(_) | Bound::Value(_) => Err(unknown()),
        }
    }
}

fn plain(source: Source) -> Bound {
    Bound::Value(Value {
        source,
        coding: Coding::Plain,
    })
}

/// What follows `$input`.
fn input(text: &str) -> Option<(Bound, &str)> {
    let (name, rest) = identifier(text.strip_prefix('.')?);
    if name == "body" {
        return Some((plain(Source::Body { anew: false }), rest));
    }
    let (argument, rest) = arguments(rest)?;
    let argument = argument.trim();
    if name == "params" && argument.is_empty() {
        let (place, rest) = identifier(rest.strip_prefix('.')?);
        let place = ["header", "querystring", "path"]
            .into_iter()
            .find(|known| *known == place)?;
        let (name, rest) = one_name(rest)?;
        return Some((plain(Source::Of(place, name)), rest));
    }
    let argument = unquoted(argument)?;
    let source = match name {
        "params" => Source::Parameter(argument.to_owned()),
        "json" if argument == "$" => Source::Body { anew: true },
        "json" => Source::Json(selected(argument)?),
        "path" => Source::Path(selected(argument)?),
        _ => return None,
    };
    Some((plain(source), rest))
}

/// A JSONPath of names and numbers, without its `$`; `executionArn` is taken for `$.executionArn`, as there.
fn selected(path: &str) -> Option<String> {
    let rest = match path.strip_prefix('$') {
        Some(rest) => rest.to_owned(),
        None => format!(".{path}"),
    };
    let (selector, rest) = selector(&rest);
    rest.is_empty().then_some(selector)
}

/// Members and items at the beginning of `text`, as our selectors write them, and what follows.
fn selector(text: &str) -> (String, &str) {
    let (mut made, mut rest) = (String::new(), text);
    loop {
        if let Some(after) = rest.strip_prefix('.') {
            let (name, further) = identifier(after);
            // `$root.size()` is no member
            if name.is_empty() || further.starts_with('(') {
                return (made, rest);
            }
            made.push_str(&member(name));
            rest = further;
        } else if let Some(inside) = rest.strip_prefix('[')
            && let Some(end) = inside.find(']')
        {
            let key = &inside[..end];
            let number = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
            match unquoted(key) {
                Some(name) if !name.contains(['\'', '"', '\\']) => made.push_str(&member(name)),
                None if number => made.push_str(&format!("[{key}]")),
                _ => return (made, rest),
            }
            rest = &inside[end + 1..];
        } else {
            return (made, rest);
        }
    }
}

fn member(name: &str) -> String {
    let bare = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match bare && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!(".{name}"),
        false => format!("['{name}']"),
    }
}

/// `.a.b` as `a.b`.
fn dotted(text: &str) -> Option<(String, &str)> {
    let (mut path, mut rest) = (Vec::new(), text);
    while let Some(after) = rest.strip_prefix('.') {
        let (name, further) = identifier(after);
        if name.is_empty() || further.starts_with('(') {
            break;
        }
        path.push(name);
        rest = further;
    }
    (!path.is_empty()).then(|| (path.join("."), rest))
}

/// `.NAME`, `['NAME']`, `.get('NAME')`.
fn one_name(text: &str) -> Option<(String, &str)> {
    if let Some(call) = text.strip_prefix(".get") {
        let (argument, rest) = arguments(call)?;
        return Some((unquoted(argument.trim())?.to_owned(), rest));
    }
    if let Some(inside) = text.strip_prefix('[') {
        let (name, rest) = inside.split_once(']')?;
        return Some((unquoted(name)?.to_owned(), rest));
    }
    let (name, rest) = identifier(text.strip_prefix('.')?);
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

/// The letters, digits, `-` and `_` at the beginning.
fn identifier(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// What stands between the parentheses at the beginning of `text`, and what follows them.
fn arguments(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('(')?;
    let (mut depth, mut quote) = (0usize, None);
    for (at, c) in inside.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') if depth == 0 => return Some((&inside[..at], &inside[at + 1..])),
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

/// The text within single or double quotes.
fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then_some(inner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(template: &str) -> String {
        match read(template) {
            Err(reason) => format!("refused: {reason}"),
            Ok(read) => read
                .pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.clone(),
                    Piece::Value(value) => format!("<{:?} {:?}>", value.coding, value.source),
                })
                .collect(),
        }
    }

    #[test]
    fn the_usual_templates_are_text_and_references() {
        let cases = [
            (
                "Action=SendMessage&MessageBody=$input.body",
                "Action=SendMessage&MessageBody=<Plain Body { anew: false }>",
            ),
            (
                "a=$util.urlEncode($input.body)&b=1",
                "a=<Url Body { anew: false }>&b=1",
            ),
            (
                "$util.urlEncode(\"$input.body\")",
                "<Url Body { anew: false }>",
            ),
            (
                "$util.urlEncode($input.json('$'))",
                "<Url Body { anew: true }>",
            ),
            (
                "\"$util.escapeJavaScript($input.json('$')).replaceAll(\"\\\\'\",\"'\")\"",
                "\"<Escaped Body { anew: true }>\"",
            ),
            (
                "\"$util.base64Encode($input.json('$.data'))\"",
                "\"<Base64 Json(\".data\")>\"",
            ),
            (
                "#set($body = $util.escapeJavaScript($input.json('$')))\n\"$body\"",
                "\n\"<Escaped Body { anew: true }>\"",
            ),
            (
                "#set( $root = $input.path('$') )$root.a-b[0].c.",
                "<Plain Path(\"['a-b'][0].c\")>.",
            ),
            (
                "$input.params('x-id') $input.params().header.get('a') ${stageVariables.tier}",
                "<Plain Parameter(\"x-id\")> <Plain Of(\"header\", \"a\")> <Plain StageVariable(\"tier\")>",
            ),
            (
                "$context.identity.sourceIp, $!input.path('$[\"a b\"]')",
                "<Plain Context(\"identity.sourceIp\")>, <Plain Path(\"['a b']\")>",
            ),
            ("${env:MY_QUEUE} ${other}", "${env:MY_QUEUE} ${other}"),
            ("## words\n{}", "\n{}"),
            ("$util.escapeJavaScript('arn:x')", "arn:x"),
        ];
        for (template, expected) in cases {
            assert_eq!(shown(template), expected, "{template}");
        }
    }

    #[test]
    fn what_would_have_to_be_run_is_refused_by_name() {
        for (template, reason) in [
            ("#foreach($x in $input.path('$'))", "`#foreach`"),
            ("#if($a)x#end", "`#if`"),
            ("$unknown.x", "`$unknown.x`"),
            (
                "$input.json('executionArn').split(':').get(7)",
                "`$input.json('executionArn').split(':').get(7)`",
            ),
            ("$input.path('$..x')", "`$input.path('$..x')`"),
            (
                "$util.parseJson($input.body)",
                "`$util.parseJson($input.body)`",
            ),
            ("$input.params()", "`$input.params()`"),
            (
                "#set($x = 1 + 2)",
                "`#set` of more than a text or a reference",
            ),
            (
                "#set($context.responseOverride.status = \"400\")",
                "`#set($context.responseOverride.status)`",
            ),
            (
                "$util.urlEncode($util.base64Encode($input.body))",
                "`$util.urlEncode($util.base64Encode($input.body))`",
            ),
            ("$", "`$`"),
        ] {
            assert_eq!(shown(template), format!("refused: {reason}"), "{template}");
        }
    }

    #[test]
    fn headers_of_the_call_are_taken_out() {
        let read = read(
            "#set($context.requestOverride.header.X-Amz-Target = \"AWSEvents.PutEvents\")\n{}",
        )
        .unwrap();
        assert_eq!(
            read.headers,
            [("X-Amz-Target".to_owned(), "AWSEvents.PutEvents".to_owned())]
        );
        assert_eq!(read.pieces, [Piece::Text("\n{}".to_owned())]);
    }
}
