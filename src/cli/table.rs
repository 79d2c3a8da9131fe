//! Tables for people: columns as wide as what stands in them, numbers to the right.

/// Between two columns.
const GAP: &str = "  ";

/// On which side of its column a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under one head.
#[derive(Clone, Debug)]
pub struct Table<const N: usize> {
    sides: [Side; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A head alone.
    pub fn new(columns: [(&str, Side); N]) -> Self {
        Self { sides: columns.map(|(_, side)| side), rows: vec![columns.map(|(name, _)| name.to_owned())] }
    }

    /// One more row.
    pub fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// A line for each row.
    pub fn lines(&self) -> Vec<String> {
        let letters = |text: &String| text.chars().count();
        let widths: [usize; N] =
            std::array::from_fn(|column| self.rows.iter().map(|row| letters(&row[column])).max().unwrap_or(0));
        let line = |row: &[String; N]| {
            let cells: [String; N] = std::array::from_fn(|column| {
                let (text, width) = (&row[column], widths[column]);
                match self.sides[column] {
                    Side::Left => format!("{text:<width$}"),
                    Side::Right => format!("{text:>width$}"),
                }
            });
            cells.join(GAP).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: columns line up, and no line ends in blanks. Method: words and numbers of different lengths.
    #[test]
    fn columns_line_up() {
        let mut table = Table::new([("peer", Side::Right), ("agent", Side::Left), ("state", Side::Left)]);
        for (peer, agent, state) in [("7", "spindle/0.1.0", ""), ("1200", "ä", "normal")] {
            table.push([peer, agent, state].map(str::to_owned));
        }
        let lines = ["peer  agent          state", "   7  spindle/0.1.0", "1200  ä              normal"];
        assert_eq!(table.lines(), lines);
    }
}
