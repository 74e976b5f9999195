//! The straight line that lies closest to samples taken every second.

/// Least squares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trend {
    /// At the middle of the samples.
    pub(crate) middle: f64,
    /// Per second.
    slope: f64,
}

impl Trend {
    /// The line through samples; none through fewer than two.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        if samples.len() < 2 {
            return None;
        }
        let count = float(samples.len());
        let (middle_second, middle) = ((count - 1.0) / 2.0, samples.iter().sum::<f64>() / count);
        let (mut above, mut below) = (0.0, 0.0);
        for (second, sample) in samples.iter().enumerate() {
            let away = float(second) - middle_second;
            above += away * (sample - middle);
            below += away * away;
        }
        Some(Self { middle, slope: above / below })
    }

    /// The slope, of the value in the middle.
    pub(crate) fn percent_per_minute(&self) -> f64 {
        self.slope * 60.0 / self.middle * 100.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a day")]
fn float(count: usize) -> f64 {
    count as f64
}
