//! Sums over completions that old ones fade from.

use serde::{Deserialize, Serialize};

use crate::rate::sane;

/// Time constant of the decayed sums, in seconds.
const TAU_S: f64 = 180.0;

/// Exponentially decayed sums over completions: of weight, time, duration y, context x, and what a line needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Decayed {
    pub n: f64,
    /// Sum of the squares of how many durations came as one mean. Absent in what was written before.
    #[serde(default)]
    pub nn: f64,
    pub age: f64,
    pub y: f64,
    pub yy: f64,
    /// Weight of the observations that named a context size.
    pub m: f64,
    pub x: f64,
    pub my: f64,
    pub xx: f64,
    pub xy: f64,
    pub error_plain: f64,
    pub error_context: f64,
}

impl Decayed {
    pub fn decay(&mut self, dt: f64) {
        let keep = (-dt.max(0.0) / TAU_S).exp();
        self.age = sane((self.age + self.n * dt.max(0.0)) * keep);
        for sum in [&mut self.n, &mut self.nn, &mut self.y, &mut self.yy, &mut self.m, &mut self.x, &mut self.my] {
            *sum = sane(*sum * keep);
        }
        for sum in [&mut self.xx, &mut self.xy, &mut self.error_plain, &mut self.error_context] {
            *sum = sane(*sum * keep);
        }
    }

    /// Slope of duration on context size, in seconds per token.
    pub fn slope(&self) -> Option<f64> {
        let sxx = self.xx - self.x * self.x / self.m;
        let sxy = self.xy - self.x * self.my / self.m;
        (self.m > 5.0 && sxx > 1e-9 * self.xx).then(|| sane(sxy / sxx))
    }

    /// Standard deviation of one duration over their mean, where only means over several durations are known: those of `k`
    /// durations scatter less, by the root of `k`.
    pub fn scatter_of_means(&self) -> f64 {
        let mean = self.y / self.n;
        let variance = (self.yy / self.n - mean * mean).max(0.0) * self.nn / self.n;
        sane(variance.sqrt() / mean)
    }

    /// Whether predicting from the context size has made the error at least a tenth smaller than not doing so.
    pub fn context_helps(&self) -> bool {
        self.m > 10.0 && self.error_context < 0.9 * self.error_plain
    }

    pub fn add_context(&mut self, n: f64, x: f64, y: f64) {
        // Each predictor is judged on this observation before it learns from it.
        if let Some(slope) = self.slope() {
            let plain = y - self.my / self.m;
            let context = plain - slope * (x - self.x / self.m);
            self.error_plain = sane(self.error_plain + n * plain * plain);
            self.error_context = sane(self.error_context + n * context * context);
        }
        self.m += n;
        self.x = sane(self.x + n * x);
        self.my = sane(self.my + n * y);
        self.xx = sane(self.xx + n * x * x);
        self.xy = sane(self.xy + n * x * y);
    }

    /// Continues with the weight of so many tasks after all durations have changed by a factor, to this mean.
    pub fn restart(&mut self, mean_s: f64, factor: f64, weight: f64) {
        if self.n <= 0.0 {
            return;
        }
        let kept = weight / self.n;
        let squares = self.yy * factor * factor * kept;
        let contexts = [self.m, self.x, self.xx].map(|sum| sane(sum * kept));
        let products = [self.my, self.xy].map(|sum| sane(sum * kept * factor));
        *self = Self { n: weight, nn: weight, y: sane(weight * mean_s), yy: sane(squares), ..Self::default() };
        [self.m, self.x, self.xx] = contexts;
        [self.my, self.xy] = products;
    }
}
