//! Queues and messages for people. Whatever a message holds is shown, and none of it is obeyed by the terminal.

use serde_json::Value;

use crate::admin::queues::{Encoding, Kind, Listing, MessageView, MoveView, QueueView, moment};
use crate::cli::table::table;

/// Characters of a body that are shown where the whole is not asked for.
const GLIMPSE: usize = 100;

/// The table of `ls`.
pub fn listing(listing: &Listing, ledger: bool) -> String {
    let mut heads = vec![
        "NAME",
        "KIND",
        "VISIBLE",
        "DELAYED",
        "IN FLIGHT",
        "BYTES",
        "OLDEST",
    ];
    if ledger {
        heads.extend([
            "ACCEPTED",
            "IMPORTED",
            "DELETED",
            "FORWARDED",
            "DEAD-LETTERED",
            "EXPIRED",
            "PURGED",
            "DAMAGED",
            "DUPLICATES",
        ]);
    }
    let row = |queue: &QueueView| {
        let mut cells = vec![
            queue.name.clone(),
            kind(queue),
            queue.visible.to_string(),
            queue.delayed.to_string(),
            queue.in_flight.to_string(),
            queue.bytes.to_string(),
            queue.oldest_age_seconds.map_or_else(|| "-".to_owned(), age),
        ];
        if ledger {
            let ledger = &queue.ledger;
            let counts = [
                ledger.accepted,
                ledger.imported,
                ledger.deleted,
                ledger.forwarded,
                ledger.dead_lettered,
                ledger.expired,
                ledger.purged,
                ledger.damaged,
                ledger.duplicates,
            ];
            cells.extend(counts.iter().map(u64::to_string));
        }
        cells
    };
    let rows: Vec<Vec<String>> = listing.queues.iter().map(row).collect();
    table(&heads, &rows)
}

fn kind(queue: &QueueView) -> String {
    let words = match (queue.declared, queue.kind) {
        // Spools come and go with their records; nobody declares them.
        (false, Kind::Queue | Kind::Fifo) => format!("{}, not declared", queue.kind.words()),
        _ => queue.kind.words().to_owned(),
    };
    if queue.dead_letters_of.is_empty() || queue.kind == Kind::DeadLetters {
        words
    } else {
        format!(
            "{words} (dead letters of {})",
            queue.dead_letters_of.join(", ")
        )
    }
}

/// `3d 4h`, `12m 5s`, `4s`.
fn age(seconds: f64) -> String {
    let seconds = seconds as u64;
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let Some(first) = units.iter().position(|(unit, _)| seconds >= *unit) else {
        return "0s".to_owned();
    };
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, letter) in units.iter().skip(first).take(2) {
        if rest >= *unit {
            parts.push(format!("{}{letter}", rest / unit));
        }
        rest %= unit;
    }
    parts.join(" ")
}

/// A message, as a block of lines.
pub fn message(message: &MessageView, whole_body: bool) -> String {
    let mut text = String::new();
    if let Some(number) = message.number {
        text += &format!("#{number}  ");
    }
    text += &format!(
        "{}  sent {}  {}\n",
        message.state, message.sent_at, message.message_id
    );
    let mut line = |name: &str, value: &str| {
        text += &format!("  {name:<10} {}\n", harmless(value, false));
    };
    if let Some(target) = &message.target {
        line("target", target);
    }
    if let Some(death) = &message.death {
        line("reason", &format!("{}: {}", death.code, death.detail));
        line(
            "attempts",
            &format!(
                "{}, first {}, last {}",
                death.attempts, death.first_attempt_at, death.last_attempt_at
            ),
        );
    } else if message.receive_count > 0 && message.target.is_some() {
        line("attempts", &message.receive_count.to_string());
    } else if message.receive_count > 0 {
        line("received", &times(message.receive_count));
    }
    if let Some(context) = &message.context {
        line("request", &pairs(context));
    }
    match (&message.group_id, &message.target) {
        // A spool keeps `route:…` apart from the keys of its target; people need only that.
        (Some(key), Some(_)) => line("key", key.strip_prefix("key:").unwrap_or(key)),
        (Some(group), None) => line("group", group),
        (None, _) => {}
    }
    if let Some(id) = &message.deduplication_id {
        line("dedup id", id);
    }
    for (name, attribute) in message.attributes.iter().chain(&message.system_attributes) {
        line("attribute", &format!("{name} = {}", value_of(attribute)));
    }
    if let Some(handle) = &message.receipt_handle {
        line("handle", handle);
    }
    let encoded = match message.body_encoding {
        Some(Encoding::Base64) => ", base64",
        None => "",
    };
    line("body", &format!("{} bytes{encoded}", message.body_bytes));
    if whole_body {
        let body = body_text(message);
        for row in harmless(&body, true).split('\n') {
            text += &format!("    {row}\n");
        }
    } else if !message.body.is_empty() {
        let shown = payload(message).unwrap_or_else(|| message.body.clone());
        let glimpse: String = shown.chars().take(GLIMPSE).collect();
        let more = if glimpse.len() < shown.len() {
            " …"
        } else {
            ""
        };
        text += &format!("    {}{more}\n", harmless(&glimpse, false));
    }
    text
}

/// What the client sent, of the call that a spool keeps.
fn payload(message: &MessageView) -> Option<String> {
    message.target.as_ref()?;
    let kept: Value = serde_json::from_str(&message.body).ok()?;
    let call = kept.get("call")?.as_object()?.values().next()?;
    let part = ["/MessageBody", "/Data", "/Entries/0/Detail", "/input"]
        .iter()
        .find_map(|part| call.pointer(part))?;
    Some(value_of(part))
}

/// JSON is laid out, so that a spooled call can be read.
fn body_text(message: &MessageView) -> String {
    let laid_out = match (
        message.body_encoding,
        message.body.trim_start().as_bytes().first(),
    ) {
        (None, Some(b'{' | b'[')) => serde_json::from_str::<Value>(&message.body)
            .ok()
            .and_then(|json| serde_json::to_string_pretty(&json).ok()),
        _ => None,
    };
    laid_out.unwrap_or_else(|| message.body.clone())
}

fn times(count: u32) -> String {
    if count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times")
    }
}

/// `name value, name value`, for what is flat.
fn pairs(json: &Value) -> String {
    match json {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| match (name.as_str(), value.as_i64()) {
                ("receivedAt", Some(millis)) => format!("{name} {}", moment(millis)),
                _ => format!("{name} {}", value_of(value)),
            })
            .collect::<Vec<_>>()
            .join(", "),
        other => value_of(other),
    }
}

/// A value without quotes; an attribute is its `StringValue` or `BinaryValue`.
fn value_of(json: &Value) -> String {
    let attribute = ["StringValue", "BinaryValue"]
        .iter()
        .find_map(|name| json.get(name)?.as_str());
    match (attribute, json) {
        (Some(text), _) => text.to_owned(),
        (None, Value::String(text)) => text.clone(),
        (None, other) => other.to_string(),
    }
}

/// Control characters as escapes: a message must not steer the terminal.
fn harmless(text: &str, lines: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' if lines => safe.push(c),
            // Also what reverses the direction of text (Unicode, bidirectional controls).
            c if c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                safe.extend(c.escape_default());
            }
            c => safe.push(c),
        }
    }
    safe
}

/// How a redrive has ended.
pub fn moved(task: &MoveView, destination: &str) -> String {
    let ending = match task.state.as_str() {
        "completed" => "",
        "cancelled" => "; it was cancelled",
        _ => "; it failed",
    };
    format!(
        "moved {} of {} from {} to {destination}{ending}",
        task.moved,
        messages(task.to_move),
        task.source
    )
}

/// `1 message`, `2 messages`.
pub fn messages(count: u64) -> String {
    format!("{count} message{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
