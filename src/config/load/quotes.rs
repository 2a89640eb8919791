//! Typographic quotes where straight ones were meant: what word processors and printed pages make of `"`.

const DOUBLE: [char; 5] = ['“', '”', '„', '‟', '″'];
const SINGLE: [char; 5] = ['‘', '’', '‚', '‛', '′'];

/// Whether a quote is one that word processors put in place of a straight one.
pub fn is_typographic(quote: char) -> bool {
    DOUBLE.contains(&quote) || SINGLE.contains(&quote)
}

/// What to say of such a quote.
pub fn typographic(quote: char) -> String {
    let meant = if DOUBLE.contains(&quote) { '"' } else { '\'' };
    format!(
        "the typographic quote `{quote}` (U+{:04X}) stands where `{meant}` was meant",
        u32::from(quote)
    )
}

/// The quote at which reading went wrong, with its line and column: on the last line up to `noticed`, where the parser
/// gave up, whose straight quotes do not come in pairs and that has a typographic one behind a straight one.
pub fn culprit(text: &str, noticed: usize) -> Option<(usize, usize, char)> {
    let lines = text.lines().zip(1..).take(noticed);
    let found = lines.filter_map(|(line, number)| {
        let (at, quote) = in_line(line, '"', &DOUBLE).or_else(|| in_line(line, '\'', &SINGLE))?;
        Some((number, line[..at].chars().count() + 1, quote))
    });
    found.last()
}

/// The last of `curly` behind a straight quote, where those are odd in number.
fn in_line(line: &str, straight: char, curly: &[char]) -> Option<(usize, char)> {
    let escaped = line.replace("\\\\", "").replace("\\\"", "");
    if escaped.matches(straight).count().is_multiple_of(2) {
        return None;
    }
    let opened = line.find(straight)?;
    let at = opened + line[opened..].rfind(curly)?;
    line[at..].chars().next().map(|quote| (at, quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quote_behind_an_opened_text_is_found() {
        let text = "a: \"good\"\nb: \"aws_proxy”\nc: \"1.0\"\n";
        assert_eq!(culprit(text, 3), Some((2, 14, '”')));
        assert_eq!(culprit(text, 1), None);
        assert_eq!(culprit("a: “both”\nb: {", 2), None);
        assert_eq!(culprit("é: 'it’\n", 2), Some((1, 7, '’')));
        assert_eq!(culprit("a: \"the “word”\" here\nb: {", 2), None);
    }
}
