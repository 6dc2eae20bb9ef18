//! `modelpress run`: a model's outputs for given inputs.

use crate::arrays::SampleArgs;
use crate::context::{Context, load_with_files};
use crate::error::Error;
use crate::outputs::{check_outputs, files_of};
use crate::table::{Align, Table};
use crate::tuning::TuningReport;
use clap::Args;
use modelpress::data::InputSpec;
use modelpress::tensor::npy::NpyError;
use modelpress::tensor::{DType, Tensor, npy};
use serde::Serialize;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// Run a model and write its outputs, one .npy file each.
#[derive(Args)]
#[command(
    after_help = "Example:\n  modelpress run model.onnx --input x=images.npy --layout nhwc --output-dir out"
)]
pub(crate) struct Run {
    /// The ONNX file.
    model: PathBuf,
    /// What feeds an input: an .npy or .npz file, or NAME=zeros. NAME= may be left out for one input.
    #[arg(long = "input", value_name = "NAME=FILE", required = true)]
    inputs: Vec<InputSpec>,
    /// The folder to write NAME.npy files to; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = ".")]
    output_dir: PathBuf,
    #[command(flatten)]
    samples: SampleArgs,
}

#[derive(Serialize)]
struct Outcome {
    samples: usize,
    outputs: Vec<Written>,
    /// With `--autotune`.
    #[serde(skip_serializing_if = "Option::is_none")]
    autotune: Option<TuningReport>,
}

#[derive(Serialize)]
struct Written {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    file: PathBuf,
}

/// Samples per run unless the user asks for another number.
const BATCH: usize = 32;

impl Run {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let (model, weights) = load_with_files(&self.model)?;
        let names: Vec<String> = model
            .graph
            .outputs()
            .iter()
            .map(|&id| model.graph.name_of(id).to_owned())
            .collect();
        let mut taken = HashSet::new();
        let files = names
            .iter()
            .map(|name| self.output_dir.join(file_name(name, &mut taken)));
        let files: Vec<PathBuf> = files.collect();
        if self.output_dir.exists() {
            if !self.output_dir.is_dir() {
                let is_file = io::Error::from(io::ErrorKind::NotADirectory);
                return Err(Error::file(&self.output_dir)(is_file));
            }
            let outputs: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
            let weights = weights.iter().map(PathBuf::as_path);
            check_outputs(
                files_of(&self.inputs)
                    .chain(weights)
                    .chain([self.model.as_path()]),
                &outputs,
            )?;
        }
        let data = self.samples.open(&model, &self.inputs, BATCH)?;
        let session = cx.session(model)?;
        let mut results: Vec<Vec<Tensor>> = vec![Vec::new(); names.len()];
        let mut progress = cx.progress("run", data.len());
        for batch in data.batches() {
            let batch = batch?;
            let outputs = session.run(&batch.feeds())?;
            for (all, output) in results.iter_mut().zip(outputs) {
                all.push(output);
            }
            progress.add(batch.samples.len());
        }
        drop(progress);
        let mut joined = Vec::new();
        for ((name, parts), file) in names.into_iter().zip(results).zip(&files) {
            let tensor = join(&name, parts)?;
            let wrong = |source| NpyError::Format {
                path: file.clone(),
                source,
            };
            npy::check_type(&tensor).map_err(wrong)?;
            joined.push((name, tensor));
        }
        std::fs::create_dir_all(&self.output_dir).map_err(Error::file(&self.output_dir))?;
        let mut outputs = Vec::new();
        for ((name, tensor), file) in joined.into_iter().zip(files) {
            npy::write(&file, &tensor)?;
            outputs.push(Written {
                name,
                dtype: tensor.dtype().to_string(),
                shape: tensor.shape().to_vec(),
                file,
            });
        }
        let outcome = Outcome {
            samples: data.len(),
            outputs,
            autotune: TuningReport::of(&session),
        };
        cx.report(&outcome, |out| {
            let columns = ["output", "type", "shape", "file"].map(|c| (c, Align::Left));
            let mut table = Table::new(&columns);
            for o in &outcome.outputs {
                let shape = format!("{:?}", o.shape);
                table.row([
                    o.name.clone(),
                    o.dtype.clone(),
                    shape,
                    o.file.display().to_string(),
                ]);
            }
            table.print(out)?;
            TuningReport::print(outcome.autotune.as_ref(), out)
        })
    }
}

/// The results of several runs, one behind the other along axis 0.
fn join(name: &str, parts: Vec<Tensor>) -> Result<Tensor, Error> {
    if let [_] = parts.as_slice() {
        return Ok(parts
            .into_iter()
            .next()
            .unwrap_or_else(|| Tensor::scalar(0f32)));
    }
    let Some(first) = parts.first() else {
        return Ok(Tensor::vector(Vec::<f32>::new()));
    };
    let dtype = first.dtype();
    let mut shape = first.shape().to_vec();
    let mut rows = 0;
    for part in &parts {
        let fits = part.dtype() == dtype
            && part.rank() == first.rank()
            && part.rank() > 0
            && part.shape()[1..] == first.shape()[1..]
            && !dtype.is_packed();
        if !fits {
            return Err(Error::NotJoinable {
                name: name.to_owned(),
                first: first.shape().to_vec(),
                other: part.shape().to_vec(),
            });
        }
        rows += part.shape()[0];
    }
    if let Some(axis) = shape.first_mut() {
        *axis = rows;
    }
    if dtype == DType::String {
        let mut strings = Vec::new();
        for part in &parts {
            strings.extend_from_slice(part.strings()?);
        }
        return Ok(Tensor::from_strings(&shape, strings)?);
    }
    let bytes: Vec<u8> = parts.iter().flat_map(Tensor::bytes).copied().collect();
    Ok(Tensor::from_bytes(dtype, &shape, bytes.into())?)
}

/// A file name for an output: what a name may hold and a file name had better not becomes `_`.
fn file_name(name: &str, taken: &mut HashSet<String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let clean: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    let clean = clean.trim_start_matches('.').to_owned();
    let mut file = format!("{clean}.npy");
    let mut copy = 1;
    while !taken.insert(file.clone()) {
        copy += 1;
        file = format!("{clean}_{copy}.npy");
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_name_leads_to_no_other_folder_and_no_other_output() {
        let mut taken = HashSet::new();
        assert_eq!(file_name("../../etc/x", &mut taken), "_.._etc_x.npy");
        assert_eq!(file_name("a/b", &mut taken), "a_b.npy");
        assert_eq!(file_name("a:b", &mut taken), "a_b_2.npy");
    }

    #[test]
    fn batches_are_joined_along_the_first_axis() {
        let part = |v: Vec<i32>| Tensor::from_vec(&[v.len() / 2, 2], v).unwrap();
        let all = join("y", vec![part(vec![1, 2, 3, 4]), part(vec![5, 6])]).unwrap();
        assert_eq!(all.shape(), [3, 2]);
        assert_eq!(all.as_slice::<i32>().unwrap(), [1, 2, 3, 4, 5, 6]);
        let other = Tensor::from_vec(&[1, 3], vec![0i32; 3]).unwrap();
        assert!(join("y", vec![all, other]).is_err());
    }
}
