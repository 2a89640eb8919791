//! What the three batch actions share: the rules for their entries, and an answer in which each entry has its own fate.

use serde_json::{Value, json};

use super::fault::{Code, Fault};

/// The most entries of a batch (SQS).
const MOST: usize = 10;

/// Checks the ids of a batch's entries; `entry` is what the service calls one (`SendMessageBatchRequestEntry`).
pub fn checked_ids<'a>(
    entry: &str,
    ids: impl ExactSizeIterator<Item = &'a Option<String>>,
) -> Result<Vec<String>, Fault> {
    match ids.len() {
        0 => {
            return Err(Code::EmptyBatchRequest.because(format!(
                "There should be at least one {entry} in the request."
            )));
        }
        count if count > MOST => {
            return Err(Code::TooManyEntriesInBatchRequest.because(format!(
                "Maximum number of entries per request are {MOST}. You have sent {count}."
            )));
        }
        _ => {}
    }
    let mut checked: Vec<String> = Vec::with_capacity(ids.len());
    for id in ids {
        let id = id.as_deref().unwrap_or_default();
        let fits = (1..=80).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !fits {
            return Err(Code::InvalidBatchEntryId.because(
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. \
                 It can be at most 80 letters long.",
            ));
        }
        if checked.iter().any(|other| other == id) {
            return Err(Code::BatchEntryIdsNotDistinct.because(format!("Id {id} repeated.")));
        }
        checked.push(id.to_owned());
    }
    Ok(checked)
}

/// `Successful` and `Failed`. Where every entry failed because of us, the request as a whole has: SDKs repeat that by
/// themselves, and an answer with failed entries they do not.
pub fn answer(fates: Vec<(String, Result<Value, Fault>)>) -> Result<Value, Fault> {
    let ours = |fate: &Result<Value, Fault>| matches!(fate, Err(fault) if !fault.code.is_sender());
    if fates.iter().all(|(_, fate)| ours(fate))
        && let Some((_, Err(fault))) = fates.first()
    {
        return Err(fault.clone());
    }
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, fate) in fates {
        match fate {
            Ok(mut entry) => {
                entry["Id"] = Value::String(id);
                successful.push(entry);
            }
            Err(fault) => failed.push(json!({
                "Id": id,
                "SenderFault": fault.code.is_sender(),
                "Code": fault.code.spelling().query,
                "Message": fault.message,
            })),
        }
    }
    let mut answer = serde_json::Map::new();
    if !successful.is_empty() {
        answer.insert("Successful".to_owned(), Value::Array(successful));
    }
    if !failed.is_empty() {
        answer.insert("Failed".to_owned(), Value::Array(failed));
    }
    Ok(Value::Object(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Vec<Option<String>> {
        ids.iter().map(|id| Some((*id).to_owned())).collect()
    }

    fn refused(given: &[Option<String>]) -> Code {
        checked_ids("SendMessageBatchRequestEntry", given.iter())
            .unwrap_err()
            .code
    }

    #[test]
    fn a_batch_has_one_to_ten_entries_with_ids_of_their_own() {
        assert_eq!(refused(&[]), Code::EmptyBatchRequest);
        let eleven: Vec<_> = (0..11).map(|n| Some(n.to_string())).collect();
        assert_eq!(refused(&eleven), Code::TooManyEntriesInBatchRequest);
        assert_eq!(
            refused(&ids(&["a", "b", "a"])),
            Code::BatchEntryIdsNotDistinct
        );
        assert_eq!(refused(&[None]), Code::InvalidBatchEntryId);
        for id in ["", "a b", "a.b", "é", &"x".repeat(81)] {
            assert_eq!(refused(&ids(&[id])), Code::InvalidBatchEntryId, "{id}");
        }
        let good = ids(&["a", "b-1", "C_2"]);
        let checked = checked_ids("X", good.iter()).unwrap();
        assert_eq!(checked, ["a", "b-1", "C_2"]);
    }

    #[test]
    fn each_entry_has_its_own_fate() {
        let fates = vec![
            ("a".to_owned(), Ok(json!({"MessageId": "m"}))),
            ("b".to_owned(), Err(Fault::missing("MessageBody"))),
            (
                "c".to_owned(),
                Err(Code::ServiceUnavailable.because("later")),
            ),
        ];
        let answer = answer(fates).unwrap();
        assert_eq!(answer["Successful"], json!([{"MessageId": "m", "Id": "a"}]));
        assert_eq!(answer["Failed"][0]["Code"], "MissingParameter");
        assert_eq!(answer["Failed"][0]["SenderFault"], true);
        assert_eq!(answer["Failed"][1]["SenderFault"], false);
    }

    #[test]
    fn a_batch_that_failed_because_of_us_as_a_whole_is_a_503() {
        let later = || Err(Code::ServiceUnavailable.because("later"));
        let fates = vec![("a".to_owned(), later()), ("b".to_owned(), later())];
        assert_eq!(answer(fates).unwrap_err().code, Code::ServiceUnavailable);
        let mixed = vec![
            ("a".to_owned(), later()),
            ("b".to_owned(), Err(Fault::missing("X"))),
        ];
        assert!(answer(mixed).is_ok());
    }
}
