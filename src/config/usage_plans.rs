//! Usage plans as people write them: how fast and how much each key of a plan may ask.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::limit::period::Period;
use crate::model::route_key::RouteKey;

/// A usage plan. Each of its keys has buckets and a quota of its own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UsagePlan {
    /// How fast each key may ask, over all routes. Over it: 429 `throttled`. Default: as fast as the routes allow.
    pub throttle: Option<PlanThrottle>,
    /// How fast each key may ask single routes, by route key as in `routes`; beside `throttle`, not in its place.
    #[schemars(with = "std::collections::BTreeMap<String, PlanThrottle>")]
    pub routes: IndexMap<RouteKey, PlanThrottle>,
    /// How much each key may ask in a period. Over it: 429 `quota_exceeded`. Default: no end. What is used is kept in the
    /// store.
    pub quota: Option<PlanQuota>,
    /// For people.
    pub description: Option<String>,
}

/// The token bucket of one key: a request takes one token, an empty bucket answers 429.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanThrottle {
    /// Tokens a second; fractions are allowed, 0 refuses everything.
    #[schemars(range(min = 0))]
    pub rate: f64,
    /// The size of the bucket, at least 1. Default: the rate, rounded up.
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
}

/// So many requests in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanQuota {
    /// Requests in one period.
    pub limit: u64,
    /// `day`, `week` (from Monday) or `month`; periods begin at midnight UTC.
    pub period: QuotaPeriod,
    /// Requests that are taken off the limit in the first period in which a key is used. Default: 0.
    #[serde(default)]
    pub offset: u64,
}

/// How long a quota lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuotaPeriod {
    #[serde(alias = "DAY")]
    Day,
    #[serde(alias = "WEEK")]
    Week,
    #[serde(alias = "MONTH")]
    Month,
}

impl From<QuotaPeriod> for Period {
    fn from(period: QuotaPeriod) -> Period {
        match period {
            QuotaPeriod::Day => Period::Day,
            QuotaPeriod::Week => Period::Week,
            QuotaPeriod::Month => Period::Month,
        }
    }
}
