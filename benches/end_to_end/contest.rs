//! Contestants take turns, round after round, so that whatever the machine does besides meets all of them alike; ratios
//! are taken within each round.

use std::fmt;

use crate::Failure;
use crate::load::Sample;

/// Median, smallest and largest of some values.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let (last, middle) = (values.len().saturating_sub(1), values.len() / 2);
        let median = if values.len() % 2 == 1 { at(middle) } else { (at(middle.saturating_sub(1)) + at(middle)) / 2.0 };
        Self { median, min: at(0), max: at(last) }
    }
}

/// `{:.2}` prints all three with two digits.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.min, self.max)
    }
}

/// One round of one contestant.
pub type Turn<'a> = Box<dyn Fn() -> Result<Sample, Failure> + 'a>;

/// All rounds of a contest; Usher is the first contestant.
pub struct Contest {
    names: Vec<String>,
    /// By contestant, then by round.
    samples: Vec<Vec<Sample>>,
}

/// The columns of [`Contest::rows`].
pub const HEAD: [&str; 8] =
    ["contestant", "connections", "requests/s", "p50, µs", "p99, µs", "CPU µs/request", "its core", "generator's core"];

impl Contest {
    /// Runs `rounds` rounds after one that does not count.
    pub fn run(rounds: usize, turns: &[(&str, Turn<'_>)]) -> Result<Self, Failure> {
        for (_, turn) in turns {
            turn()?;
        }
        let mut samples = vec![Vec::new(); turns.len()];
        for _ in 0..rounds {
            for (place, (_, turn)) in turns.iter().enumerate() {
                samples[place].push(turn()?);
            }
        }
        Ok(Self { names: turns.iter().map(|(name, _)| (*name).to_owned()).collect(), samples })
    }

    /// Usher's figure by that of another contestant.
    pub fn ratio(&self, other: usize, figure: impl Fn(&Sample) -> f64) -> Spread {
        self.compare(other, |ours, theirs| figure(ours) / figure(theirs))
    }

    /// Usher's figure less that of another contestant.
    pub fn difference(&self, other: usize, figure: impl Fn(&Sample) -> f64) -> Spread {
        self.compare(other, |ours, theirs| figure(ours) - figure(theirs))
    }

    fn compare(&self, other: usize, compared: impl Fn(&Sample, &Sample) -> f64) -> Spread {
        let pairs = self.samples[0].iter().zip(&self.samples[other]);
        Spread::of(pairs.map(|(ours, theirs)| compared(ours, theirs)))
    }

    pub fn rows(&self, connections: usize) -> Vec<Vec<String>> {
        let row = |(name, samples): (&String, &Vec<Sample>)| {
            let spread = |figure: fn(&Sample) -> f64| Spread::of(samples.iter().map(figure));
            vec![
                name.clone(),
                connections.to_string(),
                format!("{:.0}", spread(|sample| sample.rate)),
                format!("{:.0}", spread(|sample| sample.p50)),
                format!("{:.0}", spread(|sample| sample.p99)),
                format!("{:.1}", spread(|sample| sample.cost)),
                percent(spread(|sample| sample.busy).median),
                percent(spread(|sample| sample.generator).median),
            ]
        };
        self.names.iter().zip(&self.samples).map(row).collect()
    }
}

pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
