//! The arguments that say which arrays feed a model, and how.

use crate::error::Error;
use crate::numbers::{self, finite, nonzero, positive};
use clap::{Args, ValueEnum};
use modelpress::data::{DataOptions, Dataset, InputSpec, Layout, Preprocess};
use modelpress::ir::Model;
use modelpress::ir::dims::OpenDim;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LayoutArg {
    /// As the model takes them.
    Model,
    /// Channels last; they are moved to axis 1.
    Nhwc,
}

/// How samples are grouped and converted.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Samples")]
pub(crate) struct SampleArgs {
    /// Samples per run, where the model's first axis is symbolic.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) batch: Option<usize>,
    /// Only the first N samples.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) limit: Option<usize>,
    /// Cut, in each batch, the trailing columns in which this mask input is all zero.
    #[arg(long, value_name = "NAME")]
    pub(crate) trim: Option<String>,
    #[command(flatten)]
    preprocess: PreprocessArgs,
}

/// How the numbers of arrays are converted.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Samples")]
pub(crate) struct PreprocessArgs {
    /// The order of the arrays' axes.
    #[arg(long, value_enum, default_value = "model")]
    layout: LayoutArg,
    /// Added to the numbers of float inputs first.
    #[arg(
        long,
        value_name = "X",
        value_parser = finite,
        default_value_t = 0.0,
        allow_negative_numbers = true,
        hide_default_value = true
    )]
    offset: f64,
    /// Multiplied then: real = (integer + offset) * scale.
    #[arg(long, value_name = "X", value_parser = nonzero, allow_negative_numbers = true)]
    scale: Option<f64>,
    /// Subtracted after that; one value, or one per channel separated by commas.
    #[arg(
        long,
        value_name = "X,…",
        value_parser = finite,
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    mean: Vec<f64>,
    /// Divided by at the end; one value, or one per channel separated by commas.
    #[arg(
        long,
        value_name = "X,…",
        value_parser = nonzero,
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    std: Vec<f64>,
}

impl PreprocessArgs {
    pub(crate) fn preprocess(&self) -> Preprocess {
        let mut preprocess = Preprocess::default();
        self.apply(&mut preprocess);
        preprocess
    }

    /// Puts what was given in the place of other settings.
    pub(crate) fn apply(&self, preprocess: &mut Preprocess) {
        if matches!(self.layout, LayoutArg::Nhwc) {
            preprocess.layout = Layout::Nhwc;
        }
        if self.offset != 0.0 {
            preprocess.offset = self.offset;
        }
        preprocess.scale = self.scale.or(preprocess.scale);
        if !self.mean.is_empty() {
            preprocess.mean.clone_from(&self.mean);
        }
        if !self.std.is_empty() {
            preprocess.std.clone_from(&self.std);
        }
    }

    /// The first setting that was given at all.
    fn given(&self) -> Option<&'static str> {
        let given = [
            ("--layout", matches!(self.layout, LayoutArg::Nhwc)),
            ("--offset", self.offset != 0.0),
            ("--scale", self.scale.is_some()),
            ("--mean", !self.mean.is_empty()),
            ("--std", !self.std.is_empty()),
        ];
        given.into_iter().find(|(_, g)| *g).map(|(flag, _)| flag)
    }
}

impl SampleArgs {
    /// The options, with `batch` samples per run unless the user names another number.
    pub(crate) fn options(&self, batch: usize) -> DataOptions {
        let mut options = DataOptions::default();
        options.batch = self.batch;
        options.preferred_batch = batch;
        options.limit = self.limit;
        options.trim = self.trim.clone();
        options.preprocess = self.preprocess.preprocess();
        options
    }

    /// The first setting that was given at all.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let batch = self.batch.map(|_| "--batch");
        batch.or_else(|| self.only_for_arrays())
    }

    /// The first setting that only arrays from files are converted by.
    pub(crate) fn only_for_arrays(&self) -> Option<&'static str> {
        let given = [
            ("--limit", self.limit.is_some()),
            ("--trim", self.trim.is_some()),
        ];
        let given = given.into_iter().find(|(_, g)| *g).map(|(flag, _)| flag);
        given.or_else(|| self.preprocess.given())
    }

    pub(crate) fn open(
        &self,
        model: &Model,
        inputs: &[InputSpec],
        batch: usize,
    ) -> Result<Dataset, Error> {
        Ok(Dataset::open(model, inputs, &self.options(batch))?)
    }
}

/// Sizes of the dimensions that a model leaves open, `NAME=SIZE`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DimArgs {
    /// Size of a dimension that the model leaves open: NAME is its symbol, or INPUT:AXIS.
    #[arg(long = "dim", value_name = "NAME=SIZE", value_parser = numbers::dim)]
    dims: Vec<(String, usize)>,
}

impl DimArgs {
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.dims.iter().map(|(name, size)| (name.as_str(), *size))
    }
}

/// Says which open sizes were taken as 1, as in ` (batch = 1, sequence = 1)`.
pub(crate) fn as_one(open: &[OpenDim]) -> String {
    match open {
        [] => String::new(),
        open => {
            let sizes: Vec<String> = open.iter().map(|dim| format!("{dim} = 1")).collect();
            format!(" ({})", sizes.join(", "))
        }
    }
}
