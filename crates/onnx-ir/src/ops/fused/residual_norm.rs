//! Normalisation over the last axis, after a residual sum.
//!
//! With mean `m` and variance `v` of a row, `y = (x - m) / sqrt(v + epsilon) * gamma + beta` (Ba et al. 2016,
//! arXiv:1607.06450), or without the mean `y = x / sqrt(mean(x^2) + epsilon) * gamma` (Zhang and Sennrich 2019,
//! arXiv:1910.07467).

use crate::operator::prelude::*;
use crate::ops::transformer::heads::real_tensor;

/// What a row is normalised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moments {
    /// Its mean and its variance.
    MeanAndVariance,
    /// Its mean square.
    MeanSquare,
}

/// Rows normalised, and the moments of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalised {
    /// The rows.
    pub data: Vec<f64>,
    /// The mean of each row; 0 where it is not taken off.
    pub means: Vec<f64>,
    /// `1 / sqrt(v + epsilon)` of each row.
    pub inverse_deviations: Vec<f64>,
}

/// Normalises rows as long as `gamma`.
///
/// # Errors
/// [`EvalError::Rule`] where `gamma` or `beta` is not as long as a row of `size`.
pub fn normalise(
    rows: Vec<f64>,
    size: usize,
    gamma: &Tensor,
    beta: Option<&Tensor>,
    epsilon: f32,
    moments: Moments,
) -> Result<Normalised, EvalError> {
    let mut y = Normalised {
        data: rows,
        means: Vec::new(),
        inverse_deviations: Vec::new(),
    };
    for parameter in [Some(gamma), beta].into_iter().flatten() {
        require_row(parameter, size)?;
    }
    let gamma = gamma.to_f64_vec()?;
    let beta = beta.map(Tensor::to_f64_vec).transpose()?;
    for row in y.data.chunks_exact_mut(size.max(1)) {
        let count = size as f64;
        let mean = match moments {
            Moments::MeanAndVariance => row.iter().sum::<f64>() / count,
            Moments::MeanSquare => 0.0,
        };
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let inverse = 1.0 / (variance + f64::from(epsilon)).sqrt();
        for (i, x) in row.iter_mut().enumerate() {
            let offset = beta.as_ref().map_or(0.0, |b| b[i]);
            *x = (*x - mean) * inverse * gamma[i] + offset;
        }
        y.means.push(mean);
        y.inverse_deviations.push(inverse);
    }
    Ok(y)
}

/// The outputs of the skip normalisations: the rows, the moments and the sums they are of.
///
/// # Errors
/// [`EvalError::Rule`] where a shape does not fit.
pub fn skip_normalise(
    cx: &EvalContext<'_>,
    beta: Option<&Tensor>,
    bias: Option<&Tensor>,
    epsilon: f32,
    moments: Moments,
) -> Result<Vec<Value>, EvalError> {
    let (x, skip, gamma) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
    let size = x.shape().last().copied().unwrap_or(1);
    let sum = residual_sum(x, skip, bias, size)?;
    let dtype = x.dtype();
    let y = normalise(sum.clone(), size, gamma, beta, epsilon, moments)?;
    let mut row_shape = x.shape().to_vec();
    if let Some(last) = row_shape.last_mut() {
        *last = 1;
    }
    Ok(vec![
        real_tensor(dtype, x.shape(), y.data)?.into(),
        real_tensor(DType::F32, &row_shape, y.means)?.into(),
        real_tensor(DType::F32, &row_shape, y.inverse_deviations)?.into(),
        real_tensor(dtype, x.shape(), sum)?.into(),
    ])
}

/// The facts of the outputs of [`skip_normalise`].
///
/// # Errors
/// Those of [`InferContext::tensor`].
pub fn infer_skip(cx: &InferContext<'_>) -> Result<Vec<Fact>, InferError> {
    let x = cx.tensor(0)?;
    let mut rows = x.shape.clone();
    if let Some(last) = rows.as_mut().and_then(|s| s.last_mut()) {
        *last = Dim::Known(1);
    }
    let full = Fact::from(TensorFact::with_shape(x.dtype, x.shape));
    let moment = Fact::from(TensorFact::with_shape(Some(DType::F32), rows));
    let facts = [full.clone(), moment.clone(), moment, full];
    Ok(facts.into_iter().take(cx.output_count()).collect())
}

/// `x + skip + bias`: the skip may lack leading axes or have them as 1.
fn residual_sum(
    x: &Tensor,
    skip: &Tensor,
    bias: Option<&Tensor>,
    size: usize,
) -> Result<Vec<f64>, EvalError> {
    let trimmed = |shape: &[usize]| {
        let ones = shape.iter().take_while(|&&d| d == 1).count();
        shape[ones..].to_vec()
    };
    let same_row = x.shape().last() == skip.shape().last();
    if !same_row || !trimmed(x.shape()).ends_with(&trimmed(skip.shape())) {
        return Err(EvalError::rule(
            "the skip must have the shape of the input, but for leading axes",
            format_args!("{:?} and {:?}", skip.shape(), x.shape()),
        ));
    }
    if let Some(bias) = bias {
        require_row(bias, size)?;
    }
    let mut sum = x.to_f64_vec()?;
    let skip = skip.to_f64_vec()?;
    let bias = bias.map(Tensor::to_f64_vec).transpose()?;
    for (i, v) in sum.iter_mut().enumerate() {
        *v += skip[i % skip.len()] + bias.as_ref().map_or(0.0, |b| b[i % size]);
    }
    Ok(sum)
}

fn require_row(parameter: &Tensor, size: usize) -> Result<(), EvalError> {
    if parameter.len() == size {
        return Ok(());
    }
    Err(EvalError::rule(
        "gamma, beta and bias must be as long as the last axis",
        format_args!("{} and {size}", parameter.len()),
    ))
}
