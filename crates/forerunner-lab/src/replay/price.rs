//! What an agent costs.

use std::str::FromStr;

use forerunner_console::output::count;

/// Units of time, and their hours.
const UNITS: [(&[&str], f64); 5] = [
    (&["h", "hour", "agent-hour"], 1.0),
    (&["min", "minute"], 1.0 / 60.0),
    (&["s", "second"], 1.0 / 3_600.0),
    (&["d", "day"], 24.0),
    (&["month"], 730.0),
];

/// Money for an agent and an hour.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    per_hour: f64,
    /// As written before or behind the amount; may be empty.
    currency: String,
}

impl Price {
    /// The price of so many agent-hours.
    pub fn of(&self, agent_hours: f64) -> f64 {
        self.per_hour * agent_hours
    }

    /// Writes an amount of money: `$1,234.50`, `12.30 EUR`.
    pub fn show(&self, amount: f64) -> String {
        let cents = (amount.abs() * 100.0).round() as u64;
        let (sign, number) =
            (if amount < -0.005 { "-" } else { "" }, format!("{}.{:02}", count(cents / 100), cents % 100));
        match self.currency.as_str() {
            "" => format!("{sign}{number}"),
            symbol if symbol.chars().count() == 1 => format!("{sign}{symbol}{number}"),
            word => format!("{sign}{number} {word}"),
        }
    }
}

impl FromStr for Price {
    type Err = String;

    /// Reads `0.42/h`, `$0.42/h`, `EUR 10/day`, `0.007 EUR/min`.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is no price; write an amount and a time, such as 0.42/h or EUR 10/day");
        let (money, unit) = text.rsplit_once('/').ok_or_else(refused)?;
        let unit = unit.trim();
        let (_, hours) = UNITS.iter().find(|(names, _)| names.contains(&unit)).ok_or_else(refused)?;
        let begin = money.find(|c: char| c.is_ascii_digit() || c == '.').ok_or_else(refused)?;
        let (before, rest) = money.split_at(begin);
        let (number, behind) =
            rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len()));
        let amount: f64 = number.parse().map_err(|_| refused())?;
        let currency = format!("{}{}", before.trim(), behind.trim());
        let is_sane =
            currency.chars().count() <= 8 && currency.chars().all(|c| c.is_alphabetic() || "$€£¥₹".contains(c));
        (is_sane && amount <= 1e9).then(|| Self { per_hour: amount / hours, currency }).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_have_an_amount_a_time_and_perhaps_a_currency() {
        for (text, ten_hours) in [
            ("0.42/h", "4.20"),
            ("$0.42/hour", "$4.20"),
            ("EUR 24/day", "10.00 EUR"),
            ("0.1 EUR/min", "60.00 EUR"),
            ("1234.5/agent-hour", "12,345.00"),
        ] {
            let price: Price = text.parse().unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(price.show(price.of(10.0)), ten_hours, "{text}");
        }
        for text in ["", "0.42", "/h", "x/h", "1/fortnight", "-1/h", "1e999/h", "\u{1b}1/h", "1.2.3/h"] {
            assert!(text.parse::<Price>().is_err(), "{text}");
        }
        assert_eq!("1/h".parse::<Price>().expect("valid").show(-2.5), "-2.50");
    }
}
