//! The pass trait, the order of passes, and their record in the model.

use crate::graph::GraphError;
use crate::model::Model;
use crate::operator::Catalog;
use crate::rewrite::{self, Rewrite, Skipped};
use std::fmt::Write as _;

/// A property of a model that a pass may need, give or break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// Facts are inferred for all values.
    ShapesKnown,
    /// No `BatchNormalization` stands behind a `Conv` or `Gemm` that could take it in.
    BatchNormFolded,
    /// Activation ranges are known.
    Calibrated,
    /// Q/DQ pairs or integer operators are in place.
    Quantized,
    /// Convolutional regions are channels-last.
    ChannelsLast,
}

/// What passes share while they run.
#[derive(Clone, Copy, Debug)]
pub struct PassContext<'a> {
    /// What operators mean.
    pub catalog: &'a Catalog,
}

/// A change of the whole model.
pub trait Pass: Send + Sync {
    /// The name in reports and metadata, as in `fold-constants`.
    fn name(&self) -> &'static str;
    /// The version of what it does; rises when its result changes.
    fn version(&self) -> u32 {
        1
    }
    /// Forms that must hold before.
    fn needs(&self) -> &'static [Form] {
        &[]
    }
    /// Forms that hold after it.
    fn gives(&self) -> &'static [Form] {
        &[]
    }
    /// Forms that need not hold any more after it.
    fn breaks(&self) -> &'static [Form] {
        &[]
    }
    /// Runs it.
    ///
    /// # Errors
    /// [`PassError`]; the model may then be half changed.
    fn run(&self, model: &mut Model, cx: &PassContext<'_>) -> Result<PassRecord, PassError>;
}

/// Why a pass failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("pass {pass}: {error}")]
pub struct PassError {
    /// The pass.
    pub pass: &'static str,
    /// The reason.
    pub error: GraphError,
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PassRecord {
    /// The pass.
    pub pass: &'static str,
    /// Its version.
    pub version: u32,
    /// Changes, counted as the pass counts them (patches, nodes, values).
    pub changes: usize,
    /// Where it declined, with the reason.
    pub skipped: Vec<Skipped>,
}

/// An order of passes that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pass {pass} needs {form:?}, which no pass before it gives or a later one broke")]
pub struct PipelineError {
    /// The pass.
    pub pass: &'static str,
    /// What it needs.
    pub form: Form,
}

/// Passes in an order that was checked.
pub struct Pipeline {
    passes: Vec<Box<dyn Pass>>,
}

impl Pipeline {
    /// Checks that each pass finds the forms that it needs.
    ///
    /// # Errors
    /// [`PipelineError`] names the first pass that does not.
    pub fn new(passes: Vec<Box<dyn Pass>>) -> Result<Self, PipelineError> {
        // Shapes are inferred before the first pass and again wherever one broke them.
        let mut forms = vec![Form::ShapesKnown];
        for pass in &passes {
            if let Some(&form) = pass.needs().iter().find(|f| !forms.contains(f)) {
                return Err(PipelineError {
                    pass: pass.name(),
                    form,
                });
            }
            forms.retain(|f| !pass.breaks().contains(f) || *f == Form::ShapesKnown);
            forms.extend(pass.gives());
        }
        Ok(Self { passes })
    }

    /// Runs the passes and appends their records to the model's metadata under `modelpress.passes`.
    ///
    /// # Errors
    /// [`PassError`]; the model may then be half changed.
    pub fn run(&self, model: &mut Model, catalog: &Catalog) -> Result<Vec<PassRecord>, PassError> {
        let mut records = Vec::with_capacity(self.passes.len());
        let cx = PassContext { catalog };
        let mut shapes_known = false;
        for pass in &self.passes {
            if !shapes_known {
                crate::infer::infer_shapes(model, catalog).map_err(|error| PassError {
                    pass: "infer-shapes",
                    error,
                })?;
            }
            let record = pass.run(model, &cx)?;
            shapes_known = !(pass.breaks().contains(&Form::ShapesKnown) && record.changes > 0);
            records.push(record);
        }
        // Passes add initializers that are no inputs.
        model.raise_ir_version();
        record_in_metadata(model, &records);
        Ok(records)
    }
}

/// One line per pass: `name version changes skipped`.
fn record_in_metadata(model: &mut Model, records: &[PassRecord]) {
    const KEY: &str = "modelpress.passes";
    let mut text = model
        .metadata
        .iter()
        .find(|(k, _)| k == KEY)
        .map(|(_, v)| v.clone())
        .unwrap_or_default();
    for r in records {
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{} v{} changes={} skipped={}",
            r.pass,
            r.version,
            r.changes,
            r.skipped.len()
        );
    }
    model.set_metadata(KEY, text);
}

/// Rewrites as one pass.
pub struct RewritePass {
    name: &'static str,
    rewrites: Vec<Box<dyn Rewrite>>,
    gives: &'static [Form],
}

impl RewritePass {
    /// Runs `rewrites` together to a fixpoint.
    pub fn new(name: &'static str, rewrites: Vec<Box<dyn Rewrite>>) -> Self {
        Self {
            name,
            rewrites,
            gives: &[],
        }
    }

    /// The same pass, giving these forms.
    #[must_use]
    pub fn giving(mut self, gives: &'static [Form]) -> Self {
        self.gives = gives;
        self
    }
}

impl Pass for RewritePass {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs(&self) -> &'static [Form] {
        &[Form::ShapesKnown]
    }
    fn gives(&self) -> &'static [Form] {
        self.gives
    }
    fn run(&self, model: &mut Model, cx: &PassContext<'_>) -> Result<PassRecord, PassError> {
        let rewrites: Vec<&dyn Rewrite> = self.rewrites.iter().map(AsRef::as_ref).collect();
        let report = rewrite::apply(model, cx.catalog, &rewrites).map_err(|error| PassError {
            pass: self.name,
            error,
        })?;
        Ok(PassRecord {
            pass: self.name,
            version: 1,
            changes: report.total(),
            skipped: report.skipped,
        })
    }
}
