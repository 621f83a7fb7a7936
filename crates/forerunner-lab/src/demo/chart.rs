//! A chart of block characters: what agents do, and tasks that wait, over time.

/// What is drawn of one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    busy: u32,
    ready: u32,
    starting: u32,
    waiting: u32,
}

impl Column {
    /// Adds a moment to the same column: each the greatest, and never more agents than there were at once.
    pub fn raise_to(&mut self, busy: u32, ready: u32, starting: u32, waiting: u32) {
        let (before, now) = (self.busy + self.ready + self.starting, busy + ready + starting);
        self.waiting = self.waiting.max(waiting);
        if now >= before {
            (self.busy, self.ready, self.starting) = (busy, ready, starting);
        }
    }

    /// The character at a height, counted in agents.
    fn at(&self, height: f64) -> char {
        let (busy, warm) = (f64::from(self.busy), f64::from(self.busy + self.ready));
        let all = warm + f64::from(self.starting);
        match height {
            h if h < busy => '█',
            // A task that waits has no agent: it is drawn above the busy ones.
            h if h < busy + f64::from(self.waiting) => 'x',
            h if h < warm => '░',
            h if h < all => '·',
            _ => ' ',
        }
    }
}

/// Draws columns from 0 to `top` agents in so many rows, the top one first. What is still to come stays empty.
pub fn chart(columns: &[Option<Column>], top: f64, rows: usize) -> Vec<String> {
    let row = |row: usize| {
        // The middle of the row decides, but what there is at all is seen in the lowest one.
        let height = if row + 1 == rows { 0.0 } else { ((rows - 1 - row) as f64 + 0.5) * top / rows as f64 };
        columns.iter().map(|column| column.as_ref().map_or(' ', |column| column.at(height))).collect()
    };
    (0..rows).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_stand_on_each_other_and_waiting_tasks_on_the_busy_ones() {
        let column = |busy, ready, starting, waiting| Some(Column { busy, ready, starting, waiting });
        let columns = [column(1, 5, 0, 0), column(1, 5, 6, 0), column(9, 3, 0, 0), column(4, 0, 0, 8), None];
        assert_eq!(chart(&columns, 12.0, 4), [" ·░x ", " ·█x ", "░░█x ", "████ "].map(str::to_owned));
    }
}
