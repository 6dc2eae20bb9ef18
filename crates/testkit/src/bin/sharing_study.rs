//! Many threads of a program call `run` on one session at the same time: how even are their times, does memory grow,
//! are the outputs those of one thread alone?
//!
//! `sharing_study DATA [--seconds N] [--callers N]`: ResNet-8 and MiniLM at 16 tokens from the data pack `DATA`, or the
//! network of `modelpress demo` where there is none; each as a session of one thread a run and as one of as many as the machine
//! has cores. Ends with code 1 where an output differs by one bit, the 99th percentile is [`MOST_SPREAD`] medians or more, or
//! memory grows by more than [`MOST_GROWTH`] bytes.

use compress_tensor::Tensor;
use onnx_ir::Model;
use runtime_session::{Session, SessionOptions};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use testkit::histogram::Histogram;
use testkit::random::Random;
use testkit::resident;

/// The 99th percentile in medians, below which a case is even.
const MOST_SPREAD: f64 = 5.0;
/// Bytes that may be added after the start.
const MOST_GROWTH: u64 = 2 << 20;
/// When memory is looked at first: all threads have run, and the allocator has what it needs.
const SETTLED: Duration = Duration::from_secs(5);
/// Sets of inputs, taken in turn.
const SAMPLES: usize = 4;
const TOKENS: usize = 16;

/// Inputs of one run.
type Feeds = Vec<(&'static str, Tensor)>;

struct Case {
    name: &'static str,
    model: Model,
    samples: Vec<Feeds>,
}

struct Arguments {
    data: PathBuf,
    seconds: f64,
    callers: usize,
}

/// What the callers of one session saw.
struct Outcome {
    times: Histogram,
    differing: u64,
    settled: u64,
    end: u64,
}

fn main() -> ExitCode {
    let Some(arguments) = parse() else {
        eprintln!("usage: sharing_study DATA [--seconds N] [--callers N]");
        return ExitCode::from(2);
    };
    match run(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sharing_study: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Option<Arguments> {
    let mut words = std::env::args().skip(1);
    let mut arguments = Arguments {
        data: words.next()?.into(),
        seconds: 60.0,
        callers: 8,
    };
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--seconds" => arguments.seconds = value.parse().ok().filter(|s| *s > 0.0)?,
            "--callers" => arguments.callers = value.parse().ok().filter(|n| *n > 0)?,
            _ => return None,
        }
    }
    Some(arguments)
}

/// Prints a row for each case, and gives the number of those that missed a limit.
fn run(arguments: &Arguments) -> Result<usize, Box<dyn Error>> {
    println!(
        "{:<12} {:>7} {:>9} {:>10} {:>9} {:>5} {:>9} {:>9}  outcome",
        "model", "threads", "runs", "median ms", "p99 ms", "ratio", "MB early", "MB end"
    );
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut missed = 0;
    for case in cases(&arguments.data)? {
        let mut threads = vec![1, cores];
        threads.dedup();
        for threads in threads {
            let outcome = share(&case, threads, arguments)?;
            let [median, p99] = [0.5, 0.99].map(|q| outcome.times.quantile(q).as_secs_f64() * 1e3);
            let judged = judge(&outcome, p99 / median);
            missed += usize::from(judged.is_some());
            println!(
                "{:<12} {threads:>7} {:>9} {median:>10.3} {p99:>9.3} {:>5.2} {:>9.1} {:>9.1}  {}",
                case.name,
                outcome.times.len(),
                p99 / median,
                outcome.settled as f64 / 1e6,
                outcome.end as f64 / 1e6,
                judged.unwrap_or_else(|| "ok".to_owned()),
            );
        }
    }
    Ok(missed)
}

/// What a case missed.
fn judge(outcome: &Outcome, spread: f64) -> Option<String> {
    if outcome.differing > 0 {
        return Some(format!("{} outputs differ", outcome.differing));
    }
    if spread.is_nan() || spread >= MOST_SPREAD {
        return Some(format!("p99 is not below {MOST_SPREAD} medians"));
    }
    let growth = outcome.end.saturating_sub(outcome.settled);
    (growth > MOST_GROWTH).then(|| format!("memory grew by {growth} bytes"))
}

/// All callers on one session until the time is over.
fn share(case: &Case, threads: usize, arguments: &Arguments) -> Result<Outcome, Box<dyn Error>> {
    let sequential = Session::new(case.model.clone(), &SessionOptions::default())?;
    let expected = case.samples.iter().map(|feeds| sequential.run(feeds));
    let expected: Vec<Vec<Tensor>> = expected.collect::<Result<_, _>>()?;
    drop(sequential);
    let options = SessionOptions::default().with_threads(threads);
    let session = Session::new(case.model.clone(), &options)?;
    let length = Duration::from_secs_f64(arguments.seconds);
    let end = Instant::now() + length;
    thread::scope(|scope| {
        let callers: Vec<_> = (0..arguments.callers)
            .map(|caller| {
                let (session, expected) = (&session, &expected);
                scope.spawn(move || call(session, case, expected, caller, end))
            })
            .collect();
        thread::sleep(SETTLED.min(length / 2));
        let settled = resident::now().unwrap_or(0);
        thread::sleep(end.saturating_duration_since(Instant::now()));
        // The callers are about to end; what they hold is still there.
        let end = resident::now().unwrap_or(0);
        let (mut times, mut differing) = (Histogram::default(), 0);
        for caller in callers {
            let (of_caller, wrong) = caller.join().map_err(|_| "a caller panicked")??;
            times.merge(&of_caller);
            differing += wrong;
        }
        Ok(Outcome {
            times,
            differing,
            settled,
            end,
        })
    })
}

/// One caller: its times, and the number of runs whose outputs are not those expected.
fn call(
    session: &Session,
    case: &Case,
    expected: &[Vec<Tensor>],
    caller: usize,
    end: Instant,
) -> Result<(Histogram, u64), runtime_session::SessionError> {
    let (mut times, mut differing) = (Histogram::default(), 0);
    let mut sample = caller % case.samples.len();
    while Instant::now() < end {
        let started = Instant::now();
        let outputs = session.run(&case.samples[sample])?;
        times.add(started.elapsed());
        let pairs = outputs.iter().zip(&expected[sample]);
        let is_same = pairs.clone().all(|(a, b)| a.bytes() == b.bytes());
        differing += u64::from(!is_same || outputs.len() != expected[sample].len());
        sample = (sample + 1) % case.samples.len();
    }
    Ok((times, differing))
}

/// The models of the data pack that are there; else the one in this repository.
fn cases(data: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let file = |name: &str| Some(data.join("models").join(name)).filter(|path| path.is_file());
    let mut cases = Vec::new();
    if let Some(path) = file("resnet8_cifar10.onnx") {
        cases.push(Case {
            name: "resnet8",
            model: Model::load(path)?,
            samples: images("input", &[1, 3, 32, 32], 255.0)?,
        });
    }
    if let Some(path) = file("minilm_l6_v2.onnx") {
        cases.push(Case {
            name: "minilm_16",
            model: Model::load(path)?,
            samples: sentences()?,
        });
    }
    if cases.is_empty() {
        let demo = "../modelpress-cli/demo/digits_cnn.onnx";
        cases.push(Case {
            name: "digits",
            model: Model::load(Path::new(env!("CARGO_MANIFEST_DIR")).join(demo))?,
            samples: images("image", &[1, 1, 8, 8], 1.0)?,
        });
    }
    Ok(cases)
}

fn images(input: &'static str, shape: &[usize], white: f32) -> Result<Vec<Feeds>, Box<dyn Error>> {
    let image = |seed| {
        let pixels = Random::new(seed).numbers(shape.iter().product(), 0.0, white);
        Ok(vec![(input, Tensor::from_vec(shape, pixels)?)])
    };
    (0..SAMPLES as u64).map(image).collect()
}

/// Sentences of [`TOKENS`] words of the vocabulary, none of them padded.
fn sentences() -> Result<Vec<Feeds>, Box<dyn Error>> {
    let sentence = |seed| {
        let ids = Random::new(seed).numbers(TOKENS, 1000.0, 30_000.0);
        let ids: Vec<i64> = ids.iter().map(|&id| id as i64).collect();
        let row = |values: Vec<i64>| Tensor::from_vec(&[1, TOKENS], values);
        Ok(vec![
            ("input_ids", row(ids)?),
            ("attention_mask", row(vec![1; TOKENS])?),
            ("token_type_ids", row(vec![0; TOKENS])?),
        ])
    };
    (0..SAMPLES as u64).map(sentence).collect()
}
