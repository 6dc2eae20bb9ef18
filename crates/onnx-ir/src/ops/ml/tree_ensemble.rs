//! `TreeEnsemble`: decision trees over the features of each row; the weights of the leaves that a row
//! reaches are aggregated by target.
//! <https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;

/// How the leaves of several trees make one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The mean over the trees.
    Average,
    /// The sum.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
}

/// What is done to a row of targets in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostTransform {
    /// Nothing.
    None,
    /// `exp(x) / sum(exp(x))`.
    Softmax,
    /// `1 / (1 + exp(-x))`.
    Logistic,
    /// Softmax of what is not 0.
    SoftmaxZero,
    /// The inverse normal distribution.
    Probit,
}

/// The attributes of `TreeEnsemble`.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeEnsemble {
    nodes: Vec<TreeNode>,
    /// Weight and target of each leaf.
    leaves: Vec<(f64, usize)>,
    roots: Vec<usize>,
    targets: usize,
    aggregate: Aggregate,
    post_transform: PostTransform,
}

#[derive(Clone, Debug, PartialEq)]
struct TreeNode {
    feature: usize,
    test: Test,
    missing_is_true: bool,
    branches: [Branch; 2],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Branch {
    Node(usize),
    Leaf(usize),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
    Above(f64),
    Equal(f64),
    NotEqual(f64),
    Member(Vec<f64>),
}

impl Test {
    fn holds(&self, x: f64) -> bool {
        match self {
            Test::AtMost(s) => x <= *s,
            Test::Below(s) => x < *s,
            Test::AtLeast(s) => x >= *s,
            Test::Above(s) => x > *s,
            Test::Equal(s) => x == *s,
            Test::NotEqual(s) => x != *s,
            Test::Member(set) => set.contains(&x),
        }
    }
}

/// Targets beyond which a count in a file is not believed.
const MAX_TARGETS: usize = 1 << 20;

impl Operator for TreeEnsemble {
    const SIGNATURE: Signature = super::signature("TreeEnsemble", &[5]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("nodes_hitrates");
        let targets = attrs.size_or("n_targets", 1)?;
        if targets > MAX_TARGETS {
            return Err(invalid(
                "n_targets",
                targets,
                "it must be a number of outputs",
            ));
        }
        let weights = numbers("leaf_weights", &attrs.tensor("leaf_weights")?)?;
        let ids = positions("leaf_targetids", &attrs.ints("leaf_targetids")?, targets)?;
        let leaves: Vec<(f64, usize)> = weights.into_iter().zip(ids).collect();
        let nodes = nodes(attrs, leaves.len())?;
        let aggregate = match attrs.int_or("aggregate_function", 1)? {
            0 => Aggregate::Average,
            1 => Aggregate::Sum,
            2 => Aggregate::Min,
            3 => Aggregate::Max,
            found => return Err(invalid("aggregate_function", found, "it must be 0 to 3")),
        };
        let post_transform = match attrs.int_or("post_transform", 0)? {
            0 => PostTransform::None,
            1 => PostTransform::Softmax,
            2 => PostTransform::Logistic,
            3 => PostTransform::SoftmaxZero,
            4 => PostTransform::Probit,
            found => return Err(invalid("post_transform", found, "it must be 0 to 4")),
        };
        let roots = positions("tree_roots", &attrs.ints("tree_roots")?, nodes.len())?;
        Ok(Self {
            nodes,
            leaves,
            roots,
            targets,
            aggregate,
            post_transform,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let rows = x
            .shape
            .and_then(|dims| dims.into_iter().next())
            .unwrap_or(Dim::Unknown);
        let shape = vec![rows, self.targets.into()];
        Ok(vec![TensorFact::with_shape(x.dtype, Some(shape)).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let &[rows, features] = x.shape() else {
            let rule = "the input must be [rows, features]";
            return Err(EvalError::rule(rule, format_args!("{:?}", x.shape())));
        };
        if self.post_transform == PostTransform::Probit {
            return Err(EvalError::NotSupported {
                what: "the post transform PROBIT",
            });
        }
        let shape = [rows, self.targets];
        let mut scores = Vec::with_capacity(cx.check_size(&shape, DType::F64)?);
        let data = x.to_f64_vec()?;
        for row in 0..rows {
            scores.extend(self.scores(&data[row * features..(row + 1) * features])?);
        }
        let y = dispatch!(x.dtype(), T in floats => {
            Ok::<Tensor, EvalError>(Tensor::from_vec(&shape, scores.into_iter().map(T::from_f64).collect())?)
        });
        Ok(vec![y?.into()])
    }
}

impl TreeEnsemble {
    fn scores(&self, row: &[f64]) -> Result<Vec<f64>, EvalError> {
        let mut scores: Vec<Option<f64>> = vec![None; self.targets];
        for &root in &self.roots {
            let (weight, target) = self.leaf(root, row)?;
            let weight = match self.aggregate {
                Aggregate::Average => weight / self.roots.len() as f64,
                _ => weight,
            };
            scores[target] = Some(match (scores[target], self.aggregate) {
                (None, _) => weight,
                (Some(score), Aggregate::Sum | Aggregate::Average) => score + weight,
                (Some(score), Aggregate::Min) => score.min(weight),
                (Some(score), Aggregate::Max) => score.max(weight),
            });
        }
        let mut scores: Vec<f64> = scores.into_iter().map(|s| s.unwrap_or(0.0)).collect();
        match self.post_transform {
            PostTransform::None | PostTransform::Probit => {}
            PostTransform::Softmax => softmax(&mut scores, |_| true),
            PostTransform::SoftmaxZero => softmax(&mut scores, |s| s != 0.0),
            PostTransform::Logistic => {
                scores
                    .iter_mut()
                    .for_each(|s| *s = 1.0 / (1.0 + (-*s).exp()));
            }
        }
        Ok(scores)
    }

    /// The leaf that a row reaches.
    fn leaf(&self, root: usize, row: &[f64]) -> Result<(f64, usize), EvalError> {
        let mut at = Branch::Node(root);
        for _ in 0..=self.nodes.len() {
            let node = match at {
                Branch::Leaf(leaf) => return Ok(self.leaves[leaf]),
                Branch::Node(node) => &self.nodes[node],
            };
            let x = *row.get(node.feature).ok_or_else(|| {
                EvalError::rule("every feature of the trees must be there", node.feature)
            })?;
            let holds = node.test.holds(x) || (x.is_nan() && node.missing_is_true);
            at = node.branches[usize::from(!holds)];
        }
        Err(EvalError::rule(
            "a tree must not have a cycle",
            format_args!("root {root}"),
        ))
    }
}

fn softmax(scores: &mut [f64], counts: impl Fn(f64) -> bool) {
    let top = scores
        .iter()
        .copied()
        .filter(|&s| counts(s))
        .fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores
        .iter()
        .filter(|s| counts(**s))
        .map(|s| (s - top).exp())
        .sum();
    for s in scores.iter_mut().filter(|s| counts(**s)) {
        *s = (*s - top).exp() / sum;
    }
}

fn nodes(attrs: &mut Attrs<'_>, leaves: usize) -> Result<Vec<TreeNode>, AttrError> {
    let features = attrs.ints("nodes_featureids")?;
    let count = features.len();
    let features = positions("nodes_featureids", &features, usize::MAX)?;
    let modes = numbers("nodes_modes", &attrs.tensor("nodes_modes")?)?;
    let splits = numbers("nodes_splits", &attrs.tensor("nodes_splits")?)?;
    let missing = attrs.ints_or("nodes_missing_value_tracks_true", vec![0; count])?;
    let members = match attrs.tensor_opt("membership_values")? {
        Some(tensor) => numbers("membership_values", &tensor)?,
        None => Vec::new(),
    };
    // The sets stand one after the other, each closed by a NaN.
    let mut members = members.split(|v| v.is_nan());
    let when_true = branches(
        attrs,
        ["nodes_truenodeids", "nodes_trueleafs"],
        count,
        leaves,
    )?;
    let when_false = branches(
        attrs,
        ["nodes_falsenodeids", "nodes_falseleafs"],
        count,
        leaves,
    )?;
    if modes.len() != count || splits.len() != count || missing.len() != count {
        let rule = "all lists of nodes must have one length";
        return Err(invalid("nodes_modes", modes.len(), rule));
    }
    let node = |i: usize| {
        let split = splits[i];
        let test = match modes[i] as i64 {
            0 => Test::AtMost(split),
            1 => Test::Below(split),
            2 => Test::AtLeast(split),
            3 => Test::Above(split),
            4 => Test::Equal(split),
            5 => Test::NotEqual(split),
            6 => Test::Member(members.next().unwrap_or_default().to_vec()),
            found => return Err(invalid("nodes_modes", found, "it must be 0 to 6")),
        };
        Ok(TreeNode {
            feature: features[i],
            test,
            missing_is_true: missing[i] != 0,
            branches: [when_true[i], when_false[i]],
        })
    };
    (0..count).map(node).collect()
}

fn branches(
    attrs: &mut Attrs<'_>,
    [ids_name, leafs_name]: [&'static str; 2],
    nodes: usize,
    leaves: usize,
) -> Result<Vec<Branch>, AttrError> {
    let (ids, leafs) = (attrs.ints(ids_name)?, attrs.ints(leafs_name)?);
    if ids.len() != nodes || leafs.len() != nodes {
        return Err(invalid(
            ids_name,
            ids.len(),
            "all lists of nodes must have one length",
        ));
    }
    let branch = |(&id, &leaf): (&i64, &i64)| {
        let below = |limit: usize| usize::try_from(id).ok().filter(|&i| i < limit);
        let branch = match leaf {
            0 => below(nodes).map(Branch::Node),
            _ => below(leaves).map(Branch::Leaf),
        };
        branch.ok_or_else(|| invalid(ids_name, id, "it must be a node or leaf that is there"))
    };
    ids.iter().zip(&leafs).map(branch).collect()
}

fn numbers(name: &'static str, tensor: &Tensor) -> Result<Vec<f64>, AttrError> {
    tensor
        .to_f64_vec()
        .map_err(|e| invalid(name, e, "it must hold numbers"))
}

fn positions(name: &'static str, list: &[i64], limit: usize) -> Result<Vec<usize>, AttrError> {
    let position = |&i: &i64| {
        let found = usize::try_from(i).ok().filter(|&i| i < limit);
        found.ok_or_else(|| invalid(name, i, "it must be a position that is there"))
    };
    list.iter().map(position).collect()
}

fn invalid(name: &'static str, found: impl std::fmt::Display, rule: &'static str) -> AttrError {
    AttrError::Invalid {
        name,
        found: found.to_string(),
        rule,
    }
}
