//! JSON Schema → `docs/configuration.md`: a section for each part of the configuration, found by its path, with a
//! table of its keys. The doc comments of the types are the text; nothing is written here but the frame.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use serde_json::{Map, Value};

use shape::{
    Shape, description, is_nothing, is_structured, names, plain, range, shape, tag, without_null,
};

mod shape;

const NOTE: &str = "<!-- Generated from the doc comments of the configuration types: change those, not this page. -->\n";

/// Stands in paths for a name that the writer of a configuration chooses.
const ANY_NAME: &str = "NAME";

/// The reference of everything that `schema` describes, as Markdown. The same schema gives the same text.
pub fn markdown(schema: &Value) -> String {
    let mut reference = Reference {
        definitions: schema.get("$defs").and_then(Value::as_object),
        described: BTreeMap::new(),
        slugs: BTreeSet::new(),
        pending: VecDeque::new(),
        values: BTreeSet::new(),
        out: String::new(),
        depth: 0,
    };
    reference.out.push_str("# Configuration\n\n");
    reference.out.push_str(NOTE);
    reference.paragraph(&description(schema));
    reference.body("", schema);
    reference.sections();
    let values = reference.values();
    // a value may name a mapping that nothing else names
    reference.sections();
    reference.out + &values
}

/// A part that still needs its section.
struct Section {
    path: String,
    schema: Value,
    /// What the key that leads here says about it.
    meaning: String,
}

struct Reference<'a> {
    definitions: Option<&'a Map<String, Value>>,
    /// The anchor of the section of each definition that has one.
    described: BTreeMap<String, String>,
    slugs: BTreeSet<String>,
    pending: VecDeque<Section>,
    /// The definitions of single values that were mentioned.
    values: BTreeSet<String>,
    out: String,
    /// How deep the words for a type are nested: a type may hold itself.
    depth: usize,
}

/// The deepest nesting that the words for one type show.
const MAX_DEPTH: usize = 6;

impl<'a> Reference<'a> {
    /// Writes every section that is waiting, each followed by those that it refers to.
    fn sections(&mut self) {
        while let Some(section) = self.pending.pop_front() {
            let waiting = std::mem::take(&mut self.pending);
            self.section(&section);
            self.pending.extend(waiting);
        }
    }

    fn section(&mut self, section: &Section) {
        let parts = section.path.split('.').filter(|part| *part != ANY_NAME);
        let depth = parts.count().clamp(1, 3) + 1;
        let _ = write!(self.out, "\n{} `{}`\n", "#".repeat(depth), section.path);
        let (_, schema) = self.resolved(&section.schema);
        let (schema, general) = (schema.clone(), description(schema));
        if !general.starts_with(section.meaning.trim_end_matches('.')) {
            self.paragraph(&section.meaning);
        }
        self.paragraph(&general);
        self.body(&section.path, &schema);
    }

    /// What stands below a heading: tables, and new sections for what they name.
    fn body(&mut self, path: &str, schema: &Value) {
        let (_, schema) = self.resolved(schema);
        let schema = schema.clone();
        match shape(&schema) {
            Shape::Keys(keys) => self.keys(path, &schema, keys),
            Shape::Map(value) => {
                let path = below(path, ANY_NAME);
                let name = self.kind(&path, value, "");
                let _ = write!(self.out, "\nA mapping; each value is {name}.\n");
            }
            Shape::List(items) => {
                let name = self.kind(&format!("{path}[]"), items, "");
                let _ = write!(self.out, "\nA list; each item is {name}.\n");
            }
            Shape::Words(words) => self.words(&words),
            Shape::Empty => self.out.push_str("\nIt has no keys: write `{}`.\n"),
            Shape::Choice(forms) => self.choice(path, &forms),
            Shape::Plain => {
                let name = self.kind(path, &schema, "");
                let _ = write!(self.out, "\nA value: {name}.\n");
            }
        }
    }

    fn keys(&mut self, path: &str, schema: &Value, keys: &Map<String, Value>) {
        self.out
            .push_str("\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
        let required = names(schema, "required");
        for (key, value) in keys {
            self.row(path, key, value, required.contains(&key.as_str()));
        }
    }

    fn row(&mut self, path: &str, key: &str, value: &Value, required: bool) {
        let meaning = self.meaning(value);
        let kind = self.kind(&below(path, key), value, &meaning);
        let (stated, meaning) = split_default(&meaning);
        let default = match (required, value.get("default")) {
            (true, _) => "required".to_owned(),
            (false, _) if stated.is_some() => stated.unwrap_or_default(),
            (false, Some(default)) if !is_nothing(default) => format!("`{default}`"),
            (false, _) => String::new(),
        };
        let meaning = self.with_words(meaning, value);
        let range = range(value)
            .map(|range| format!(" ({range})"))
            .unwrap_or_default();
        let _ = writeln!(
            self.out,
            "| `{key}` | {}{range} | {} | {} |",
            cell(&kind),
            cell(&default),
            cell(&meaning)
        );
    }

    /// The meaning, followed by those of the words that a closed set has.
    fn with_words(&self, meaning: String, schema: &Value) -> String {
        let Shape::Words(words) = shape(self.resolved(schema).1) else {
            return meaning;
        };
        let told = words.iter().filter(|(_, meaning)| !meaning.is_empty());
        told.fold(meaning, |text, (word, meaning)| {
            format!("{text}\n\n{word}: {meaning}")
        })
    }

    fn words(&mut self, words: &[(String, String)]) {
        self.out.push_str("\n| Word | Meaning |\n|---|---|\n");
        for (word, meaning) in words {
            let _ = writeln!(self.out, "| {word} | {} |", cell(meaning));
        }
    }

    /// One of several forms. Forms with one required key are tagged by it; optional keys that all of them may have
    /// beside the tag get a table of their own.
    fn choice(&mut self, path: &str, forms: &[&Value]) {
        let mut beside: Vec<(String, Value, Vec<String>)> = Vec::new();
        let mut rows = Vec::new();
        for form in forms {
            let (_, resolved) = self.resolved(form);
            let resolved = resolved.clone();
            let meaning = self.meaning(form);
            match (tag(&resolved), shape(&resolved)) {
                (Some(tag), Shape::Keys(keys)) => {
                    let content = keys.get(tag).cloned().unwrap_or(Value::Null);
                    let meaning = if meaning.is_empty() {
                        self.meaning(&content)
                    } else {
                        meaning
                    };
                    let kind = self.kind(&below(path, tag), &content, &meaning);
                    for (key, value) in keys.iter().filter(|(key, _)| *key != tag) {
                        match beside.iter_mut().find(|(known, ..)| known == key) {
                            Some((.., tags)) => tags.push(tag.to_owned()),
                            None => beside.push((key.clone(), value.clone(), vec![tag.to_owned()])),
                        }
                    }
                    rows.push((format!("`{tag}:` {kind}"), meaning));
                }
                (_, Shape::Words(words)) => rows.extend(words),
                _ => rows.push((self.kind(path, form, &meaning), meaning)),
            }
        }
        self.out
            .push_str("\nOne of:\n\n| Form | Meaning |\n|---|---|\n");
        for (form, meaning) in &rows {
            let _ = writeln!(self.out, "| {} | {} |", cell(form), cell(meaning));
        }
        if beside.is_empty() {
            return;
        }
        self.out
            .push_str("\nBeside the tag may stand:\n\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
        let tagged = rows.len();
        for (key, mut value, tags) in beside {
            if tags.len() < tagged
                && let Some(object) = value.as_object_mut()
            {
                let tags: Vec<String> = tags.iter().map(|tag| format!("`{tag}`")).collect();
                let text = object
                    .get("description")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let text = format!("{text} Only with {}.", tags.join(", "));
                object.insert("description".to_owned(), text.trim().into());
            }
            self.row(path, &key, &value, false);
        }
    }

    /// The type of a value in a few words; what needs more gets a section at `path`, or a line under Values.
    fn kind(&mut self, path: &str, schema: &Value, meaning: &str) -> String {
        if self.depth == MAX_DEPTH {
            return "…".to_owned();
        }
        self.depth += 1;
        let words = self.kind_in_words(path, schema, meaning);
        self.depth -= 1;
        words
    }

    fn kind_in_words(&mut self, path: &str, schema: &Value, meaning: &str) -> String {
        let schema = without_null(schema);
        let (name, resolved) = self.resolved(schema);
        let (name, resolved) = (name.map(str::to_owned), resolved.clone());
        let own_section = match shape(&resolved) {
            Shape::Map(value) => {
                let of = self.kind(&below(path, ANY_NAME), value, meaning);
                return format!("mapping of name to {of}");
            }
            Shape::List(items) => {
                let of = self.kind(&format!("{path}[]"), items, meaning);
                return format!("list of {of}");
            }
            Shape::Keys(_) => true,
            Shape::Words(words) => {
                return words
                    .iter()
                    .map(|(word, _)| word.as_str())
                    .collect::<Vec<_>>()
                    .join(" or ");
            }
            Shape::Choice(forms) => forms.iter().any(|form| is_structured(form)),
            Shape::Empty => return "`{}`".to_owned(),
            Shape::Plain => false,
        };
        if own_section {
            let title = match name.as_deref() {
                Some(name) => in_words(name),
                None => "mapping".to_owned(),
            };
            let slug = self.slug(path, name, schema, meaning);
            return format!("[{title}](#{slug})");
        }
        if let Some(name) = name {
            let title = in_words(&name);
            if !description(&resolved).is_empty() {
                self.values.insert(name);
                return format!("[{title}](#values)");
            }
        }
        self.form(path, &resolved)
    }

    /// The anchor of the section that describes `schema`: an earlier one of the same definition, or a new one.
    fn slug(&mut self, path: &str, name: Option<String>, schema: &Value, meaning: &str) -> String {
        if let Some(slug) = name.as_ref().and_then(|name| self.described.get(name)) {
            return slug.clone();
        }
        let mut slug: String = path
            .to_lowercase()
            .replace(' ', "-")
            .chars()
            .filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_')
            .collect();
        while !self.slugs.insert(slug.clone()) {
            slug.push_str("-1");
        }
        if let Some(name) = name {
            self.described.insert(name, slug.clone());
        }
        self.pending.push_back(Section {
            path: path.to_owned(),
            schema: schema.clone(),
            meaning: meaning.to_owned(),
        });
        slug
    }

    /// The single values that tables only name.
    fn values(&mut self) -> String {
        let mut table =
            "\n## Values\n\n| Value | Written as | Meaning |\n|---|---|---|\n".to_owned();
        let mut written = BTreeSet::new();
        // a value may be made of others
        while let Some(name) = self.values.difference(&written).next().cloned() {
            let (form, text) = match self.definitions.and_then(|all| all.get(&name)) {
                Some(schema) => (self.form(&in_words(&name), schema), description(schema)),
                None => Default::default(),
            };
            let title = in_words(&name);
            let _ = writeln!(table, "| {title} | {} | {} |", cell(&form), cell(&text));
            written.insert(name);
        }
        if written.is_empty() {
            String::new()
        } else {
            table
        }
    }

    /// A value without a section, by the forms that it has.
    fn form(&mut self, path: &str, schema: &Value) -> String {
        let Shape::Choice(forms) = shape(schema) else {
            return plain(schema);
        };
        let mut kinds: Vec<String> = Vec::new();
        for form in forms {
            let kind = self.kind(path, form, "");
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds.join(" or ")
    }

    fn paragraph(&mut self, text: &str) {
        if !text.is_empty() {
            let _ = write!(self.out, "\n{text}\n");
        }
    }

    /// What is said about a value where it is used, else where it is defined, unless it has a section or line there.
    fn meaning(&self, schema: &Value) -> String {
        let here = description(schema);
        if !here.is_empty() {
            return here;
        }
        let schema = without_null(schema);
        let here = description(schema);
        let (_, resolved) = self.resolved(schema);
        if here.is_empty() {
            description(resolved)
        } else {
            here
        }
    }

    /// The schema that a reference leads to, and the last definition's name on the way.
    fn resolved<'b>(&self, schema: &'b Value) -> (Option<&'b str>, &'b Value)
    where
        'a: 'b,
    {
        let (mut name, mut schema) = (None, without_null(schema));
        for _ in 0..8 {
            let target = schema
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|reference| reference.strip_prefix("#/$defs/"));
            let Some((next, definition)) =
                target.and_then(|next| Some((next, self.definitions?.get(next)?)))
            else {
                break;
            };
            (name, schema) = (Some(next), without_null(definition));
        }
        (name, schema)
    }
}

/// Takes `Default: …` from the end of a text into the column for it.
fn split_default(text: &str) -> (Option<String>, String) {
    match text.rsplit_once("Default: ") {
        Some((before, default)) if before.is_empty() || before.ends_with([' ', '\n']) => {
            let default = default.trim().trim_end_matches('.');
            (Some(default.to_owned()), before.trim().to_owned())
        }
        _ => (None, text.to_owned()),
    }
}

/// A text in a table's cell.
fn cell(text: &str) -> String {
    text.replace("\n\n", "<br>")
        .replace('\n', " ")
        .replace('|', "\\|")
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// `ByteSize` → `byte size`, `StoreConfig` → `store`, `SQS-SendMessage` as it is.
fn in_words(name: &str) -> String {
    if name.contains('-') {
        return name.to_owned();
    }
    let name = match name.strip_suffix("Config") {
        Some("") => return "mapping".to_owned(),
        Some(rest) => rest,
        None => name,
    };
    let mut words = String::new();
    let letters: Vec<char> = name.chars().collect();
    for (at, letter) in letters.iter().enumerate() {
        let starts_word = letter.is_uppercase()
            && at > 0
            && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if starts_word && !words.ends_with(['-', '_', ' ']) {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests;
