//! The losses of distillation as arguments.

use crate::error::{Error, Usage};
use crate::numbers::{finite, positive};
use clap::{Args, ValueEnum};
use modelpress::kd::graph::{KdTerm, LossTerm, Tap, Weight};
use modelpress::training::DistillSpec;

/// What the student learns from its teacher.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Distillation")]
pub(super) struct KdArgs {
    /// What becomes small, with a weight, as often as given; kd unless given. A loss on tensors within goes with the cross-entropy of the
    /// labels, where there are labels and no other loss on logits.
    #[arg(long, value_name = "LOSS[:WEIGHT]", value_parser = weighted)]
    loss: Vec<Weighted>,
    /// The teacher's share of kd, exits and binary-kd, and the weight of the label's class of dkd; 0.9, 0.9, 0.5 and 1 unless given.
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true)]
    alpha: Option<f64>,
    /// The weight of the other classes of dkd; 8 unless given.
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true)]
    beta: Option<f64>,
    /// The temperature of kd, kl, reverse-kl, dkd, exits and binary-kd; 4 unless given, of binary-kd 1. That of crd, 0.07, is another thing:
    /// recipes set it.
    #[arg(long, value_name = "T", value_parser = finite, allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Tensors of student and teacher that losses on features look at, as often as given; the outputs unless given.
    #[arg(long, value_name = "STUDENT=TEACHER")]
    tap: Vec<Tap>,
    /// The samples that crd tells each sample from; 16384, or all where there are fewer, unless given.
    #[arg(long, value_name = "N", value_parser = positive)]
    negatives: Option<usize>,
    /// The numbers of an embedding of crd; 128 unless given.
    #[arg(long, value_name = "N", value_parser = positive)]
    embedding: Option<usize>,
    /// The relation heads of minilm and relation; 12 unless given.
    #[arg(long, value_name = "N", value_parser = positive)]
    heads: Option<usize>,
    /// Take the mean of the tokens that count first, as sentence encoders do, for losses that take one vector of each sample.
    #[arg(long)]
    pool: bool,
    /// The input that says which tokens count.
    #[arg(long, value_name = "INPUT")]
    mask: Option<String>,
    /// An output of the student that takes part in exits, shallow to deep.
    #[arg(long, value_name = "OUTPUT")]
    exit: Vec<String>,
}

/// A loss and what it is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Weighted {
    loss: LossArg,
    weight: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LossArg {
    /// Labels and softened logits (Hinton et al. 2015).
    Kd,
    /// The divergence from the teacher alone.
    Kl,
    /// The reverse divergence.
    ReverseKl,
    /// Squares of differences of logits or embeddings.
    Regression,
    /// Decoupled: the label's class and the others.
    Dkd,
    /// Labels that do not exclude one another, and the teacher's logits.
    BinaryKd,
    /// Labels alone.
    CrossEntropy,
    /// Hidden layers, through a learned projection.
    Fitnet,
    /// Where convolutional layers look.
    Attention,
    /// Directions of features.
    Cosine,
    /// Distances and angles between samples (weights 1 and 2).
    Rkd,
    /// Similarities of samples.
    Similarity,
    /// Correlations of samples.
    Correlation,
    /// Who is near whom.
    Pkt,
    /// Contrast with a memory of all samples, through learned embeddings (Tian et al. 2020).
    Crd,
    /// Queries with keys: taps in pairs.
    Minilm,
    /// Values, queries or keys with themselves.
    Relation,
    /// Attention scores, as distributions.
    AttentionDivergence,
    /// Attention scores, as numbers.
    AttentionRegression,
    /// Hidden states and embeddings of transformers, through a learned projection.
    HiddenState,
    /// The deepest output of the student teaches its others.
    Exits,
}

/// `LOSS` or `LOSS:WEIGHT`.
fn weighted(text: &str) -> Result<Weighted, String> {
    let (name, weight) = match text.split_once(':') {
        Some((name, weight)) => (name, finite(weight)?),
        None => (text, 1.0),
    };
    if weight < 0.0 {
        return Err("the weight must be 0 or more".into());
    }
    let loss = LossArg::from_str(name, false).map_err(|_| {
        let names = LossArg::value_variants().iter();
        let names = names.filter_map(|v| Some(v.to_possible_value()?.get_name().to_owned()));
        format!("write one of {}", names.collect::<Vec<_>>().join(", "))
    })?;
    Ok(Weighted { loss, weight })
}

impl LossArg {
    /// Whether it takes one vector of each sample, so that tokens can be pooled first; other losses look at each token.
    fn takes_vectors(self) -> bool {
        matches!(
            self,
            Self::Kd
                | Self::Kl
                | Self::ReverseKl
                | Self::Regression
                | Self::Dkd
                | Self::BinaryKd
                | Self::Cosine
                | Self::Rkd
                | Self::Similarity
                | Self::Correlation
                | Self::Pkt
        )
    }

    /// Whether it looks at logits or labels, so that the student's output learns.
    fn is_on_logits(self) -> bool {
        matches!(
            self,
            Self::Kd
                | Self::Kl
                | Self::ReverseKl
                | Self::Regression
                | Self::Dkd
                | Self::BinaryKd
                | Self::CrossEntropy
                | Self::Exits
        )
    }
}

impl KdArgs {
    /// Puts what was given in the place of what the recipe says.
    pub(super) fn apply(&self, spec: &mut DistillSpec, has_labels: bool) -> Result<(), Error> {
        if let Some(mask) = &self.mask {
            spec.mask = Some(mask.clone());
        }
        if !self.loss.is_empty() {
            spec.losses.clear();
            for wanted in &self.loss {
                self.add(wanted, &mut spec.losses)?;
            }
            let on_logits = self.loss.iter().any(|l| l.loss.is_on_logits());
            if has_labels && !on_logits {
                let labels = KdTerm::CrossEntropy {
                    label_smoothing: 0.0,
                };
                spec.losses.insert(0, LossTerm::new(labels));
            }
        }
        for term in &mut spec.losses {
            self.apply_settings(&mut term.loss);
        }
        self.check(spec)
    }

    /// The terms of a loss.
    fn add(&self, wanted: &Weighted, terms: &mut Vec<LossTerm>) -> Result<(), Error> {
        for (factor, loss) in self.terms(wanted.loss) {
            let mut term = LossTerm::new(loss);
            term.weight = Weight(factor * wanted.weight);
            if !wanted.loss.is_on_logits() {
                term.taps.clone_from(&self.tap);
            }
            if self.pool && wanted.loss.takes_vectors() {
                term = term.pooled();
            }
            check_taps(&term)?;
            terms.push(term);
        }
        Ok(())
    }

    /// What a loss is made of, with factors.
    fn terms(&self, loss: LossArg) -> Vec<(f64, KdTerm)> {
        let heads = self.heads.unwrap_or(12);
        let temperature = 4.0;
        let sole = match loss {
            LossArg::Rkd => return vec![(1.0, KdTerm::RkdDistance {}), (2.0, KdTerm::RkdAngle {})],
            LossArg::Kd => KdTerm::default(),
            LossArg::Kl => KdTerm::Kl { temperature },
            LossArg::ReverseKl => KdTerm::ReverseKl { temperature },
            LossArg::Regression => KdTerm::Regression {},
            LossArg::Dkd => KdTerm::Dkd {
                alpha: 1.0,
                beta: 8.0,
                temperature,
            },
            LossArg::CrossEntropy => KdTerm::CrossEntropy {
                label_smoothing: 0.0,
            },
            LossArg::BinaryKd => KdTerm::binary_kd(0.5, 1.0),
            LossArg::Crd => KdTerm::crd(),
            LossArg::Fitnet => KdTerm::Hint {},
            LossArg::Attention => KdTerm::Attention { power: 2.0 },
            LossArg::Cosine => KdTerm::Cosine {},
            LossArg::Similarity => KdTerm::Similarity {},
            LossArg::Correlation => KdTerm::Correlation { gamma: 0.4 },
            LossArg::Pkt => KdTerm::Pkt {},
            LossArg::Minilm => KdTerm::QueryKey { heads },
            LossArg::Relation => KdTerm::Relation { heads },
            LossArg::AttentionDivergence => KdTerm::AttentionDivergence {},
            LossArg::AttentionRegression => KdTerm::AttentionRegression {},
            LossArg::HiddenState => KdTerm::HiddenState {},
            LossArg::Exits => KdTerm::Exits {
                outputs: self.exit.clone(),
                alpha: 0.9,
                temperature,
                weights: None,
            },
        };
        vec![(1.0, sole)]
    }

    fn apply_settings(&self, loss: &mut KdTerm) {
        match loss {
            KdTerm::Kd {
                alpha, temperature, ..
            }
            | KdTerm::BinaryKd {
                alpha, temperature, ..
            }
            | KdTerm::Exits {
                alpha, temperature, ..
            } => {
                *alpha = self.alpha.unwrap_or(*alpha);
                *temperature = self.temperature.unwrap_or(*temperature);
            }
            KdTerm::Dkd {
                alpha,
                beta,
                temperature,
            } => {
                *alpha = self.alpha.unwrap_or(*alpha);
                *beta = self.beta.unwrap_or(*beta);
                *temperature = self.temperature.unwrap_or(*temperature);
            }
            KdTerm::Crd {
                dimensions,
                negatives,
                ..
            } => {
                *dimensions = self.embedding.unwrap_or(*dimensions);
                *negatives = self.negatives.unwrap_or(*negatives);
            }
            KdTerm::Kl { temperature } | KdTerm::ReverseKl { temperature } => {
                *temperature = self.temperature.unwrap_or(*temperature);
            }
            KdTerm::QueryKey { heads } | KdTerm::Relation { heads } => {
                *heads = self.heads.unwrap_or(*heads);
            }
            _ => {}
        }
    }

    /// Flags without a loss that they are for.
    fn check(&self, spec: &DistillSpec) -> Result<(), Error> {
        let any = |of: fn(&KdTerm) -> bool| spec.losses.iter().any(|term| of(&term.loss));
        let only = |flag, losses| Err(Usage::OnlyWithLoss { flag, losses }.into());
        let is_alpha = |l: &KdTerm| {
            matches!(
                l,
                KdTerm::Kd { .. }
                    | KdTerm::Dkd { .. }
                    | KdTerm::Exits { .. }
                    | KdTerm::BinaryKd { .. }
            )
        };
        let is_soft = |l: &KdTerm| {
            matches!(
                l,
                KdTerm::Kd { .. }
                    | KdTerm::Kl { .. }
                    | KdTerm::ReverseKl { .. }
                    | KdTerm::Dkd { .. }
                    | KdTerm::Exits { .. }
                    | KdTerm::BinaryKd { .. }
            )
        };
        if self.alpha.is_some() && !any(is_alpha) {
            return only("--alpha", "kd, dkd, exits and binary-kd");
        }
        if self.beta.is_some() && !any(|l| matches!(l, KdTerm::Dkd { .. })) {
            return only("--beta", "dkd");
        }
        if self.temperature.is_some() && !any(is_soft) {
            return only(
                "--temperature",
                "kd, kl, reverse-kl, dkd, exits and binary-kd",
            );
        }
        let is_contrast = |l: &KdTerm| matches!(l, KdTerm::Crd { .. });
        if self.negatives.is_some() && !any(is_contrast) {
            return only("--negatives", "crd");
        }
        if self.embedding.is_some() && !any(is_contrast) {
            return only("--embedding", "crd");
        }
        if self.heads.is_some()
            && !any(|l| matches!(l, KdTerm::QueryKey { .. } | KdTerm::Relation { .. }))
        {
            return only("--heads", "minilm and relation");
        }
        if !self.exit.is_empty() && !any(|l| matches!(l, KdTerm::Exits { .. })) {
            return only("--exit", "exits");
        }
        if !self.tap.is_empty() && spec.losses.iter().all(|term| term.taps.is_empty()) {
            return Err(Usage::IdleTaps.into());
        }
        let idle = [
            ("--tap", !self.tap.is_empty()),
            ("--pool", self.pool),
            ("--exit", !self.exit.is_empty()),
        ];
        match idle.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) if self.loss.is_empty() => Err(Usage::WithoutLoss { flag }.into()),
            _ => Ok(()),
        }
    }
}

/// Whether a term has the tensors that it looks at.
fn check_taps(term: &LossTerm) -> Result<(), Error> {
    let no_taps = |rule| {
        Err(Usage::NoTaps {
            loss: match term.loss {
                KdTerm::QueryKey { .. } => "minilm",
                KdTerm::Hint {} => "fitnet",
                ref loss => loss.name(),
            },
            rule,
        }
        .into())
    };
    match &term.loss {
        KdTerm::Exits { outputs, .. } if outputs.len() < 2 => Err(Usage::NoExits.into()),
        KdTerm::QueryKey { .. } if term.taps.is_empty() || term.taps.len() % 2 == 1 => {
            no_taps(", those of queries and those of keys in turn")
        }
        KdTerm::Hint {} | KdTerm::Attention { .. } | KdTerm::Crd { .. } if term.taps.is_empty() => {
            no_taps("")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use modelpress::kd::graph::Pooling;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        losses: KdArgs,
    }

    #[test]
    fn tokens_are_pooled_for_losses_of_vectors_alone() {
        let line = "x --loss hidden-state:10 --loss cosine --loss rkd --pool --mask m";
        let given = Alone::parse_from(line.split(' '));
        let mut spec = DistillSpec::default();
        given.losses.apply(&mut spec, false).unwrap();
        let found = spec.losses.iter().map(|term| (term.loss.name(), term.pool));
        let expected = [
            ("hidden-state", Pooling::None),
            ("cosine", Pooling::Mean),
            ("rkd-distance", Pooling::Mean),
            ("rkd-angle", Pooling::Mean),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(spec.losses[0].weight.0, 10.0);
        assert_eq!(spec.mask.as_deref(), Some("m"));
    }

    #[test]
    fn the_temperature_of_contrast_is_none_of_logits() {
        let temperatures = |line: &str| {
            let given = Alone::parse_from(line.split(' '));
            let mut spec = DistillSpec::default();
            given.losses.apply(&mut spec, false)?;
            let found = spec.losses.iter().map(|term| match term.loss {
                KdTerm::Kd { temperature, .. } | KdTerm::Crd { temperature, .. } => temperature,
                _ => f64::NAN,
            });
            Ok::<_, Error>(found.collect::<Vec<_>>())
        };
        let both = "x --loss kd --loss crd:0.8 --tap a=a --temperature 3";
        assert_eq!(temperatures(both).unwrap(), [3.0, 0.07]);
        let alone = temperatures("x --loss crd --tap a=a --temperature 3");
        let error = alone.unwrap_err().to_string();
        assert!(error.contains("--temperature is for --loss kd"), "{error}");
    }

    #[test]
    fn losses_are_told_by_name_and_weight() {
        let found = weighted("fitnet:0.1").unwrap();
        assert_eq!((found.loss, found.weight), (LossArg::Fitnet, 0.1));
        assert_eq!(weighted("kd").unwrap().weight, 1.0);
        for wrong in ["magic", "kd:x", "kd:-1", ""] {
            assert!(weighted(wrong).is_err(), "{wrong}");
        }
    }
}
