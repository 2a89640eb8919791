//! Tables for people: columns as wide as their widest cell.

/// Lays out rows under their heads, two spaces apart.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heads.iter().map(|head| head.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut heads.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["GET /".to_owned(), "Mock".to_owned()],
            vec!["POST /orders".to_owned(), "x".to_owned()],
        ];
        assert_eq!(
            table(&["ROUTE", "TO"], &rows),
            "ROUTE         TO\nGET /         Mock\nPOST /orders  x\n"
        );
    }
}
