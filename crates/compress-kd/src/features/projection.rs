//! A learned linear map from the student's channels to the teacher's.

use super::{STUDENT, TEACHER};
use crate::KdError;
use crate::check;
use crate::element::{narrow, shaped_like, wide};
use crate::random::Random;
use crate::rows;
use ndarray::{Array, Array1, Array2, ArrayRef, Axis, Dimension};
use num_traits::Float;

/// `y = W x + b` at every place: a linear layer on `[n, d]` or `[n, t, d]`, a 1 x 1 convolution on `[n, d, h, w]`.
///
/// The regressor of FitNets (Romero et al. 2015) and `W_h`, `W_e` of TinyBERT (Jiao et al. 2020). It is trained with the
/// student and thrown away with the teacher.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Projection<F> {
    /// `W`: `[d_T, d_S]`.
    pub weight: Array2<F>,
    /// `b`: `[d_T]`, if there is one.
    pub bias: Option<Array1<F>>,
}

/// The gradient by a [`Projection`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProjectionGradient<F> {
    /// By `W`: `[d_T, d_S]`.
    pub weight: Array2<F>,
    /// By `b`, if there is one: `[d_T]`.
    pub bias: Option<Array1<F>>,
}

/// The gradients of a loss on projected features.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Projected<F, D: Dimension> {
    /// By the student's features, of their shape.
    pub student: Array<F, D>,
    /// By the projection, if there is one.
    pub projection: Option<ProjectionGradient<F>>,
}

impl<F: Float> Projection<F> {
    /// With this weight `[d_T, d_S]` and bias `[d_T]`.
    ///
    /// # Errors
    /// [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Shape`] for a bias of another length.
    pub fn new(weight: Array2<F>, bias: Option<Array1<F>>) -> Result<Self, KdError> {
        let projection = Self { weight, bias };
        projection.validate()?;
        Ok(projection)
    }

    /// Weights uniform in `±1/√d_S`, the same for the same seed; no bias.
    ///
    /// # Errors
    /// [`KdError::Empty`] if there are no channels.
    pub fn random(d_student: usize, d_teacher: usize, seed: u64) -> Result<Self, KdError> {
        let mut random = Random::new(seed, 0);
        let bound = 1.0 / (d_student.max(1) as f64).sqrt();
        let draw = || narrow(bound * random.signed());
        Self::new(
            Array2::from_shape_simple_fn((d_teacher, d_student), draw),
            None,
        )
    }

    /// With this bias `[d_T]`.
    ///
    /// # Errors
    /// Those of [`Projection::new`].
    pub fn with_bias(self, bias: Array1<F>) -> Result<Self, KdError> {
        Self::new(self.weight, Some(bias))
    }

    /// Checks that shapes fit one another and that all numbers are finite.
    ///
    /// # Errors
    /// [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Shape`].
    pub fn validate(&self) -> Result<(), KdError> {
        check::readable(WEIGHT, &self.weight)?;
        let Some(bias) = &self.bias else {
            return Ok(());
        };
        check::shape(BIAS, bias.shape(), WEIGHT, &[self.weight.nrows()])?;
        check::readable(BIAS, bias)
    }

    /// `y` for features whose channels stand on `axis`, which is not the first: `d_S` becomes `d_T` there.
    ///
    /// # Errors
    /// [`KdError::ChannelAxis`], [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Overflow`].
    pub fn forward<D: Dimension>(
        &self,
        features: &ArrayRef<F, D>,
        axis: Axis,
    ) -> Result<Array<F, D>, KdError> {
        let x = rows::channels(STUDENT, features, axis)?;
        let y = Wide::of(self)?.forward(&x)?;
        let mut shape = features.raw_dim();
        shape[axis.index()] = y.ncols();
        check::result("the projection", rows::from_channels(shape, axis, &y))
    }

    /// The gradients by `x`, `W` and `b` from the gradient by `y`, in the same layout as for [`Projection::forward`].
    ///
    /// # Errors
    /// Those of [`Projection::forward`].
    pub fn backward<D: Dimension>(
        &self,
        features: &ArrayRef<F, D>,
        gradient: &ArrayRef<F, D>,
        axis: Axis,
    ) -> Result<Projected<F, D>, KdError> {
        let x = rows::channels(STUDENT, features, axis)?;
        let wide = Wide::of(self)?;
        wide.accepts(&x)?;
        let mut expected = features.shape().to_vec();
        expected[axis.index()] = self.weight.nrows();
        let what = "the gradient of the projection";
        check::shape(what, gradient.shape(), "the projection", &expected)?;
        let by_y = rows::channels(what, gradient, axis)?;
        projected(features, axis, &x, Some((&wide, self)), by_y)
    }
}

const WEIGHT: &str = "the weight of the projection";
const BIAS: &str = "the bias of the projection";

/// A projection in `f64`.
struct Wide {
    weight: Array2<f64>,
    bias: Option<Array1<f64>>,
}

impl Wide {
    fn of<F: Float>(projection: &Projection<F>) -> Result<Self, KdError> {
        projection.validate()?;
        Ok(Self {
            weight: projection.weight.mapv(wide),
            bias: projection.bias.as_ref().map(|bias| bias.mapv(wide)),
        })
    }

    fn accepts(&self, x: &Array2<f64>) -> Result<(), KdError> {
        let found = self.weight.shape();
        check::shape(WEIGHT, found, STUDENT, &[found[0], x.ncols()])
    }

    fn forward(&self, x: &Array2<f64>) -> Result<Array2<f64>, KdError> {
        self.accepts(x)?;
        let mut y = x.dot(&self.weight.t());
        if let Some(bias) = &self.bias {
            y += bias;
        }
        Ok(y)
    }
}

/// What projected features differ from the teacher's by, place by place.
pub(crate) struct Residual<'a, F, D: Dimension> {
    features: &'a ArrayRef<F, D>,
    axis: Axis,
    x: Array2<f64>,
    projection: Option<(Wide, &'a Projection<F>)>,
    /// `[places, d_T]`.
    rows: Array2<f64>,
}

impl<'a, F: Float, D: Dimension> Residual<'a, F, D> {
    /// `projection(student) - teacher`; without a projection both have one shape.
    pub(crate) fn of(
        student: &'a ArrayRef<F, D>,
        teacher: &ArrayRef<F, D>,
        axis: Axis,
        projection: Option<&'a Projection<F>>,
    ) -> Result<Self, KdError> {
        let x = rows::channels(STUDENT, student, axis)?;
        let projection = match projection {
            None => None,
            Some(projection) => Some((Wide::of(projection)?, projection)),
        };
        let y = match &projection {
            None => x.clone(),
            Some((wide, _)) => wide.forward(&x)?,
        };
        let mut expected = student.shape().to_vec();
        expected[axis.index()] = y.ncols();
        check::shape(
            TEACHER,
            teacher.shape(),
            "the student's projection",
            &expected,
        )?;
        Ok(Self {
            features: student,
            axis,
            x,
            projection,
            rows: y - rows::channels(TEACHER, teacher, axis)?,
        })
    }

    /// The number of teacher's channels.
    pub(crate) fn channels(&self) -> usize {
        self.rows.ncols()
    }

    /// Takes the places out that do not count.
    pub(crate) fn keep(&mut self, counts: impl Iterator<Item = bool>) {
        for (mut row, counts) in self.rows.rows_mut().into_iter().zip(counts) {
            if !counts {
                row.fill(0.0);
            }
        }
    }

    /// `scale · Σ r²` and its gradients.
    pub(crate) fn squares(mut self, scale: f64) -> Result<(f64, Projected<F, D>), KdError> {
        let sum: f64 = self.rows.iter().map(|r| r * r).sum();
        self.rows.mapv_inplace(|r| 2.0 * scale * r);
        let projection = self
            .projection
            .as_ref()
            .map(|(wide, narrow)| (wide, *narrow));
        let gradients = projected(self.features, self.axis, &self.x, projection, self.rows)?;
        Ok((check::value(scale * sum)?, gradients))
    }
}

/// `∂/∂x = W' ∂/∂y`, `∂/∂W = ∂/∂y x'`, `∂/∂b = ∂/∂y`, summed over the places.
fn projected<F: Float, D: Dimension>(
    features: &ArrayRef<F, D>,
    axis: Axis,
    x: &Array2<f64>,
    projection: Option<(&Wide, &Projection<F>)>,
    by_y: Array2<f64>,
) -> Result<Projected<F, D>, KdError> {
    let by_x = match projection {
        None => by_y.clone(),
        Some((wide, _)) => by_y.dot(&wide.weight),
    };
    let student = check::gradient(rows::from_channels(features.raw_dim(), axis, &by_x))?;
    let Some((_, projection)) = projection else {
        return Ok(Projected {
            student,
            projection: None,
        });
    };
    let weight = shaped_like(&projection.weight, &by_y.t().dot(x));
    let bias = projection.bias.as_ref();
    let bias = bias.map(|bias| check::gradient(shaped_like(bias, &by_y.sum_axis(Axis(0)))));
    Ok(Projected {
        student,
        projection: Some(ProjectionGradient {
            weight: check::gradient(weight)?,
            bias: bias.transpose()?,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array4, arr2};

    #[test]
    fn a_pointwise_convolution_is_the_linear_layer_at_every_pixel() {
        let weight = arr2(&[[1.0, 2.0], [0.0, -1.0], [0.5, 0.0]]);
        let projection = Projection::new(weight, None).unwrap();
        let image = Array4::from_shape_fn((2, 2, 1, 3), |(n, c, _, x)| (10 * n + 5 * c + x) as f64);
        let projected = projection.forward(&image, Axis(1)).unwrap();
        assert_eq!(projected.shape(), [2, 3, 1, 3]);
        // Pixel 2 of sample 1 holds (12, 17).
        let pixel: Vec<f64> = (0..3).map(|c| projected[[1, c, 0, 2]]).collect();
        assert_eq!(pixel, [46.0, -17.0, 6.0]);
    }

    #[test]
    fn random_weights_are_of_the_seed_and_within_their_bound() {
        let projection = Projection::<f32>::random(16, 8, 7).unwrap();
        assert_eq!(projection, Projection::random(16, 8, 7).unwrap());
        assert_ne!(projection, Projection::random(16, 8, 8).unwrap());
        assert!(projection.weight.iter().all(|w| w.abs() <= 0.25));
        assert!(projection.weight.iter().any(|w| w.abs() > 0.2));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let projection = Projection::<f64>::random(3, 4, 0).unwrap();
        let found = projection.forward(&Array2::<f64>::zeros((2, 5)), Axis(1));
        assert_eq!(
            found.unwrap_err().to_string(),
            "the shape of the weight of the projection is [4, 3], with the student's features it must be [4, 5]"
        );
        let found = projection.forward(&Array2::<f64>::zeros((2, 3)), Axis(0));
        assert!(matches!(found, Err(KdError::ChannelAxis { axis: 0, .. })));
        let found = projection.with_bias(Array1::zeros(3));
        assert!(matches!(found, Err(KdError::Shape { .. })));
    }
}
