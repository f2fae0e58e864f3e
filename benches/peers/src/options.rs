//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::arm::Arm;

const USAGE: &str = "\
options:
  --arms a,b           arms to compare (default: all)
  --threads 16,64      numbers of threads or tasks (default: 1,4,16,64,256; with --large: 16)
  --rounds N           turns of each arm (default: 5)
  --seconds S          length of a turn (default: 1.0; with --large: 3.0)
  --pool N             connections a node, in arms that have a pool (default: 10)
  --quick              2 rounds of 0.3 s with 1, 16 and 64 threads, and no plots, where nothing else is said
  --line-delay 2ms     a line with this round trip between clients and servers
  --large              readers of small values beside a reader of 30 MB values and a caller of BLPOP
  --plots FOLDER       where the plots go (default: benches/plots of the crate)
  --no-plots           writes no plots";

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub arms: Vec<Arm>,
    pub threads: Vec<usize>,
    pub rounds: usize,
    /// The measured part of a turn.
    pub length: Duration,
    pub pool: u32,
    /// The round trip of the line.
    pub line_delay: Option<Duration>,
    pub large: bool,
    pub plots: Option<PathBuf>,
}

impl Options {
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = args;
        let (mut arms, mut threads, mut rounds, mut seconds, mut plots) = (None, None, None, None, None);
        let (mut pool, mut line_delay, mut large, mut quick, mut no_plots) = (10, None, false, false, false);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} lacks its value"));
            match arg.as_str() {
                "--arms" => arms = Some(list(&value()?, Arm::named)?),
                "--threads" => threads = Some(list(&value()?, number)?),
                "--rounds" => rounds = Some(number(&value()?)?),
                "--seconds" => seconds = Some(number(&value()?)?),
                "--pool" => pool = number(&value()?)?,
                "--line-delay" => line_delay = Some(milliseconds(&value()?)?),
                "--plots" => plots = Some(PathBuf::from(value()?)),
                "--no-plots" => no_plots = true,
                "--large" => large = true,
                "--quick" => quick = true,
                "--help" => return Err(USAGE.to_owned()),
                _ => return Err(format!("unknown option {arg}\n{USAGE}")),
            }
        }
        let usual: &[usize] = match (large, quick) {
            (true, _) => &[16],
            (_, true) => &[1, 16, 64],
            (_, false) => &[1, 4, 16, 64, 256],
        };
        let usual_seconds = match (large, quick) {
            (true, _) => 3.0,
            (_, true) => 0.3,
            (_, false) => 1.0,
        };
        let usual_plots = concat!(env!("CARGO_MANIFEST_DIR"), "/../plots").into();
        Ok(Self {
            arms: arms.unwrap_or_else(|| Arm::ALL.to_vec()),
            threads: threads.unwrap_or_else(|| usual.to_vec()),
            rounds: rounds.unwrap_or(if quick { 2 } else { 5 }).max(1),
            length: Duration::from_secs_f64(seconds.unwrap_or(usual_seconds)),
            pool,
            line_delay,
            large,
            plots: if no_plots { None } else { plots.or((!quick).then_some(usual_plots)) },
        })
    }
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(parse).collect()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number that fits here"))
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let value: f64 = number(text.strip_suffix("ms").ok_or_else(|| format!("{text}: write it like 2ms"))?)?;
    Ok(Duration::from_secs_f64(value / 1000.0))
}
