//! Where a service is called whose SDK is not built in. The same places say so, in the same order, as for the others:
//! the configuration, the environment and the profile (for this service, then for all), and the partition's names.

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

use super::destination::Addressed;

/// A service, by the names under which it is known.
pub(super) struct Unbuilt {
    /// In host names and credential scopes.
    name: &'static str,
    /// In `AWS_ENDPOINT_URL_…` and in profiles.
    id: &'static str,
}

pub(super) const DYNAMODB: Unbuilt = Unbuilt {
    name: "dynamodb",
    id: "DynamoDB",
};

impl Unbuilt {
    /// `own`: what the configuration says of this service.
    pub(super) fn address(&self, own: Option<&str>, shared: &SdkConfig, region: &str) -> Addressed {
        let written = own
            .map(str::to_owned)
            .or_else(|| self.of_surroundings(shared))
            .or_else(|| shared.endpoint_url().map(str::to_owned));
        Addressed {
            url: written.unwrap_or_else(|| {
                let fips = shared.use_fips().unwrap_or_default();
                let dual_stack = shared.use_dual_stack().unwrap_or_default();
                self.public(region, fips, dual_stack)
            }),
            region: region.to_owned(),
            service: self.name.to_owned(),
        }
    }

    /// `AWS_ENDPOINT_URL_DYNAMODB`, or the profile's word for it.
    fn of_surroundings(&self, shared: &SdkConfig) -> Option<String> {
        let key = ServiceConfigKey::builder()
            .service_id(self.id)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url");
        shared.service_config()?.load_config(key.build().ok()?)
    }

    /// The service's public name (endpoint rules of the SDK's partitions).
    fn public(&self, region: &str, fips: bool, dual_stack: bool) -> String {
        let china = region.starts_with("cn-");
        let domain = match (china, dual_stack) {
            (false, false) => "amazonaws.com",
            (false, true) => "api.aws",
            (true, false) => "amazonaws.com.cn",
            (true, true) => "api.amazonwebservices.com.cn",
        };
        let fips = if fips { "-fips" } else { "" };
        format!("https://{}{fips}.{region}.{domain}/", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_nearest_wins() {
        let shared = SdkConfig::builder()
            .endpoint_url("http://127.0.0.1:4566")
            .build();
        let address = |own| DYNAMODB.address(own, &shared, "eu-west-1").url;
        assert_eq!(address(None), "http://127.0.0.1:4566");
        assert_eq!(address(Some("http://ddb:8000")), "http://ddb:8000");
        let nothing = SdkConfig::builder().build();
        assert_eq!(
            DYNAMODB.address(None, &nothing, "eu-west-1").url,
            "https://dynamodb.eu-west-1.amazonaws.com/"
        );
        let fips = SdkConfig::builder().use_fips(true).build();
        assert_eq!(
            DYNAMODB.address(None, &fips, "us-east-1").url,
            "https://dynamodb-fips.us-east-1.amazonaws.com/"
        );
        let dual_stack = SdkConfig::builder().use_dual_stack(true).build();
        assert_eq!(
            DYNAMODB.address(None, &dual_stack, "cn-north-1").url,
            "https://dynamodb.cn-north-1.api.amazonwebservices.com.cn/"
        );
    }
}
