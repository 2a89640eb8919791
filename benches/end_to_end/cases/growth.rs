//! Costs that must not grow with what a gateway holds: routes, keys, connections, bodies, backlog. Each curve is CPU
//! time in the gateway, with bare hyper beside it where that grows too, drawn as SVG.

use std::path::Path;

use serde_json::json;

use crate::options::Options;
use crate::support::Outcome;
use crate::support::client::Load;
use crate::support::figures::{Limit, Report, Spread};
use crate::support::gateway::{MOCK, Setup};
use crate::support::plot::{Curve, draw};
use crate::support::process::{Server, allow_descriptors};
use crate::support::requests::{Prototype, keyed};
use crate::support::turns::{Contestant, Round, take};

use super::accept::orders;
use super::{door, spool};

pub async fn run(options: &Options, folder: &Path) -> Outcome<()> {
    let mut report = Report::open(
        &options.results,
        "growth",
        "CPU in the gateway as what it holds grows; plots beside this file.",
        &["curve", "at", "program", "CPU µs a request", "req/s"],
    );
    routes(options, folder, &mut report).await?;
    keys(options, folder, &mut report).await?;
    connections(options, folder, &mut report).await?;
    bodies(options, folder, &mut report).await?;
    backlog(options, folder, &mut report).await?;
    report.close()
}

/// A point of a curve, as a row too.
fn point(report: &mut Report, curve: &str, at: f64, program: &str, rounds: &[Round]) -> Spread {
    let cpu = Spread::of(rounds.iter().map(|round| round.cpu));
    let rate = Spread::of(rounds.iter().map(|round| round.rate));
    report.row(
        &[
            curve.to_owned(),
            format!("{at}"),
            program.to_owned(),
            cpu.to_string(),
            format!("{:.0}", rate.median),
        ],
        json!({ "curve": curve, "at": at, "program": program, "cpu_micros": cpu.json(), "rate": rate.json() }),
    );
    cpu
}

/// Draws the gateway's curve, and bare hyper's where there is one.
fn plot(
    options: &Options,
    curve: &str,
    x: &str,
    y: &str,
    own: Vec<(f64, Spread)>,
    bare: Vec<(f64, Spread)>,
) -> Outcome<()> {
    let mut curves = vec![Curve {
        name: "gateway",
        points: own,
    }];
    if !bare.is_empty() {
        curves.push(Curve {
            name: "bare hyper",
            points: bare,
        });
    }
    let file = options.results.join(format!("growth-{curve}.svg"));
    std::fs::create_dir_all(&options.results)?;
    draw(&file, &format!("CPU as {curve} grow"), x, y, &curves)
}

async fn routes(options: &Options, folder: &Path, report: &mut Report) -> Outcome<()> {
    let sizes = [10usize, 100, 1_000, 10_000];
    let mut contestants = Vec::new();
    for routes in sizes {
        let mut setup = Setup::default();
        for route in 0..routes {
            // A tenth with variables, so that the matcher has something to try.
            let path = match route % 10 {
                0 => format!("GET /r{route}/{{id}}/items/{{item}}"),
                _ => format!("GET /area{}/r{route}/list", route % 97),
            };
            setup = setup.route(&path, "authorizer: none", MOCK);
        }
        let step = (routes / 64).max(1);
        let requests = (0..routes)
            .step_by(step)
            .map(|route| {
                let path = match route % 10 {
                    0 => format!("/r{route}/7/items/9"),
                    _ => format!("/area{}/r{route}/list", route % 97),
                };
                Prototype::plain("GET", &path, "", "")
            })
            .collect::<Vec<_>>();
        let server = setup.start(folder, &format!("{routes} routes"))?;
        contestants.push(Contestant {
            load: Load {
                address: server.address,
                tls: None,
                requests: requests.into(),
            },
            server,
            fake: None,
        });
    }
    let rounds = take(&contestants, 64, options.pace(5, 2.0)).await?;
    let points = sizes.iter().zip(&rounds).map(|(size, rounds)| {
        (
            *size as f64,
            point(report, "routes", *size as f64, "gateway", rounds),
        )
    });
    let points: Vec<_> = points.collect();
    let more = points[3].1.median - points[0].1.median;
    report.budget("CPU µs more, 10 to 10,000 routes", more, Limit::AtMost(1.0));
    plot(
        options,
        "routes",
        "routes",
        "CPU µs a request",
        points,
        Vec::new(),
    )
}

async fn keys(options: &Options, folder: &Path, report: &mut Report) -> Outcome<()> {
    let sizes = [10usize, 1_000, 100_000, 1_000_000];
    let contestants = sizes
        .iter()
        .map(|keys| door::keyed(folder, &format!("api_key, {keys}"), *keys, "", ""))
        .collect::<Outcome<Vec<_>>>()?;
    let rounds = take(&contestants, 64, options.pace(5, 2.0)).await?;
    let points = sizes.iter().zip(&rounds).map(|(size, rounds)| {
        (
            *size as f64,
            point(report, "keys", *size as f64, "gateway", rounds),
        )
    });
    let points: Vec<_> = points.collect();
    let more = points[3].1.median - points[0].1.median;
    report.budget(
        "CPU µs more, 10 to 1,000,000 keys",
        more,
        Limit::AtMost(1.0),
    );
    plot(
        options,
        "keys",
        "API keys",
        "CPU µs a request",
        points,
        Vec::new(),
    )
}

/// The gateway and bare hyper, at the same addresses for all points.
fn pair(folder: &Path, name: &str, limits: &str) -> Outcome<[Contestant; 2]> {
    let server = Setup::orders(MOCK).section(limits).start(folder, name)?;
    let gateway = Contestant {
        load: orders(&server),
        server,
        fake: None,
    };
    Ok([gateway, super::accept::bare()?])
}

async fn connections(options: &Options, folder: &Path, report: &mut Report) -> Outcome<()> {
    let allowed = allow_descriptors(11_000)?;
    let limits = "limits: { in_flight: 32768, connections: 32768, cpu_wait: none }";
    let pair = pair(folder, "connections", limits)?;
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    for connections in [10usize, 100, 1_000, 10_000] {
        if allowed < connections as u64 + 512 {
            report.note(format!(
                "{connections} connections skipped: the limit of open files is {allowed}"
            ));
            continue;
        }
        let rounds = take(&pair, connections, options.pace(3, 2.0)).await?;
        let at = connections as f64;
        own.push((at, point(report, "connections", at, "gateway", &rounds[0])));
        bare.push((
            at,
            point(report, "connections", at, "bare hyper", &rounds[1]),
        ));
    }
    plot(
        options,
        "connections",
        "active connections",
        "CPU µs a request",
        own,
        bare,
    )
}

async fn bodies(options: &Options, folder: &Path, report: &mut Report) -> Outcome<()> {
    let mut pair = pair(folder, "bodies", "limits: { body: 2MiB }")?;
    let (mut own, mut bare) = (Vec::new(), Vec::new());
    for kib in [1usize, 16, 64, 256, 1024] {
        for contestant in &mut pair {
            contestant.load.requests = [Prototype::numbered("/orders", &keyed(), kib << 10)].into();
        }
        let rounds = take(&pair, 32, options.pace(3, 2.0)).await?;
        let at = kib as f64;
        own.push((at, point(report, "bodies", at, "gateway", &rounds[0])));
        bare.push((at, point(report, "bodies", at, "bare hyper", &rounds[1])));
    }
    if let (Some(own), Some(bare)) = (own.last(), bare.last()) {
        let copies = (own.1.median - bare.1.median) / 1024.0;
        report.note(format!("at 1 MiB the gateway spends {copies:.3} µs/KiB over bare hyper; a copy of the body costs some 0.05 to 0.1"));
    }
    plot(
        options,
        "bodies",
        "KiB of body",
        "CPU µs a request",
        own,
        bare,
    )
}

async fn backlog(options: &Options, folder: &Path, report: &mut Report) -> Outcome<()> {
    let most = options.mebibytes;
    let sizes = [0, most / 64, most / 8, most];
    let mut contestants = Vec::new();
    for mebibytes in sizes {
        let name = format!("backlog {mebibytes}");
        let setup = spool::spooling().store(&format!("max_size: {}MiB", most * 4 + 10_240));
        let file = setup.write(folder, &name)?;
        if mebibytes > 0 {
            spool::fill(&file.with_file_name("data"), mebibytes).await?;
        }
        let server = Server::gateway(&name, &file, None)?;
        contestants.push(Contestant {
            load: orders(&server),
            server,
            fake: None,
        });
    }
    let rounds = take(&contestants, 64, options.pace(3, 2.0)).await?;
    let points = sizes.iter().zip(&rounds).map(|(size, rounds)| {
        let resident = rounds
            .iter()
            .map(|round| round.resident_kib >> 10)
            .max()
            .unwrap_or(0);
        let name = format!("gateway, {resident} MiB resident");
        (
            *size as f64,
            point(report, "backlog", *size as f64, &name, rounds),
        )
    });
    let points = points.collect();
    report.note(format!(
        "backlog up to {most} MiB of calls (--mebibytes 10240 for the whole curve)"
    ));
    plot(
        options,
        "backlog",
        "MiB spooled",
        "CPU µs a request",
        points,
        Vec::new(),
    )
}
