//! Days, weeks and months in UTC, by number: what a quota begins anew with.

use std::time::Duration;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// A day: how many have passed since 1970-01-01, in UTC.
pub type Day = u32;

/// How long a quota lasts. Boundaries are at midnight UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    Day,
    /// Begins on Monday, as ISO 8601 has it.
    Week,
    /// Begins on the first.
    Month,
}

/// The day of a moment in milliseconds since 1970; before 1970 it is the first day.
pub fn day_of(wall_ms: i64) -> Day {
    Day::try_from(wall_ms.div_euclid(DAY_MS)).unwrap_or_default()
}

/// The moment at which a day begins, in seconds since 1970.
pub fn start_of(day: Day) -> i64 {
    i64::from(day) * 86_400
}

/// `2026-11-22`.
pub fn day_text(day: Day) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The day that `2026-11-22` names, from 1970 on.
pub fn parse_day(text: &str) -> Option<Day> {
    let form = time::macros::format_description!("[year]-[month]-[day]");
    let date = time::Date::parse(text, &form).ok()?;
    Day::try_from(date.to_julian_day() - UNIX_JULIAN).ok()
}

/// The Julian day of 1970-01-01.
const UNIX_JULIAN: i32 = 2_440_588;

impl Period {
    /// What people write.
    pub const fn name(self) -> &'static str {
        match self {
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
        }
    }

    /// What is kept in the store; not 0.
    pub(super) const fn number(self) -> u8 {
        match self {
            Period::Day => 1,
            Period::Week => 2,
            Period::Month => 3,
        }
    }

    /// The first day of the period that a day is in.
    pub fn start(self, day: Day) -> Day {
        match self {
            Period::Day => day,
            // 1970-01-01 was a Thursday.
            Period::Week => day.saturating_sub((day + 3) % 7),
            Period::Month => day - (civil(day).2 - 1),
        }
    }

    /// The first day of the period after the one that a day is in.
    pub fn end(self, day: Day) -> Day {
        let start = self.start(day);
        match self {
            Period::Day => start + 1,
            Period::Week => day + 7 - (day + 3) % 7,
            // No month is longer, and none shorter than four days less.
            Period::Month => self.start(start + 31),
        }
    }

    /// How long the period is that a day is in.
    pub fn length(self, day: Day) -> Duration {
        Duration::from_secs(u64::from(self.end(day) - self.start(day)) * 86_400)
    }
}

/// Year, month and day of the month (H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil(day: Day) -> (u32, u32, u32) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u32::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        parse_day(text).unwrap()
    }

    #[test]
    fn days_are_written_as_they_are_read() {
        for known in [
            "1970-01-01",
            "1999-12-31",
            "2000-02-29",
            "2024-02-29",
            "2026-11-22",
            "2100-03-01",
        ] {
            assert_eq!(day_text(day(known)), known);
        }
        assert_eq!(day("1970-01-02"), 1);
        // Every day of four centuries, against another's calendar.
        for day in 0..146_097 {
            let date = time::Date::from_julian_day(UNIX_JULIAN + day).unwrap();
            assert_eq!(
                civil(day as Day),
                (
                    date.year() as u32,
                    u32::from(u8::from(date.month())),
                    u32::from(date.day())
                )
            );
        }
        for wrong in [
            "",
            "2026-13-01",
            "2026-02-29",
            "1969-12-31",
            "2026-1-1",
            "today",
        ] {
            assert_eq!(parse_day(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn periods_begin_at_midnight_utc_on_monday_and_on_the_first() {
        for (period, within, start, end) in [
            (Period::Day, "2026-11-22", "2026-11-22", "2026-11-23"),
            (Period::Week, "2026-11-22", "2026-11-16", "2026-11-23"),
            (Period::Week, "2026-11-23", "2026-11-23", "2026-11-30"),
            (Period::Week, "2027-01-01", "2026-12-28", "2027-01-04"),
            (Period::Month, "2026-11-01", "2026-11-01", "2026-12-01"),
            (Period::Month, "2026-12-31", "2026-12-01", "2027-01-01"),
            (Period::Month, "2024-02-29", "2024-02-01", "2024-03-01"),
            (Period::Month, "2025-02-28", "2025-02-01", "2025-03-01"),
        ] {
            assert_eq!(day_text(period.start(day(within))), start, "{within}");
            assert_eq!(day_text(period.end(day(within))), end, "{within}");
        }
        assert_eq!(
            Period::Month.length(day("2024-02-10")),
            Duration::from_secs(29 * 86_400)
        );
        let midnight = start_of(day("2026-11-23")) * 1000;
        assert_eq!(day_text(day_of(midnight - 1)), "2026-11-22");
        assert_eq!(day_text(day_of(midnight)), "2026-11-23");
        assert_eq!(day_of(-1), 0);
    }
}
