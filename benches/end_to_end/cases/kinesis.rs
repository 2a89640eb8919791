//! Kinesis and EventBridge at the fake endpoint: PutRecords of up to 500 and PutEvents of up to 10, against axum and one
//! call a request.

use std::path::Path;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::figures::{Limit, Report};
use crate::support::gateway::{EVENTS, KINESIS};
use crate::support::turns::{compare, take};

use super::sqs::{SHARED, columns, contestants, fake_aws, none_missing};

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let pace = options.pace(5, 2.0);
    let mut report = Report::open(
        &options.results,
        "kinesis",
        "Kinesis, then EventBridge, endpoint at 0 ms, 1 KiB bodies, against axum and one call a request.",
        &columns(),
    );
    for (service, role, integration) in [
        ("Kinesis", "axum-kinesis", KINESIS),
        ("EventBridge", "axum-events", EVENTS),
    ] {
        let fake = fake_aws(None)?;
        let folder = folder.join(service);
        let contestants = contestants(role, integration, fake.address, &folder)?;
        for connections in options.connections(&[64, 256]) {
            let rounds = take(&contestants, connections, pace).await?;
            for (own, contestant) in rounds.iter().zip(&contestants) {
                let compared = compare(own, &rounds[0]);
                let name = format!("{service}: {}", contestant.server.name);
                let mut cells = compared.cells(&name, connections);
                cells.push(
                    compared
                        .calls
                        .map_or("?".to_owned(), |calls| calls.to_string()),
                );
                report.row(&cells, compared.json(&name, connections));
                if contestant.server.name == SHARED && service == "Kinesis" {
                    report.budget(
                        &format!("CPU against one call a request, {connections} connections"),
                        compared.cpu_ratio.median,
                        Limit::AtMost(0.22),
                    );
                }
            }
            none_missing(&mut report, &rounds, fake.address)?;
        }
    }
    report.close()
}
