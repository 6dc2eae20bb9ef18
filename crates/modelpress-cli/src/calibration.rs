//! Gathering statistics with a progress bar.

use crate::context::Context;
use crate::error::Error;
use modelpress::data::Dataset;
use modelpress::ir::Model;
use modelpress::quant::graph::{Calibration, Mode, QuantizeConfig, calibrate_for};

/// Runs `model` on the samples and gathers the statistics that `mode` and `config` need.
pub(crate) fn gather(
    cx: &Context,
    mode: Mode,
    model: &Model,
    data: &Dataset,
    config: &QuantizeConfig,
) -> Result<Calibration, Error> {
    let mut progress = cx.progress("calibrate", data.len());
    let samples = data.batches().map(|batch| {
        let batch = batch?;
        progress.add(batch.samples.len());
        Ok::<_, modelpress::data::DataError>(batch.inputs)
    });
    let options = cx.session_options();
    Ok(calibrate_for(mode, model, samples, config, &options)?)
}
