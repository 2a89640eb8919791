//! Texts that functions make out of parts, some of which may not be known: a part that is not known stays apart, as
//! `${env:NAME}`, so that what follows can tell it from what is written.

use crate::config::load::tree::{Kind, Mark, Node, Origin, Reading, Scalar};
use crate::model::text::Piece;

/// A text as if it stood in quotes.
pub fn written(text: impl Into<String>) -> Scalar {
    Scalar::written(text, true)
}

/// A text that is looked up when the configuration is loaded: `${env:NAME}`, `${aws-ssm:NAME}`.
pub fn looked_up(shown: impl Into<String>) -> Scalar {
    let shown = shown.into();
    Scalar {
        pieces: vec![Piece::Literal(shown.clone())],
        quoted: true,
        origins: vec![Origin {
            piece: 0,
            shown,
            unfetched: true,
        }],
        reading: Reading::First,
    }
}

/// The parts as one text.
pub fn joined(parts: impl IntoIterator<Item = Scalar>) -> Scalar {
    let mut whole = Scalar {
        pieces: Vec::new(),
        quoted: true,
        origins: Vec::new(),
        reading: Reading::First,
    };
    for part in parts {
        append(&mut whole, part);
    }
    if whole.pieces.is_empty() {
        whole.pieces.push(Piece::Written(String::new()));
    }
    whole
}

fn append(whole: &mut Scalar, part: Scalar) {
    for (index, piece) in part.pieces.into_iter().enumerate() {
        match (whole.pieces.last_mut(), piece) {
            (Some(Piece::Written(last)), Piece::Written(text)) => last.push_str(&text),
            (_, piece) => {
                let at = whole.pieces.len();
                whole.pieces.push(piece);
                let origins = part.origins.iter().filter(|origin| origin.piece == index);
                whole.origins.extend(origins.map(|origin| Origin {
                    piece: at,
                    ..origin.clone()
                }));
            }
        }
    }
}

/// The parts of a text between `delimiter`s; what is looked up is never cut.
pub fn split(text: &Scalar, delimiter: &str) -> Vec<Scalar> {
    if delimiter.is_empty() {
        return vec![text.clone()];
    }
    let mut parts = vec![joined([])];
    for (index, piece) in text.pieces.iter().enumerate() {
        let mut add = |piece: Scalar| {
            if let Some(last) = parts.last_mut() {
                append(last, piece);
            }
        };
        match piece {
            Piece::Literal(_) => {
                let origins = text.origins.iter().filter(|origin| origin.piece == index);
                add(Scalar {
                    pieces: vec![piece.clone()],
                    quoted: true,
                    origins: origins
                        .map(|origin| Origin {
                            piece: 0,
                            ..origin.clone()
                        })
                        .collect(),
                    reading: Reading::First,
                });
            }
            Piece::Written(text) => {
                let mut cut = text.split(delimiter);
                add(written(cut.next().unwrap_or_default()));
                parts.extend(cut.map(written));
            }
        }
    }
    parts
}

/// The text as a value of the document, at `mark`.
pub fn node(text: Scalar, mark: &Mark) -> Node {
    Node::new(Kind::Scalar(text), mark.clone())
}

/// The value as if all of it had been written at `mark`: the place that asked for it.
pub fn placed(mut value: Node, mark: &Mark) -> Node {
    fn place(node: &mut Node, mark: &Mark) {
        node.mark = mark.clone();
        if let Kind::Mapping(entries) = &mut node.kind {
            for entry in entries {
                entry.key.mark = mark.clone();
            }
        }
        node.children_mut().for_each(|child| place(child, mark));
    }
    place(&mut value, mark);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_up_stays_apart_through_joining_and_splitting() {
        let arn = joined([
            written("arn:aws:sqs:"),
            looked_up("${env:AWS_REGION}"),
            written(":1:orders"),
        ]);
        assert_eq!(arn.text(), "arn:aws:sqs:${env:AWS_REGION}:1:orders");
        let parts = split(&arn, ":");
        let texts: Vec<_> = parts.iter().map(|part| part.text()).collect();
        assert_eq!(
            texts,
            ["arn", "aws", "sqs", "${env:AWS_REGION}", "1", "orders"]
        );
        assert_eq!(parts[3].origins.len(), 1);
        assert!(parts[5].origins.is_empty());
        assert_eq!(joined(parts).origins[0].shown, "${env:AWS_REGION}");
    }
}
