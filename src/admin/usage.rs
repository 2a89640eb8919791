//! `/v1/usage`: what API keys have used, day by day, and where they stand. Told to whoever may see messages.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::guard::Guard;
use super::json_response;
use super::queues::Refused;
use crate::authn::api_key::ApiKeys;
use crate::integration::StoreState;
use crate::limit::period::{Day, day_text, parse_day, start_of};
use crate::limit::usage::{KEPT_DAYS, Quota, Usage};
use crate::pipeline::Gateway;
use crate::plan::Plan;
use crate::store::{Store, UsageDay};

/// Days that are told where nobody says which: today, and those before.
const USUAL_DAYS: Day = 30;
/// Keys of one answer.
const USUAL_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

/// What keys have used.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The first day and the last one, in UTC.
    pub from: String,
    pub to: String,
    pub keys: Vec<KeyReport>,
    /// As the vendor has it: for each day from the first to the last `[used, remaining]`; `remaining` is null where there
    /// is no quota.
    pub items: BTreeMap<String, Vec<(u64, Option<u64>)>>,
    /// Where the next page begins (`after=`), if there are more keys.
    pub next: Option<String>,
}

/// What a key has used.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyReport {
    pub key: String,
    pub plan: Option<String>,
    pub quota: Option<QuotaReport>,
    /// Requests on all days told here.
    pub used: u64,
    /// Of these, by where the key came from.
    pub by_source: Sources,
    /// Days with requests.
    pub days: Vec<DayReport>,
}

/// Where a key stands in its quota, now.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaReport {
    pub limit: u64,
    pub period: String,
    pub used: u64,
    pub remaining: u64,
    /// The moment at which it begins anew.
    pub resets_at: String,
}

/// Where keys came from.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sources {
    pub header: u64,
    pub query: u64,
    pub authorizer: u64,
}

/// One day of a key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DayReport {
    pub day: String,
    pub used: u64,
    /// What was left of the quota at the end of the day.
    pub remaining: Option<u64>,
    pub by_source: Sources,
}

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    key: Option<String>,
    from: Option<Day>,
    to: Option<Day>,
    after: Option<String>,
    limit: Option<usize>,
}

/// Answers a request to `/v1/usage`.
pub(super) async fn answer(
    gateway: &Gateway,
    guard: &Guard,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    let told = match guard.may_read(request.headers()) {
        Ok(()) => tell(gateway, request.uri().query().unwrap_or_default()).await,
        Err(refused) => Err(refused),
    };
    match told {
        Ok(report) => json_response(StatusCode::OK, &report),
        Err(refused) => json_response(refused.status, &json!({ "error": refused.message })),
    }
}

async fn tell(gateway: &Gateway, query: &str) -> Result<Report, Refused> {
    let asked = Asked::parse(query)?;
    let plan = gateway.current.load();
    let today = plan.usage.today();
    let to = asked.to.unwrap_or(today);
    let from = asked.from.unwrap_or(to.saturating_sub(USUAL_DAYS - 1));
    if from > to || to - from >= KEPT_DAYS {
        return Err(Refused::asked_wrongly(format!(
            "from {} to {} are not 1 to {KEPT_DAYS} days",
            day_text(from),
            day_text(to)
        )));
    }
    let store = match plan.targets.store_state() {
        StoreState::Open(store) => Some(store),
        StoreState::Absent => None,
        StoreState::Unavailable(reason) => return Err(Refused::unavailable(reason)),
    };
    let (names, next) = match asked.key {
        Some(key) => (vec![key], None),
        None => page(&plan, from, asked.after.as_deref(), asked.limit),
    };
    let mut report = Report {
        from: day_text(from),
        to: day_text(to),
        keys: Vec::new(),
        items: BTreeMap::new(),
        next,
    };
    for name in names {
        report.add(&plan, store.as_ref(), name, from, to).await?;
    }
    Ok(report)
}

/// Names of keys that have been used on a day or later, and where the next page begins.
fn page(
    plan: &Plan,
    from: Day,
    after: Option<&str>,
    limit: Option<usize>,
) -> (Vec<String>, Option<String>) {
    let limit = limit.unwrap_or(USUAL_PAGE).clamp(1, LARGEST_PAGE);
    let mut names: Vec<&str> = plan
        .usage
        .used_since(from)
        .into_iter()
        .filter_map(|key| plan.keys.id(key))
        .filter(|id| after.is_none_or(|after| *id > after))
        .collect();
    names.sort_unstable();
    let more = names.len() > limit;
    names.truncate(limit);
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let next = names.last().filter(|_| more).cloned();
    (names, next)
}

impl Report {
    async fn add(
        &mut self,
        plan: &Plan,
        store: Option<&Store>,
        key: String,
        from: Day,
        to: Day,
    ) -> Result<(), Refused> {
        let (keys, usage): (&ApiKeys, &Usage) = (&plan.keys, &plan.usage);
        let days = usage.report(keys, store, &key, from, to).await?;
        let number = keys.number(&key);
        if number.is_none() && days.is_empty() {
            return Err(Refused {
                status: StatusCode::NOT_FOUND,
                message: format!(
                    "there is no API key {key:?}, and none has been used by that name"
                ),
            });
        }
        let of_plan = number.and_then(|number| keys.plan_of(number));
        let quota = of_plan.and_then(|plan| usage.plan(plan)?.quota);
        let standing = number.map(|number| usage.standing(number, of_plan));
        let days_of = |day: &UsageDay| DayReport {
            day: day_text(day.day),
            used: day.used,
            remaining: day.remaining,
            by_source: Sources::of(day),
        };
        let mut by_source = Sources::default();
        for day in &days {
            let of_day = Sources::of(day);
            by_source.header += of_day.header;
            by_source.query += of_day.query;
            by_source.authorizer += of_day.authorizer;
        }
        self.items
            .insert(key.clone(), day_by_day(&days, quota, from, to));
        self.keys.push(KeyReport {
            plan: of_plan
                .and_then(|plan| keys.plan_name(plan))
                .map(ToString::to_string),
            quota: quota.zip(standing).map(|(quota, standing)| QuotaReport {
                limit: quota.limit,
                period: quota.period.name().to_owned(),
                used: standing.used,
                remaining: quota.limit.saturating_sub(standing.used),
                resets_at: moment(standing.resets_at.unwrap_or_default()),
            }),
            used: days.iter().map(|day| day.used).sum(),
            by_source,
            days: days.iter().map(days_of).collect(),
            key,
        });
        Ok(())
    }
}

/// `[used, remaining]` for each day. On a day without requests what remains is what the day before left, or all of it
/// where the quota begins anew.
fn day_by_day(
    days: &[UsageDay],
    quota: Option<Quota>,
    from: Day,
    to: Day,
) -> Vec<(u64, Option<u64>)> {
    let mut left = quota.map(|quota| quota.limit);
    let mut found = days.iter().peekable();
    (from..=to)
        .map(|day| {
            if let Some(quota) = quota.filter(|quota| quota.period.start(day) == day) {
                left = Some(quota.limit);
            }
            match found.next_if(|found| found.day == day) {
                Some(found) => {
                    left = found.remaining;
                    (found.used, found.remaining)
                }
                None => (0, left),
            }
        })
        .collect()
}

/// `2026-12-01T00:00:00Z`; what is told begins at midnight.
fn moment(seconds: i64) -> String {
    let day = Day::try_from(seconds.div_euclid(86_400)).unwrap_or_default();
    debug_assert_eq!(start_of(day), seconds);
    format!("{}T00:00:00Z", day_text(day))
}

impl Sources {
    fn of(day: &UsageDay) -> Sources {
        let further = day.by_query.saturating_add(day.by_authorizer);
        Sources {
            header: day.used.saturating_sub(further),
            query: day.by_query,
            authorizer: day.by_authorizer,
        }
    }
}

impl Asked {
    fn parse(query: &str) -> Result<Asked, Refused> {
        let mut asked = Asked::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| Refused::asked_wrongly(format!("{name} is not UTF-8")))?
                .into_owned();
            let day = |value: &str| {
                parse_day(value).map(Some).ok_or_else(|| {
                    Refused::asked_wrongly(format!(
                        "{name}={value} is not a day such as 2026-11-22"
                    ))
                })
            };
            match name {
                "key" => asked.key = Some(value),
                "from" => asked.from = day(&value)?,
                "to" => asked.to = day(&value)?,
                "after" => asked.after = Some(value),
                "limit" => {
                    let limit = value.parse().map_err(|_| {
                        Refused::asked_wrongly(format!("limit={value} is not a number"))
                    })?;
                    asked.limit = Some(limit);
                }
                _ => {
                    return Err(Refused::asked_wrongly(format!(
                        "unknown parameter {name:?}; there are key, from, to, after and limit"
                    )));
                }
            }
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::period::Period;

    #[test]
    fn what_is_asked_for_is_a_key_and_days() {
        let asked = Asked::parse("key=a%2Fb&from=2026-11-01&to=2026-11-30").unwrap();
        assert_eq!(asked.key.as_deref(), Some("a/b"));
        assert_eq!(asked.from.map(day_text).as_deref(), Some("2026-11-01"));
        for wrong in ["from=yesterday", "limit=x", "kez=a", "key=%ff"] {
            let refused = Asked::parse(wrong).unwrap_err();
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
        }
    }

    #[test]
    fn a_day_without_requests_leaves_what_was_left_until_the_quota_begins_anew() {
        let quota = Quota {
            limit: 10,
            period: Period::Month,
            offset: 0,
        };
        let from = parse_day("2026-11-28").unwrap();
        let used = UsageDay {
            key: "acme".into(),
            day: from + 1,
            used: 4,
            remaining: Some(6),
            ..UsageDay::default()
        };
        let days = day_by_day(std::slice::from_ref(&used), Some(quota), from, from + 4);
        let left = [(0, 10), (4, 6), (0, 6), (0, 10), (0, 10)];
        assert_eq!(days, left.map(|(used, left)| (used, Some(left))));
        let without = day_by_day(&[], None, from, from);
        assert_eq!(without, [(0, None)]);
        assert_eq!(moment(start_of(from)), "2026-11-28T00:00:00Z");
    }
}
