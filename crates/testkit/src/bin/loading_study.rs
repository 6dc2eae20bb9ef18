//! What loading a large model takes: time and peak memory of `Model::load`, and peak memory of a session on it.
//!
//! `loading_study DATA [--layers N] [--folder FOLDER]`: writes a model of three convolutions and `N` (16) products of 4096 x 4096 f32
//! weights, 64 MiB each, once with external data and once in one file, and measures each in fresh processes whose files lie in the
//! system's cache. `DATA` is not used. Ends with code 1 where loading takes [`MOST_MILLISECONDS`] or [`MOST_MEGABYTES`] or more, or a
//! session with one run at a small batch peaks at [`MOST_PEAK`] times the weights or more.
//!
//! Memory is read from `/proc`: elsewhere than on Linux the study ends with an error.

use compress_tensor::{DType, Tensor};
use onnx_ir::io::{ExternalData, SaveOptions};
use onnx_ir::{Dim, Fact, Graph, Model, Node, ValueId};
use runtime_session::{Session, SessionOptions};
use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use testkit::random::Random;
use testkit::resident;

const MOST_MILLISECONDS: f64 = 10.0;
const MOST_MEGABYTES: f64 = 20.0;
/// Peak memory over the bytes of the weights.
const MOST_PEAK: f64 = 1.15;
/// Fresh processes whose median counts.
const ROUNDS: usize = 5;
/// Rows and columns of a product's weights, and elements of the image before.
const WIDTH: usize = 4096;
const CHANNELS: usize = 256;
const CONVOLUTIONS: usize = 3;
const BATCH: usize = 2;

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match &words[..] {
        [task, file] if task == "load" => load(Path::new(file)).map(|()| 0),
        [task, file] if task == "run" => load_and_run(Path::new(file)).map(|()| 0),
        [_, options @ ..] => match parse(options) {
            Some((layers, folder)) => study(layers, &folder),
            None => Err(USAGE.into()),
        },
        [] => Err(USAGE.into()),
    };
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loading_study: {error}");
            ExitCode::from(2)
        }
    }
}

const USAGE: &str = "usage: loading_study DATA [--layers N] [--folder FOLDER]";

fn parse(options: &[std::ffi::OsString]) -> Option<(usize, PathBuf)> {
    let (mut layers, mut folder) = (16, std::env::temp_dir());
    for pair in options.chunks(2) {
        let [name, value] = pair else { return None };
        match name.to_str()? {
            "--layers" => layers = value.to_str()?.parse().ok().filter(|n| *n > 0)?,
            "--folder" => folder = value.into(),
            _ => return None,
        }
    }
    Some((layers, folder))
}

/// Prints a row for each form of the model, and gives the number of limits missed.
fn study(layers: usize, folder: &Path) -> Result<usize, Failure> {
    let folder = tempfile::tempdir_in(folder)?;
    let external = ExternalData::Always {
        file: None,
        threshold: 1024,
    };
    let forms = [
        ("external data", "external.onnx", external),
        ("one file", "whole.onnx", ExternalData::Never),
    ];
    let weights = {
        let model = model(layers)?;
        for (_, file, data) in &forms {
            let options = SaveOptions::with_external_data(data.clone());
            model.save(folder.path().join(file), &options)?;
        }
        let bytes = model.graph.initializers().map(|(_, w)| w.byte_len());
        bytes.sum::<usize>() as f64
    };
    println!("{layers} products, {:.1} MB of weights", weights / 1e6);
    println!(
        "{:<14} {:>8} {:>12} {:>10} {:>9} {:>10}  outcome",
        "model", "load ms", "load peak MB", "session s", "peak MB", "of weights"
    );
    let mut missed = 0;
    for (name, file, _) in &forms {
        let file = folder.path().join(file);
        // The first round brings the files into the system's cache.
        measure("run", &file)?;
        let [load_seconds, load_peak] = median("load", &file)?;
        let [run_seconds, run_peak] = median("run", &file)?;
        let (milliseconds, megabytes) = (load_seconds * 1e3, load_peak / 1e6);
        let limits = [
            (milliseconds < MOST_MILLISECONDS, "load time"),
            (megabytes < MOST_MEGABYTES, "load memory"),
            (run_peak / weights < MOST_PEAK, "session memory"),
        ];
        let over = limits.iter().filter(|(holds, _)| !holds);
        let over: Vec<&str> = over.map(|(_, what)| *what).collect();
        missed += over.len();
        let outcome = match over.is_empty() {
            true => "ok".to_owned(),
            false => format!("over the limit: {}", over.join(", ")),
        };
        println!(
            "{name:<14} {milliseconds:>8.2} {megabytes:>12.1} {run_seconds:>10.2} {:>9.1} {:>10.3}  {outcome}",
            run_peak / 1e6,
            run_peak / weights,
        );
    }
    Ok(missed)
}

/// The medians of seconds and peak bytes of some rounds.
fn median(task: &str, file: &Path) -> Result<[f64; 2], Failure> {
    let rounds = (0..ROUNDS).map(|_| measure(task, file));
    let rounds: Vec<[f64; 2]> = rounds.collect::<Result<_, _>>()?;
    Ok([0, 1].map(|column| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    }))
}

/// Seconds and peak bytes of a task in a fresh process.
fn measure(task: &str, file: &Path) -> Result<[f64; 2], Failure> {
    let program = std::env::current_exe()?;
    let output = Command::new(program)
        .args([OsStr::new(task), file.as_os_str()])
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{task} {}: {said}", file.display()).into());
    }
    let printed = String::from_utf8(output.stdout)?;
    let mut numbers = printed.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(seconds), Some(peak)) => Ok([seconds?, peak?]),
        _ => Err(format!("{task} printed {printed:?}").into()),
    }
}

/// The task of a fresh process: loads the model, and prints seconds and peak bytes.
fn load(file: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    let model = Model::load(file)?;
    let seconds = started.elapsed().as_secs_f64();
    print_result(seconds)?;
    // Not before: what the model holds counts.
    drop(model);
    Ok(())
}

/// The task of a fresh process: makes a session, runs it once, and prints the seconds until the session stood and peak
/// bytes.
fn load_and_run(file: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    let session = Session::load(file, &SessionOptions::default())?;
    let seconds = started.elapsed().as_secs_f64();
    let image = Random::new(0).numbers(BATCH * WIDTH, -1.0, 1.0);
    let image = Tensor::from_vec(&[BATCH, CHANNELS, 4, 4], image)?;
    let outputs = session.run(&[("x", image)])?;
    let y = outputs.first().ok_or("no output")?.as_slice::<f32>()?;
    if y.len() != BATCH * WIDTH || !y.iter().all(|y| y.is_finite()) || y.iter().all(|y| *y == 0.0) {
        return Err("the output is not what such a model computes".into());
    }
    print_result(seconds)
}

fn print_result(seconds: f64) -> Result<(), Failure> {
    let peak = resident::peak().ok_or("this system does not tell the peak of memory")?;
    println!("{seconds} {peak}");
    Ok(())
}

/// Convolutions of a small image, then products, each followed by `Relu`.
fn model(layers: usize) -> Result<Model, Failure> {
    let mut graph = Graph::new("large");
    let image = [
        Dim::symbol("batch"),
        CHANNELS.into(),
        4usize.into(),
        4usize.into(),
    ];
    let mut x = graph.add_value("x", Fact::tensor(DType::F32, image))?;
    graph.add_input(x);
    for layer in 0..CONVOLUTIONS {
        let weight = weight(layer, &[CHANNELS, CHANNELS, 3, 3])?;
        let w = graph.add_initializer(&format!("filter{layer}"), weight)?;
        x = add(&mut graph, "Conv", &[x, w], |node| {
            node.with("pads", vec![1i64; 4])
        })?;
        x = add(&mut graph, "Relu", &[x], |node| node)?;
    }
    x = add(&mut graph, "Flatten", &[x], |node| node)?;
    for layer in 0..layers {
        let weight = weight(CONVOLUTIONS + layer, &[WIDTH, WIDTH])?;
        let w = graph.add_initializer(&format!("weight{layer}"), weight)?;
        x = add(&mut graph, "MatMul", &[x, w], |node| node)?;
        x = add(&mut graph, "Relu", &[x], |node| node)?;
    }
    graph.add_output(x);
    Ok(Model::new(graph, 17))
}

/// Weights that keep the magnitude of what goes through them and a `Relu` (He and others, 2015).
fn weight(seed: usize, shape: &[usize]) -> Result<Tensor, Failure> {
    let count: usize = shape.iter().product();
    let inputs = if shape.len() == 2 {
        shape[0]
    } else {
        count / shape[0]
    };
    let bound = (6.0 / inputs as f32).sqrt();
    let numbers = Random::new(seed as u64).numbers(count, -bound, bound);
    Ok(Tensor::from_vec(shape, numbers)?)
}

fn add(
    graph: &mut Graph,
    op: &str,
    inputs: &[ValueId],
    attributes: impl FnOnce(Node) -> Node,
) -> Result<ValueId, Failure> {
    let name = format!("value{}", graph.value_bound());
    let y = graph.add_value(&name, Fact::Unknown)?;
    graph.add_node(attributes(Node::new(op, inputs.iter().copied(), [y])))?;
    Ok(y)
}
