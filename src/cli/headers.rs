//! Headers as people give them: `-H 'name: value'`.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Reads them, in their order; repeated ones are kept.
///
/// # Errors
/// What is wrong with the first that is none, in words for the command's user.
pub(super) fn read(given: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for header in given {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| format!("{header:?} is not a header; write `name: value`"))?;
        let name: HeaderName = name
            .trim()
            .parse()
            .map_err(|_| format!("{name:?} is not a header name"))?;
        let value = HeaderValue::from_str(value.trim())
            .map_err(|_| format!("the value of {name} cannot stand in a header"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_and_what_is_none_is_refused_in_words() {
        let read =
            |given: &[&str]| read(&given.iter().map(|one| one.to_string()).collect::<Vec<_>>());
        let headers = read(&["a: 1", "B:2", "a:3"]).unwrap();
        assert_eq!(headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(headers["b"], "2");
        for (wrong, words) in [
            ("a", "is not a header;"),
            ("a b: 1", "header name"),
            ("a: \n1\u{7f}", "cannot stand"),
        ] {
            assert!(read(&[wrong]).unwrap_err().contains(words), "{wrong}");
        }
    }
}
