//! A growth curve as SVG: medians with their spread over a logarithmic axis.

use std::path::Path;

use plotters::prelude::*;

use super::Outcome;
use super::figures::Spread;

/// One line of a plot.
pub struct Curve {
    pub name: &'static str,
    pub points: Vec<(f64, Spread)>,
}

const COLOURS: [RGBColor; 3] = [
    RGBColor(0, 90, 160),
    RGBColor(200, 80, 0),
    RGBColor(90, 90, 90),
];

/// Draws `curves` into `file`. Points whose x is 0 are shown at the axis' beginning.
pub fn draw(file: &Path, title: &str, x: &str, y: &str, curves: &[Curve]) -> Outcome<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let positive = points().map(|(at, _)| *at).filter(|at| *at > 0.0);
    let low = positive.clone().fold(f64::INFINITY, f64::min);
    let high = positive.fold(low, f64::max);
    let at = |x: f64| if x > 0.0 { x } else { low / 2.0 };
    let begins = points().map(|(x, _)| at(*x)).fold(low, f64::min);
    let top = points().map(|(_, value)| value.high).fold(0.0, f64::max) * 1.1;
    let area = SVGBackend::new(file, (720, 420)).into_drawing_area();
    let failed = |error: DrawingAreaErrorKind<_>| -> Box<dyn std::error::Error + Send + Sync> {
        format!("{}: {error}", file.display()).into()
    };
    area.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(
            (begins..high.max(begins * 2.0)).log_scale(),
            0.0..top.max(f64::MIN_POSITIVE),
        )
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .draw()
        .map_err(failed)?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let line = curve.points.iter().map(|(x, value)| (at(*x), value.median));
        chart
            .draw_series(LineSeries::new(line.clone(), colour))
            .map_err(failed)?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        chart
            .draw_series(line.map(|point| Circle::new(point, 3, colour.filled())))
            .map_err(failed)?;
        let spreads = curve.points.iter().map(|(x, value)| {
            PathElement::new([(at(*x), value.low), (at(*x), value.high)], colour)
        });
        chart.draw_series(spreads).map_err(failed)?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()
        .map_err(failed)?;
    area.present().map_err(failed)?;
    Ok(())
}
