//! The settings of a run as arguments.

use crate::arrays::PreprocessArgs;
use crate::error::{Error, Usage};
use crate::numbers::{finite, positive};
use clap::{Args, ValueEnum};
use modelpress::train::ema::EmaConfig;
use modelpress::train::log::LogFormat;
use modelpress::train::optimizer::{AdamConfig, LambConfig, SgdConfig, WeightDecay};
use modelpress::train::stopping::StoppingConfig;
use modelpress::train::trainer::{Course, Initialization, Keep, OptimizerConfig};
use modelpress::training::{AugmentSpec, LossSpec, TrainRecipe};
use std::mem::discriminant;
use std::path::Path;

/// How a model is trained, and by which loss.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
pub(crate) struct TrainArgs {
    /// What becomes small; cross-entropy unless given.
    #[arg(long, value_enum)]
    loss: Option<LossArg>,
    /// The share of a label that all classes have, for --loss cross-entropy and binary-cross-entropy.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    label_smoothing: Option<f64>,
    #[command(flatten)]
    run: RunArgs,
}

/// How a run goes, whatever its loss.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
pub(crate) struct RunArgs {
    /// How often all samples are gone through; 10 unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,
    /// Samples of a pass; 64 unless given.
    #[arg(long, value_name = "N", value_parser = positive)]
    batch: Option<usize>,
    /// Batches whose gradients are averaged for one step.
    #[arg(long, value_name = "N", value_parser = positive)]
    accumulate: Option<usize>,
    /// The highest learning rate; for weights drawn anew 0.1 for sgd, 0.001 for adam and adamw, 0.01 for lamb unless given, for weights
    /// that are kept a tenth of these.
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// The rule by which weights change; sgd unless given.
    #[arg(long, value_enum)]
    optimizer: Option<OptimizerArg>,
    /// The momentum of sgd; 0.9 unless given.
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true)]
    momentum: Option<f64>,
    /// Nesterov's step, for sgd.
    #[arg(long)]
    nesterov: bool,
    /// The penalty on weights.
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// How the learning rate goes over the run; cosine unless given.
    #[arg(long, value_enum)]
    schedule: Option<ScheduleArg>,
    /// Epochs in which the learning rate rises first.
    #[arg(long, value_name = "EPOCHS", value_parser = finite, allow_negative_numbers = true)]
    warm_up: Option<f64>,
    /// Under sgd no step changes a layer by more than this share of its weights; 0 for plain steps. 0.03 for weights drawn
    /// anew and 0.003 for weights that are kept unless given, of qat 0.03.
    #[arg(long, value_name = "SHARE", value_parser = finite, allow_negative_numbers = true)]
    step_share: Option<f64>,
    /// The largest norm of all gradients together.
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true)]
    clip_norm: Option<f64>,
    /// Change the images that are trained on, as often as given: flip, crop:PADDING, cutout:SIZE, jitter:SHARE, mixup:CLASSES,
    /// cutmix:CLASSES.
    #[arg(long, value_name = "STEP", value_parser = augment)]
    augment: Vec<AugmentSpec>,
    /// Average the weights, each update keeping this share of the average, and evaluate and write the averages.
    #[arg(long, value_name = "DECAY", value_parser = share)]
    ema: Option<f64>,
    /// Weights to begin with; those of the file unless given.
    #[arg(long, value_enum)]
    initialize: Option<InitializeArg>,
    /// Initializers that stay as they are (`*`: any characters, `?`: one).
    #[arg(long, value_name = "PATTERN")]
    freeze: Vec<String>,
    /// The seed of all that is drawn; 0 unless given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Stop after so many evaluations without a better score.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    patience: Option<u64>,
    /// Write the weights with the best score, not the last ones.
    #[arg(long)]
    keep_best: bool,
    /// Train on the first N samples only (and hold out of them).
    #[arg(long, value_name = "N", value_parser = positive)]
    limit: Option<usize>,
    #[command(flatten)]
    preprocess: PreprocessArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OptimizerArg {
    /// Gradient descent with momentum.
    Sgd,
    /// Adam, with weight decay as a penalty.
    Adam,
    /// Adam with decoupled weight decay.
    Adamw,
    /// Adam with layer-wise normalised steps.
    Lamb,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleArg {
    /// It stays.
    Constant,
    /// Half a wave of the cosine, down to 0.
    Cosine,
    /// Up and down again.
    OneCycle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossArg {
    /// Of classes; a last Softmax is looked through.
    CrossEntropy,
    /// Of shares; a last Sigmoid is looked through.
    BinaryCrossEntropy,
    /// Mean squared difference.
    Mse,
    /// Mean absolute difference.
    L1,
    /// Huber's.
    Huber,
    /// The smooth absolute difference.
    SmoothL1,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InitializeArg {
    /// Those of the file.
    Keep,
    /// New ones, uniform within one over the root of the fan-in.
    Uniform,
    /// New ones, normal with He's deviation.
    He,
}

impl TrainArgs {
    /// Puts what was given in the place of what the recipe says.
    pub(crate) fn apply(&self, recipe: &mut TrainRecipe) -> Result<(), Error> {
        self.apply_loss(recipe)?;
        self.run.apply(recipe)
    }

    fn apply_loss(&self, recipe: &mut TrainRecipe) -> Result<(), Error> {
        if let Some(loss) = self.loss {
            let wanted = match loss {
                LossArg::CrossEntropy => LossSpec::default(),
                LossArg::BinaryCrossEntropy => LossSpec::BinaryCrossEntropy {
                    positive_weight: 1.0,
                    label_smoothing: 0.0,
                },
                LossArg::Mse => LossSpec::Mse {},
                LossArg::L1 => LossSpec::L1 {},
                LossArg::Huber => LossSpec::Huber { delta: 1.0 },
                LossArg::SmoothL1 => LossSpec::SmoothL1 { beta: 1.0 },
            };
            replace_kind(&mut recipe.loss, wanted);
        }
        if let Some(smoothing) = self.label_smoothing {
            match &mut recipe.loss {
                LossSpec::CrossEntropy {
                    label_smoothing, ..
                }
                | LossSpec::BinaryCrossEntropy {
                    label_smoothing, ..
                } => *label_smoothing = smoothing,
                _ => return Err(Usage::SmoothingOfNoClasses.into()),
            }
        }
        Ok(())
    }
}

impl RunArgs {
    /// Puts what was given in the place of what the recipe says.
    pub(crate) fn apply(&self, recipe: &mut TrainRecipe) -> Result<(), Error> {
        let trainer = &mut recipe.trainer;
        trainer.epochs = self.epochs.unwrap_or(trainer.epochs);
        trainer.batch = self.batch.unwrap_or(trainer.batch);
        trainer.accumulate = self.accumulate.unwrap_or(trainer.accumulate);
        trainer.learning_rate = self.lr.or(trainer.learning_rate);
        trainer.warm_up = self.warm_up.unwrap_or(trainer.warm_up);
        trainer.step_share = self.step_share.or(trainer.step_share);
        trainer.clip_norm = self.clip_norm.or(trainer.clip_norm);
        trainer.seed = self.seed.unwrap_or(trainer.seed);
        if let Some(schedule) = self.schedule {
            let wanted = match schedule {
                ScheduleArg::Constant => Course::Constant,
                ScheduleArg::Cosine => Course::default(),
                ScheduleArg::OneCycle => Course::one_cycle(),
            };
            replace_kind(&mut trainer.schedule, wanted);
        }
        if let Some(decay) = self.ema {
            let average = trainer.average.get_or_insert_with(EmaConfig::default);
            average.decay = decay;
        }
        if let Some(initialize) = self.initialize {
            trainer.initialize = match initialize {
                InitializeArg::Keep => Initialization::Keep,
                InitializeArg::Uniform => Initialization::Uniform,
                InitializeArg::He => Initialization::He,
            };
        }
        if !self.freeze.is_empty() {
            trainer.freeze.clone_from(&self.freeze);
        }
        if let Some(patience) = self.patience {
            let stopping = trainer.stopping.get_or_insert_with(StoppingConfig::default);
            stopping.patience = Some(patience);
        }
        if self.keep_best {
            trainer.keep = Keep::Best;
        }
        if !self.augment.is_empty() {
            recipe.augment.clone_from(&self.augment);
        }
        self.preprocess.apply(&mut recipe.preprocess);
        recipe.limit = self.limit.or(recipe.limit);
        self.apply_optimizer(&mut recipe.trainer.optimizer)
    }

    fn apply_optimizer(&self, optimizer: &mut OptimizerConfig) -> Result<(), Error> {
        if let Some(kind) = self.optimizer {
            let wanted = match kind {
                OptimizerArg::Sgd => OptimizerConfig::default(),
                OptimizerArg::Adam | OptimizerArg::Adamw => {
                    OptimizerConfig::Adam(AdamConfig::default())
                }
                OptimizerArg::Lamb => OptimizerConfig::Lamb(LambConfig::default()),
            };
            replace_kind(optimizer, wanted);
            if let OptimizerConfig::Adam(adam) = optimizer {
                adam.decay = match kind {
                    OptimizerArg::Adam => WeightDecay::Penalty,
                    _ => WeightDecay::Decoupled,
                };
            }
        }
        let only_sgd = |flag| Usage::OnlyWithOptimizer {
            flag,
            optimizer: "sgd",
        };
        match optimizer {
            OptimizerConfig::Sgd(sgd) => self.apply_sgd(sgd),
            _ if self.momentum.is_some() => return Err(only_sgd("--momentum").into()),
            _ if self.nesterov => return Err(only_sgd("--nesterov").into()),
            OptimizerConfig::Adam(adam) => {
                adam.weight_decay = self.weight_decay.unwrap_or(adam.weight_decay);
            }
            OptimizerConfig::Lamb(lamb) => {
                lamb.weight_decay = self.weight_decay.unwrap_or(lamb.weight_decay);
            }
            _ => {}
        }
        Ok(())
    }

    fn apply_sgd(&self, sgd: &mut SgdConfig) {
        sgd.momentum = self.momentum.unwrap_or(sgd.momentum);
        sgd.nesterov |= self.nesterov;
        sgd.weight_decay = self.weight_decay.unwrap_or(sgd.weight_decay);
    }
}

/// Takes another kind with its own settings; those of the same kind stay.
fn replace_kind<T>(old: &mut T, wanted: T) {
    if discriminant(old) != discriminant(&wanted) {
        *old = wanted;
    }
}

/// How a log of this name is written.
pub(crate) fn log_format(path: &Path) -> LogFormat {
    if path.extension().is_some_and(|e| e == "jsonl") {
        LogFormat::JsonLines
    } else {
        LogFormat::Csv
    }
}

/// A number of `[0, 1)`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let number = finite(text).ok().filter(|x| (0.0..1.0).contains(x));
    number.ok_or_else(|| "it must be 0 or more and less than 1".to_owned())
}

/// `NAME` or `NAME:NUMBER`.
fn augment(text: &str) -> Result<AugmentSpec, String> {
    let known =
        "write flip, crop:PADDING, cutout:SIZE, jitter:SHARE, mixup:CLASSES or cutmix:CLASSES";
    let (name, number) = match text.split_once(':') {
        Some((name, number)) => (name, Some(number)),
        None => (text, None),
    };
    let whole = || {
        number
            .and_then(|n| n.parse::<usize>().ok())
            .ok_or_else(|| known.to_owned())
    };
    Ok(match (name, number) {
        ("flip", None) => AugmentSpec::Flip {
            horizontal: 0.5,
            vertical: 0.0,
        },
        ("crop", Some(_)) => AugmentSpec::crop(whole()?),
        ("cutout", Some(_)) => AugmentSpec::Cutout {
            size: whole()?,
            fill: 0.0,
            probability: 0.5,
        },
        ("jitter", Some(number)) => {
            let share = share(number)?;
            AugmentSpec::Jitter {
                brightness: share,
                contrast: share,
            }
        }
        ("mixup", Some(_)) => AugmentSpec::Mixup {
            classes: whole()?,
            alpha: 0.2,
            probability: 1.0,
        },
        ("cutmix", Some(_)) => AugmentSpec::Cutmix {
            classes: whole()?,
            alpha: 1.0,
            probability: 0.5,
        },
        _ => return Err(known.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_augmentation_are_told_by_name_and_number() {
        assert_eq!(augment("crop:4"), Ok(AugmentSpec::crop(4)));
        assert!(matches!(
            augment("cutmix:10"),
            Ok(AugmentSpec::Cutmix { classes: 10, .. })
        ));
        for wrong in ["crop", "flip:2", "blur", "crop:x", "jitter:2"] {
            assert!(augment(wrong).is_err(), "{wrong}");
        }
    }
}
