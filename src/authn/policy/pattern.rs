//! Wildcards of policy documents: `*` is any text, `?` any one character; `${aws:username}` stands for what is known of
//! the caller (IAM user guide, "Policy variables", from version 2012-10-17 on).

use super::fact::{Facts, Key};

/// A text with wildcards, or one without.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Many,
    Variable(Key),
}

/// How a text is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Whether `*` and `?` are wildcards.
    pub wild: bool,
    /// Whether `${…}` is a variable.
    pub variables: bool,
}

impl Pattern {
    /// Reads a text; the error says what is wrong with a variable in it.
    pub fn parse(text: &str, reading: Reading) -> Result<Pattern, String> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if reading.variables
                && let Some(from) = rest.strip_prefix("${")
            {
                let Some((name, after)) = from.split_once('}') else {
                    return Err(format!("`{rest}` has no closing brace"));
                };
                tokens.push(match name {
                    // How the three are written that otherwise mean something.
                    "*" => Token::Char('*'),
                    "?" => Token::Char('?'),
                    "$" => Token::Char('$'),
                    name => Token::Variable(Key::named(name)?),
                });
                rest = after;
                continue;
            }
            tokens.push(match c {
                '*' if reading.wild => Token::Many,
                '?' if reading.wild => Token::One,
                c => Token::Char(c),
            });
            rest = &rest[c.len_utf8()..];
        }
        Ok(Pattern(tokens))
    }

    /// Whether the pattern takes the text; `fold`: whatever the case. One with a variable that has no value takes none.
    pub fn takes(&self, text: &str, fold: bool, facts: &Facts<'_>) -> bool {
        let text: Vec<char> = folded(text, fold);
        if !fold
            && !self
                .0
                .iter()
                .any(|token| matches!(token, Token::Variable(_)))
        {
            return glob(&self.0, &text);
        }
        let mut tokens = Vec::with_capacity(self.0.len());
        for token in &self.0 {
            match token {
                Token::Variable(key) => match facts.value(key) {
                    Some(value) => tokens.extend(folded(&value, fold).into_iter().map(Token::Char)),
                    None => return false,
                },
                Token::Char(c) if fold => tokens.extend(c.to_lowercase().map(Token::Char)),
                token => tokens.push(token.clone()),
            }
        }
        glob(&tokens, &text)
    }
}

fn folded(text: &str, fold: bool) -> Vec<char> {
    if fold {
        text.chars().flat_map(char::to_lowercase).collect()
    } else {
        text.chars().collect()
    }
}

/// Goes back to the last `*` only, so that the cost is the product of the lengths at most.
fn glob(pattern: &[Token], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Many) => {
                star = Some((p, t));
                p += 1;
            }
            Some(Token::One) => (p, t) = (p + 1, t + 1),
            Some(Token::Char(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    (p, t) = (at + 1, from + 1);
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..]
        .iter()
        .all(|token| matches!(token, Token::Many))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WILD: Reading = Reading {
        wild: true,
        variables: false,
    };

    #[test]
    fn stars_take_any_text_and_question_marks_one_character() {
        for (pattern, text, taken) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b", true),
            ("?", "", false),
            ("?", "é", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "ab", false),
            ("a*b*c", "aXbXbc", true),
            ("*/GET/*", "prod/GET/orders/1", true),
            ("prod/GET/order?", "prod/GET/orders", true),
            ("prod/GET/order?", "prod/GET/order", false),
            ("prod/*", "PROD/x", false),
            ("**a", "a", true),
        ] {
            let facts = Facts::nothing();
            let found = Pattern::parse(pattern, WILD).unwrap();
            assert_eq!(found.takes(text, false, &facts), taken, "{pattern} {text}");
        }
    }

    #[test]
    fn a_text_full_of_stars_costs_no_more_than_its_length_allows() {
        let pattern = Pattern::parse(&"*a".repeat(200), WILD).unwrap();
        assert!(!pattern.takes(&"a".repeat(199), false, &Facts::nothing()));
    }

    #[test]
    fn case_is_ignored_where_that_is_asked_for() {
        let pattern = Pattern::parse("ExecUte-api:*", WILD).unwrap();
        assert!(pattern.takes("execute-API:Invoke", true, &Facts::nothing()));
        assert!(!pattern.takes("execute-api:Invoke", false, &Facts::nothing()));
    }

    #[test]
    fn variables_are_known_keys_and_wildcards_can_be_written_as_themselves() {
        let reading = Reading {
            wild: true,
            variables: true,
        };
        let star = Pattern::parse("a${*}${?}${$}", reading).unwrap();
        assert!(star.takes("a*?$", false, &Facts::nothing()));
        assert!(!star.takes("abc$", false, &Facts::nothing()));
        assert!(
            Pattern::parse("${aws:usernam}", reading)
                .unwrap_err()
                .contains("aws:username")
        );
        assert!(Pattern::parse("${aws:username", reading).is_err());
        let absent = Pattern::parse("${aws:username}", reading).unwrap();
        assert!(!absent.takes("", false, &Facts::nothing()));
    }
}
