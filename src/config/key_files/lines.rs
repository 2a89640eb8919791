//! YAML with one key a line, as `penstock keys` writes it: a subset that is read some hundred times faster than any
//! YAML. A line that says anything else leaves the file to the general reader, which also says what is wrong with it.

use std::path::Path;

use super::list::{FileKey, FileKeys};

/// What a text is.
pub(super) enum Lines {
    Keys(FileKeys),
    /// This line is of another form.
    OtherForm(usize),
}

/// Reads `api_keys:` and below it `  NAME: { hash: …, plan: …, enabled: …, description: … }` lines, with empty lines and
/// comments between them.
pub(super) fn read(path: &Path, text: &str) -> Lines {
    let mut keys = FileKeys::new(path);
    let mut begun = false;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let bare = line.trim_end();
        if bare.is_empty() || bare.trim_start().starts_with('#') {
            continue;
        }
        let read = if begun {
            key_of(bare).map(|key| {
                // As the general reader has it: where the value begins.
                let column = bare.find('{').map_or(1, |at| at + 1);
                keys.push(key, number + 1, column);
            })
        } else {
            begun = true;
            (bare == "api_keys:").then_some(())
        };
        if read.is_none() {
            return Lines::OtherForm(number + 1);
        }
    }
    if keys.is_empty() {
        return Lines::OtherForm(1);
    }
    Lines::Keys(keys)
}

/// `  NAME: { … }`
fn key_of(line: &str) -> Option<FileKey<'_>> {
    let line = line
        .strip_prefix("  ")
        .filter(|line| !line.starts_with(' '))?;
    let (id, rest) = token(line)?;
    let mut rest = rest.strip_prefix(": {")?.strip_suffix('}')?.trim();
    let (mut hash, mut plan, mut enabled, mut description) = (None, None, None, None);
    while !rest.is_empty() {
        let (name, behind) = token(rest)?;
        let (value, behind) = token(behind.strip_prefix(": ")?.trim_start())?;
        // A key that is written twice, or a strange one, is for the general reader to refuse.
        let twice = match name {
            "hash" => hash.replace(value.parse().ok()?).is_some(),
            "plan" => plan.replace(value).is_some(),
            "enabled" => enabled.replace(value.parse().ok()?).is_some(),
            "description" => description.replace(value).is_some(),
            _ => return None,
        };
        if twice {
            return None;
        }
        rest = behind.trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }
    Some(FileKey {
        id,
        hash: hash?,
        plan,
        enabled: enabled.unwrap_or(true),
        description,
    })
}

/// A text in double quotes without escapes, or a word that means the same to every reader of YAML.
fn token(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (inner, rest) = quoted.split_once('"')?;
        let plain = !inner.contains('\\') && !inner.contains('$') && !inner.is_empty();
        return plain.then_some((inner, rest));
    }
    let in_word = |(at, byte): (usize, u8)| {
        byte.is_ascii_alphanumeric()
            || b"_.-".contains(&byte)
            || (byte == b':'
                && text
                    .as_bytes()
                    .get(at + 1)
                    .is_some_and(|next| *next != b' '))
    };
    let end = text
        .bytes()
        .enumerate()
        .find(|at| !in_word(*at))
        .map_or(text.len(), |(at, _)| at);
    let (word, rest) = text.split_at(end);
    let begins = word.bytes().next()?;
    let word_like = begins.is_ascii_alphanumeric() && word != "null";
    word_like.then_some((word, rest))
}

/// Whether a text can be added to at its end.
pub fn has_one_key_a_line(text: &str) -> bool {
    text.trim_end() == "api_keys:" || matches!(read(Path::new(""), text), Lines::Keys(_))
}

/// The line of a key.
pub fn line_of(key: &FileKey<'_>) -> String {
    let mut line = format!("  {}: {{ hash: \"{}\"", written(key.id), key.hash);
    if let Some(plan) = key.plan {
        line += &format!(", plan: {}", written(plan));
    }
    if !key.enabled {
        line += ", enabled: false";
    }
    if let Some(description) = key.description {
        line += &format!(", description: {}", written(description));
    }
    line + " }"
}

/// A text as YAML has it: a plain word, or in quotes. `${` would be a substitution.
fn written(text: &str) -> String {
    const OTHERS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "none"];
    let plain = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && text.len() > 1
        && !OTHERS.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted.replace("${", "$${")
}
