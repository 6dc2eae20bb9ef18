//! `modelpress optimize`: the same model with less work.

use crate::arrays::DimArgs;
use crate::context::{Context, bytes_on_disk, load_with_files, save};
use crate::error::Error;
use crate::outputs::{check_is_onnx, check_outputs};
use crate::table::{Align, Table};
use crate::units;
use clap::Args;
use modelpress::ir::dims::fix_dims;
use modelpress::ir::passes::{FreezeDefaults, Pass};
use modelpress::ir::{Catalog, opset};
use modelpress::quant::graph::Names;
use modelpress::{Defaults, OptimizeOptions};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Fix open sizes, infer shapes, fold constants and batch normalization, remove what is not needed, convert the opset.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  modelpress optimize model.onnx -o smaller.onnx --opset 21\n  modelpress optimize bert.onnx -o fixed.onnx --dim batch=1 --dim sequence=128"
)]
pub(crate) struct Optimize {
    /// The ONNX file.
    model: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Convert to this opset first.
    #[arg(long, value_name = "N")]
    opset: Option<i64>,
    #[command(flatten)]
    dims: DimArgs,
    /// Leave inputs that have a default replaceable, as old files list all weights: what they feed is not folded then.
    #[arg(long)]
    keep_defaults: bool,
    /// Also print where a pass declined, and why.
    #[arg(long)]
    skipped: bool,
}

#[derive(Serialize)]
struct Outcome {
    input_bytes: u64,
    output_bytes: u64,
    nodes_before: usize,
    nodes_after: usize,
    opset: i64,
    /// Inputs with a default that became constants.
    defaults_frozen: usize,
    seconds: f64,
    passes: Vec<PassOutcome>,
}

#[derive(Serialize)]
struct PassOutcome {
    pass: &'static str,
    version: u32,
    changes: usize,
    skipped: Vec<Declined>,
}

#[derive(Serialize)]
struct Declined {
    rewrite: &'static str,
    node: String,
    reason: String,
}

impl Optimize {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let started = Instant::now();
        check_is_onnx(&self.output)?;
        let outputs = [self.output.as_path()];
        check_outputs([self.model.as_path()], &outputs)?;
        let (mut model, files) = load_with_files(&self.model)?;
        check_outputs(files.iter().map(PathBuf::as_path), &outputs)?;
        let nodes_before = model.graph.node_count();
        fix_dims(&mut model, self.dims.sizes())?;
        if let Some(target) = self.opset {
            opset::convert(&mut model, target, Catalog::standard())?;
        }
        let defaults = match self.keep_defaults {
            true => Defaults::Keep,
            false => Defaults::Freeze,
        };
        let mut options = OptimizeOptions::default();
        options.defaults = defaults;
        let records = modelpress::optimize(&mut model, &options)?;
        let frozen = records.iter().find(|r| r.pass == FreezeDefaults.name());
        let defaults_frozen = frozen.map_or(0, |record| record.changes);
        save(&model, &self.output)?;
        let passes = records.into_iter().map(|record| PassOutcome {
            pass: record.pass,
            version: record.version,
            changes: record.changes,
            skipped: record
                .skipped
                .into_iter()
                .map(|s| Declined {
                    rewrite: s.rewrite,
                    node: s.node,
                    reason: s.reason,
                })
                .collect(),
        });
        let outcome = Outcome {
            input_bytes: bytes_on_disk(&self.model)?,
            output_bytes: bytes_on_disk(&self.output)?,
            nodes_before,
            nodes_after: model.graph.node_count(),
            opset: model.opset(),
            defaults_frozen,
            seconds: started.elapsed().as_secs_f64(),
            passes: passes.collect(),
        };
        cx.report(&outcome, |out| {
            let mut table = Table::new(&[
                ("pass", Align::Left),
                ("changes", Align::Right),
                ("declined", Align::Right),
            ]);
            for pass in &outcome.passes {
                let (changes, skipped) = (pass.changes, pass.skipped.len());
                table.row([
                    pass.pass.to_owned(),
                    changes.to_string(),
                    skipped.to_string(),
                ]);
            }
            table.print(out)?;
            if outcome.defaults_frozen > 0 {
                writeln!(
                    out,
                    "note: {} inputs that had a default are constants now (--keep-defaults leaves them inputs)",
                    outcome.defaults_frozen
                )?;
            }
            if self.skipped {
                let all = outcome.passes.iter().flat_map(|p| &p.skipped);
                let all = all.map(|s| ((s.rewrite, s.reason.as_str()), s.node.as_str()));
                for ((rewrite, reason), nodes) in Names::group(all) {
                    writeln!(out, "{rewrite}: {nodes}: {reason}")?;
                }
            }
            writeln!(
                out,
                "{} -> {} nodes, {} -> {}, opset {}, {:.2} s",
                outcome.nodes_before,
                outcome.nodes_after,
                units::bytes(outcome.input_bytes),
                units::bytes(outcome.output_bytes),
                outcome.opset,
                outcome.seconds
            )
        })
    }
}
