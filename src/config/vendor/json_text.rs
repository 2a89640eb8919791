//! A tree as JSON text, in the order of writing.

use crate::config::load::tree::{Kind, Node, Scalar};

/// Writes a tree, indented by two spaces.
pub fn write(tree: &Node) -> String {
    let mut out = String::new();
    value(tree, 0, &mut out);
    out.push('\n');
    out
}

fn value(node: &Node, depth: usize, out: &mut String) {
    match &node.kind {
        Kind::Null => out.push_str("null"),
        Kind::Scalar(leaf) => out.push_str(&scalar(leaf)),
        Kind::Sequence(items) => {
            let items = items.iter().map(|item| (None, item));
            collection(items, ['[', ']'], depth, out);
        }
        Kind::Mapping(entries) => {
            let entries = entries
                .iter()
                .map(|entry| (Some(entry.key.text.as_str()), &entry.value));
            collection(entries, ['{', '}'], depth, out);
        }
    }
}

fn collection<'a>(
    parts: impl ExactSizeIterator<Item = (Option<&'a str>, &'a Node)>,
    [open, close]: [char; 2],
    depth: usize,
    out: &mut String,
) {
    let indent = |depth: usize, out: &mut String| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    out.push(open);
    let empty = parts.len() == 0;
    for (position, (key, node)) in parts.enumerate() {
        if position > 0 {
            out.push(',');
        }
        indent(depth + 1, out);
        if let Some(key) = key {
            out.push_str(&quoted(key));
            out.push_str(": ");
        }
        value(node, depth + 1, out);
    }
    if !empty {
        indent(depth, out);
    }
    out.push(close);
}

/// A number or a boolean where it was written as one, else a text.
fn scalar(leaf: &Scalar) -> String {
    let text = leaf.text();
    let plain = !leaf.quoted
        && (text == "true"
            || text == "false"
            || serde_json::from_str::<serde_json::Number>(&text).is_ok());
    match plain {
        true => text.into_owned(),
        false => quoted(&text),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
