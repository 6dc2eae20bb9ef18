//! Runs the program on every model of a folder and says what came of it: a table of file, verb, seconds, peak
//! memory and outcome.
//!
//! `odd_files PROGRAM FOLDER`: each file goes through `inspect`, `check`, `optimize` and `run`, each in a process of
//! its own. A model whose inputs are not known is run on a `[4, 4]` of ones called `x`. A process that panics or is
//! killed, takes longer than 2 seconds or more than 300 MB is a failure; an error that the program reports is none.
//! Peak memory is read from `/proc`, and is 0 where there is none.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use compress_tensor::{DType, Tensor, npy};

const MOST_SECONDS: f64 = 2.0;
const MOST_MEGABYTES: f64 = 300.0;
/// Element types of inputs that ones are made of.
const DTYPES: [DType; 8] = [
    DType::F32,
    DType::F16,
    DType::F64,
    DType::I64,
    DType::I32,
    DType::I8,
    DType::U8,
    DType::Bool,
];
/// A process that runs for longer than this is stopped.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [program, folder] = &args[..] else {
        eprintln!("usage: odd_files PROGRAM FOLDER");
        return ExitCode::from(2);
    };
    match run(program, folder) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("odd_files: {error}");
            ExitCode::from(2)
        }
    }
}

/// Prints the table and gives the number of failures.
fn run(program: &Path, folder: &Path) -> std::io::Result<usize> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|ext| ext == "onnx"));
    files.sort();
    let scratch = tempfile::tempdir()?;
    println!(
        "{:<32} {:<9} {:>8} {:>8}  outcome",
        "file", "verb", "seconds", "MB"
    );
    let (mut failures, mut slowest, mut largest) = (0, 0f64, 0f64);
    for file in &files {
        let mut inspect = Command::new(program);
        inspect.arg("inspect").arg(file).arg("--json");
        let inspected = watch(&mut inspect)?;
        let inputs = write_inputs(&inspected.stdout, scratch.path())?;
        let mut runs = vec![("inspect", inspected)];
        let out = scratch.path().join("out.onnx");
        for verb in ["check", "optimize", "run"] {
            let mut command = Command::new(program);
            command.arg(verb).arg(file);
            match verb {
                "optimize" => {
                    command.arg("-o").arg(&out);
                }
                "run" => {
                    command.arg("--output-dir").arg(scratch.path());
                    for input in &inputs {
                        command.arg("--input").arg(input);
                    }
                }
                _ => {}
            }
            runs.push((verb, watch(&mut command)?));
        }
        for (verb, watched) in runs {
            let failure = watched.failure();
            failures += usize::from(failure.is_some());
            slowest = slowest.max(watched.seconds);
            largest = largest.max(watched.megabytes);
            println!(
                "{:<32} {verb:<9} {:>8.3} {:>8.1}  {}{}",
                file.file_stem().unwrap_or_default().to_string_lossy(),
                watched.seconds,
                watched.megabytes,
                failure
                    .map(|f| format!("FAILED, {f}: "))
                    .unwrap_or_default(),
                watched.outcome(),
            );
        }
    }
    println!(
        "{} files, {failures} failures; slowest {slowest:.3} s, largest {largest:.1} MB",
        files.len()
    );
    Ok(failures)
}

/// Ones for each input that `inspect` told of, as arguments of `--input`; symbols are 1.
fn write_inputs(inspected: &str, folder: &Path) -> std::io::Result<Vec<String>> {
    let known: Option<Vec<(String, DType, Vec<usize>)>> = (|| {
        let told: serde_json::Value = serde_json::from_str(inspected).ok()?;
        let input = |port: &serde_json::Value| {
            let shape = port["shape"].as_array()?;
            let shape = shape.iter().map(|dim| dim.as_u64().unwrap_or(1) as usize);
            let dtype = port["dtype"].as_str()?;
            let dtype = DTYPES.iter().find(|d| d.name() == dtype)?;
            Some((port["name"].as_str()?.to_owned(), *dtype, shape.collect()))
        };
        told["inputs"].as_array()?.iter().map(input).collect()
    })();
    let known = known.unwrap_or_else(|| vec![("x".to_owned(), DType::F32, vec![4, 4])]);
    let mut arguments = Vec::new();
    for (i, (name, dtype, shape)) in known.iter().enumerate() {
        let path = folder.join(format!("input{i}.npy"));
        let ones = Tensor::full(shape, 1f32).and_then(|ones| ones.cast(*dtype, Default::default()));
        let ones = ones.map_err(std::io::Error::other)?;
        npy::write(&path, &ones).map_err(std::io::Error::other)?;
        arguments.push(format!("{name}={}", path.display()));
    }
    Ok(arguments)
}

/// A process that has ended, or was stopped.
struct Watched {
    seconds: f64,
    megabytes: f64,
    /// The exit code; `None` for a process that was killed.
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Watched {
    fn failure(&self) -> Option<String> {
        // A panic of a Rust program ends in code 101.
        match self.code {
            None => Some("killed".to_owned()),
            Some(101) => Some("panicked".to_owned()),
            Some(_) if self.seconds > MOST_SECONDS => Some(format!("over {MOST_SECONDS} s")),
            Some(_) if self.megabytes > MOST_MEGABYTES => Some(format!("over {MOST_MEGABYTES} MB")),
            Some(_) => None,
        }
    }

    /// `ok`, or the exit code and the first line that the program says of it.
    fn outcome(&self) -> String {
        let said = self.stderr.lines().chain(self.stdout.lines());
        let said: String = said
            .take(1)
            .flat_map(|line| line.chars().take(160))
            .collect();
        match self.code {
            Some(0) => "ok".to_owned(),
            Some(code) => format!("code {code}: {said}"),
            None => said,
        }
    }
}

/// Runs a command to its end; its output goes through files, so that no pipe fills up.
fn watch(command: &mut Command) -> std::io::Result<Watched> {
    let (stdout, stderr) = (
        tempfile::NamedTempFile::new()?,
        tempfile::NamedTempFile::new()?,
    );
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.reopen()?)
        .stderr(stderr.reopen()?)
        .spawn()?;
    let mut peak = 0.0f64;
    let status = loop {
        let bytes = testkit::resident::peak_of(child.id()).unwrap_or(0);
        peak = peak.max(bytes as f64 / 1024.0 / 1024.0);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    Ok(Watched {
        seconds: start.elapsed().as_secs_f64(),
        megabytes: peak,
        code: status.code(),
        stdout: std::fs::read_to_string(stdout.path())?,
        stderr: std::fs::read_to_string(stderr.path())?,
    })
}
