//! Small parsed values: sizes, durations, names. Each is read from the text that people write and says what it accepts.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A size in bytes: `256KiB`, `1MiB`, `10GiB`, `1500` (bytes); decimal `KB`, `MB`, `GB` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    pub const fn kib(n: u64) -> ByteSize {
        ByteSize(n << 10)
    }
    pub const fn mib(n: u64) -> ByteSize {
        ByteSize(n << 20)
    }
    pub const fn gib(n: u64) -> ByteSize {
        ByteSize(n << 30)
    }
}

/// Splits `12.5MiB` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "{text:?} is not a size; write a number of bytes or one with a unit, such as 256KiB, 1MiB, 10GiB"
            )
        };
        let (number, unit) = number_and_unit(text.trim()).ok_or_else(refused)?;
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" | "k" => 1 << 10,
            "mib" | "m" => 1 << 20,
            "gib" | "g" => 1 << 30,
            "tib" | "t" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(refused()),
        };
        let bytes = number * factor as f64;
        if bytes.fract() != 0.0 || bytes > i64::MAX as f64 {
            return Err(refused());
        }
        Ok(ByteSize(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// A length of time: `500ms`, `30s`, `10m`, `24h`, `4d`; parts may be joined, as in `1h30m`. A bare number is refused,
/// except `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// Longer ones are typing errors, and would overflow the clock.
    pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

    pub const fn secs(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "{text:?} is not a duration; write a number with a unit, such as 500ms, 30s, 10m, 24h, 4d"
            )
        };
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Span(Duration::ZERO));
        }
        let mut total = 0f64;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(refused)?;
            let number: f64 = rest[..digits].parse().map_err(|_| refused())?;
            rest = &rest[digits..];
            let letters = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            total += number
                * match &rest[..letters] {
                    "ms" => 0.001,
                    "s" => 1.0,
                    "m" => 60.0,
                    "h" => 3_600.0,
                    "d" => 86_400.0,
                    _ => return Err(refused()),
                };
            rest = &rest[letters..];
        }
        if text.trim().is_empty() {
            return Err(refused());
        }
        if total > Span::LONGEST.as_secs_f64() {
            return Err(format!(
                "{text:?} is too long; the longest duration is 366d"
            ));
        }
        Duration::try_from_secs_f64(total)
            .map(Span)
            .map_err(|_| refused())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit_millis, unit) in [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "m"),
            (1_000, "s"),
        ] {
            if millis >= unit_millis && millis.is_multiple_of(unit_millis) {
                return write!(f, "{}{unit}", millis / unit_millis);
            }
        }
        write!(f, "{millis}ms")
    }
}

/// Reads a type from its text through [`FromStr`]; numbers are taken as their text.
struct FromText<T>(std::marker::PhantomData<T>, &'static str);

impl<T: FromStr<Err = String>> Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

/// `$read` is `deserialize_any` where a number is one however it is spelled, `deserialize_str` where the spelling is
/// the value: the name `1.0` is not the name `1`.
macro_rules! text_value {
    ($type:ident, $read:ident, $what:literal, $schema:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.$read(FromText(std::marker::PhantomData, $what))
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

text_value!(
    ByteSize,
    deserialize_any,
    "a size such as 256KiB or 1MiB",
    json_schema!({
        "description": "A size: a number of bytes, or a number with a unit (KiB, MiB, GiB; decimal KB, MB, GB).",
        "type": ["string", "integer"], "pattern": "^[0-9.]+\\s*([KMGTkmgt]?([Ii]?[Bb])?)?$", "minimum": 0
    })
);
/// How much memory may be in use: `512MiB`, `80%` of what there is, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryShare {
    /// So many percent of what the container may use, and each control group around it; without one, of the machine's
    /// memory, where only the process's own counts.
    Percent(u8),
    /// Of the process's own.
    Bytes(u64),
}

impl MemoryShare {
    /// `auto`: leaves room for what the kernel keeps for sockets, and for what comes between two looks.
    pub const AUTO: MemoryShare = MemoryShare::Percent(85);
}

impl FromStr for MemoryShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "{text:?} is not an amount of memory; write auto, a part such as 80%, a size such as 512MiB, or none"
            )
        };
        if text == "auto" {
            return Ok(MemoryShare::AUTO);
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse().ok();
            let percent = percent.filter(|percent| (1..=100).contains(percent));
            return percent.map(MemoryShare::Percent).ok_or_else(refused);
        }
        let size: ByteSize = text.parse().map_err(|_| refused())?;
        Ok(MemoryShare::Bytes(size.0))
    }
}

impl JsonSchema for MemoryShare {
    fn schema_name() -> Cow<'static, str> {
        "MemoryShare".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An amount of memory: `auto` (85%), a part of what there is (80%), or a size (512MiB).",
            "type": ["string", "integer"],
            "pattern": "^(auto|[0-9]+%|[0-9.]+\\s*([KMGTkmgt]?([Ii]?[Bb])?)?)$", "minimum": 0
        })
    }
}

text_value!(
    Span,
    deserialize_any,
    "a duration such as 30s or 10m",
    json_schema!({
        "description": "A duration with its unit: 500ms, 30s, 10m, 24h, 4d; parts may be joined (1h30m).",
        "type": ["string", "integer"], "pattern": "^(0|([0-9.]+(ms|s|m|h|d))+)$", "maximum": 0
    })
);

/// A part of a whole, from 0% to 100%: `5%`, `0.5%`. Kept in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    pub const NONE: Share = Share(0);
    pub const ALL: Share = Share(1_000_000);

    /// So many percent; more than a hundred are a hundred.
    pub const fn percent(percent: u32) -> Share {
        Share(if percent > 100 {
            1_000_000
        } else {
            percent * 10_000
        })
    }

    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// From 0 to 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a share; write 0% to 100%, such as 5% or 0.5%");
        let number = text.trim().strip_suffix('%').ok_or_else(refused)?;
        let percent: f64 = number.trim().parse().map_err(|_| refused())?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(refused());
        }
        // In range, so the number of millionths fits.
        Ok(Share((percent * 10_000.0).round() as u32))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

text_value!(
    Share,
    deserialize_any,
    "a share such as 5% or 0.5%",
    json_schema!({
        "description": "A share from 0% to 100%: 5%, 0.5%.",
        "type": "string", "pattern": "^\\s*[0-9.]+\\s*%$"
    })
);

/// The name of a stage: letters, digits, `-`, `_`, up to 128 characters, or `$default`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StageName(pub String);

impl StageName {
    /// The stage that serves the whole path.
    pub const DEFAULT: &'static str = "$default";

    /// Whether this is `$default`, which adds no prefix to paths.
    pub fn is_default(&self) -> bool {
        self.0 == Self::DEFAULT
    }
}

impl Default for StageName {
    fn default() -> Self {
        StageName(Self::DEFAULT.to_owned())
    }
}

impl FromStr for StageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits || text == Self::DEFAULT {
            Ok(StageName(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not a stage name; allowed: letters, digits, - and _, up to 128 characters, or $default"
            ))
        }
    }
}

text_value!(
    StageName,
    deserialize_str,
    "a stage name",
    json_schema!({
        "description": "Letters, digits, - and _, up to 128 characters, or $default, which adds no prefix to paths.",
        "type": "string", "pattern": "^([A-Za-z0-9_-]{1,128}|\\$default)$"
    })
);

/// The name of an embedded queue, by SQS's rule: letters, digits, `-`, `_`, up to 80 characters; a FIFO queue's name
/// ends in `.fifo`, which counts towards the 80.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(pub String);

impl QueueName {
    /// Whether the name says that the queue is FIFO.
    pub fn is_fifo(&self) -> bool {
        self.0.ends_with(".fifo")
    }
}

impl FromStr for QueueName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let stem = text.strip_suffix(".fifo").unwrap_or(text);
        if text.len() <= 80
            && !stem.is_empty()
            && stem
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            Ok(QueueName(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not a queue name; allowed: letters, digits, - and _, up to 80 characters, and .fifo at the end of a FIFO queue's name"
            ))
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(
    QueueName,
    deserialize_str,
    "a queue name",
    json_schema!({
        "description": "Letters, digits, - and _, up to 80 characters; a FIFO queue's name ends in .fifo.",
        "type": "string", "pattern": "^[A-Za-z0-9_-]{1,80}(\\.fifo)?$", "maxLength": 80
    })
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        assert_eq!("256KiB".parse(), Ok(ByteSize(262_144)));
        assert_eq!("1MB".parse(), Ok(ByteSize(1_000_000)));
        assert_eq!("1500".parse(), Ok(ByteSize(1500)));
        assert_eq!("1.5KiB".parse(), Ok(ByteSize(1536)));
        assert!("12 parsecs".parse::<ByteSize>().is_err());
        assert!("-1".parse::<ByteSize>().is_err());
        assert_eq!(ByteSize::mib(1).to_string(), "1MiB");
    }

    #[test]
    fn memory_is_a_part_of_what_there_is_or_a_size() {
        assert_eq!("auto".parse(), Ok(MemoryShare::Percent(85)));
        assert_eq!("80%".parse(), Ok(MemoryShare::Percent(80)));
        assert_eq!("1KiB".parse(), Ok(MemoryShare::Bytes(1024)));
        for other in ["0%", "101%", "much", "%", "-1%"] {
            assert!(other.parse::<MemoryShare>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_share_is_written_in_percent() {
        assert_eq!("5%".parse(), Ok(Share::percent(5)));
        assert_eq!("0.5%".parse::<Share>().unwrap().millionths(), 5_000);
        assert_eq!("100%".parse(), Ok(Share::ALL));
        assert_eq!(Share::percent(25).to_string(), "25%");
        assert_eq!("0.5%".parse::<Share>().unwrap().to_string(), "0.5%");
        for other in ["5", "101%", "-1%", "%", "", "NaN%"] {
            assert!(other.parse::<Share>().is_err(), "{other}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!("1h30m".parse(), Ok(Span::secs(5400)));
        assert_eq!("800ms".parse(), Ok(Span(Duration::from_millis(800))));
        assert_eq!("0".parse(), Ok(Span(Duration::ZERO)));
        assert!("30".parse::<Span>().unwrap_err().contains("30s"));
        assert!("".parse::<Span>().is_err());
        assert!(
            "200000000000000d"
                .parse::<Span>()
                .unwrap_err()
                .contains("366d")
        );
        assert_eq!(Span::secs(345_600).to_string(), "4d");
        assert_eq!(Span(Duration::from_millis(1500)).to_string(), "1500ms");
    }

    #[test]
    fn queue_names_follow_the_rule_of_sqs() {
        assert!("orders".parse::<QueueName>().is_ok());
        assert!(
            "ledger.fifo"
                .parse::<QueueName>()
                .is_ok_and(|name| name.is_fifo())
        );
        assert!("a.b".parse::<QueueName>().is_err());
        assert!(".fifo".parse::<QueueName>().is_err());
        assert!("x".repeat(81).parse::<QueueName>().is_err());
    }
}
