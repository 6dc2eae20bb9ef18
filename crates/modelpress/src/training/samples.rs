//! Which arrays a model is trained on.

use super::error::TrainRecipeError;
use crate::data::{DataError, InputSpec, Source};
use crate::ir::Model;
use crate::tensor::npz::NpzFile;
use crate::train::data::ArrayDataset;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Arrays that feed the model, and what its outputs are held against.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table with `inputs` and `labels`"
)]
pub struct SampleSpec {
    /// What feeds the inputs; the name may be left out for a model with one input.
    pub inputs: Vec<InputSpec>,
    /// Labels, in the order in which the loss looks at them; without a name they are called `labels`.
    pub labels: Vec<InputSpec>,
}

impl SampleSpec {
    /// The same with relative files taken from `folder`.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        let within = |specs: Vec<InputSpec>| {
            let specs = specs.into_iter();
            specs.map(|spec| spec.within(folder)).collect()
        };
        Self {
            inputs: within(self.inputs),
            labels: within(self.labels),
        }
    }

    /// The arrays as samples: `.npy` files are mapped.
    pub(super) fn open(&self, model: &Model) -> Result<ArrayDataset, TrainRecipeError> {
        if self.inputs.is_empty() {
            return Err(TrainRecipeError::NoSamples);
        }
        let graph = &model.graph;
        let required: Vec<&str> = graph
            .required_inputs()
            .map(|id| graph.name_of(id))
            .collect();
        let known = || required.iter().map(ToString::to_string).collect();
        let mut data = ArrayDataset::default();
        let mut fed: Vec<String> = Vec::new();
        for spec in &self.inputs {
            let name = match (&spec.name, required.as_slice()) {
                (Some(name), _) if required.contains(&name.as_str()) => name.clone(),
                (Some(name), _) => {
                    return Err(DataError::NoSuchInput {
                        name: name.clone(),
                        known: known(),
                    }
                    .into());
                }
                (None, [sole]) => (*sole).to_owned(),
                (None, _) => return Err(DataError::NameNeeded { known: known() }.into()),
            };
            if fed.contains(&name) {
                return Err(DataError::FedTwice { name }.into());
            }
            add(&mut data, &name, &spec.source)?;
            fed.push(name);
        }
        if let Some(name) = required.iter().find(|name| !fed.iter().any(|f| f == *name)) {
            return Err(TrainRecipeError::MissingInput {
                name: (*name).to_owned(),
            });
        }
        for spec in &self.labels {
            add(&mut data, name_of(spec), &spec.source)?;
        }
        Ok(data)
    }
}

/// What labels are called.
pub(super) fn name_of(labels: &InputSpec) -> &str {
    labels.name.as_deref().unwrap_or("labels")
}

fn add(data: &mut ArrayDataset, name: &str, source: &Source) -> Result<(), TrainRecipeError> {
    match source {
        Source::Zeros => Err(TrainRecipeError::Zeros {
            name: name.to_owned(),
        }),
        Source::File(path) if path.extension().is_some_and(|e| e == "npz") => {
            let archive = NpzFile::open(path)?;
            let array = match archive.names().as_slice() {
                [sole] => (*sole).to_owned(),
                _ => name.to_owned(),
            };
            Ok(data.add(name.to_owned(), archive.read(&array)?)?)
        }
        Source::File(path) => Ok(data.add_file(name.to_owned(), path)?),
    }
}
