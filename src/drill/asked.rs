//! What the mappings of a route file ask of a request: names in the JSON body, headers, query parameters. Clients fill
//! them in, so that a file can be drilled that was not written for it.

use std::io;
use std::path::{Path, PathBuf};

/// The names, each once, in the order in which they were met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Paths into the JSON body; those through a list are left out.
    pub body: Vec<Vec<String>>,
    pub headers: Vec<String>,
    pub query: Vec<String>,
}

impl Asked {
    /// Reads the files, and those that lie right in a folder.
    pub fn read(paths: &[PathBuf]) -> io::Result<Asked> {
        let mut asked = Asked::default();
        for path in paths {
            for file in files(path)? {
                asked.note(&String::from_utf8_lossy(&std::fs::read(file)?));
            }
        }
        Ok(asked)
    }

    /// Notes what a text's mapping expressions name.
    fn note(&mut self, text: &str) {
        for (at, _) in text.match_indices("request.") {
            let rest = &text[at + "request.".len()..];
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            let end = rest.find(|c| !allowed(c)).unwrap_or(rest.len());
            let (expression, behind) = rest.split_at(end);
            let Some((source, name)) = expression.split_once('.') else {
                continue;
            };
            let name = name.trim_end_matches(['.', '-']);
            if name.is_empty() || behind.starts_with('[') {
                continue;
            }
            match source {
                "body" => once(&mut self.body, name.split('.').map(str::to_owned).collect()),
                "header" => once(&mut self.headers, name.to_ascii_lowercase()),
                "querystring" => once(&mut self.query, name.to_owned()),
                _ => {}
            }
        }
    }
}

fn once<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_every_form_of_expression() {
        let mut asked = Asked::default();
        asked.note(
            "a: $request.body.customer.id\nb: ${request.header.X-Tenant:-none}\nc: \"x ${request.querystring.day} y\"\n\
             d: $request.body\ne: $request.body.items[0]\nf: $request.path.id\ng: $request.body.customer.id",
        );
        assert_eq!(asked.body, [["customer", "id"]]);
        assert_eq!(asked.headers, ["x-tenant"]);
        assert_eq!(asked.query, ["day"]);
    }
}
