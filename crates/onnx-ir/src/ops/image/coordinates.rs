//! From a position in a resized axis to a coordinate in the original one:
//! <https://onnx.ai/onnx/operators/onnx__Resize.html>, `coordinate_transformation_mode`.

use crate::operator::AttrError;

/// How a position in a resized axis maps to the original axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinateTransform {
    /// `(x + 0.5) / scale - 0.5`.
    HalfPixel,
    /// As `HalfPixel`, moved so that the centres meet where the size was rounded.
    HalfPixelSymmetric,
    /// As `HalfPixel`, 0 for a size of 1.
    PytorchHalfPixel,
    /// `x * (original - 1) / (resized - 1)`.
    AlignCorners,
    /// `x / scale`.
    Asymmetric,
    /// `(x + 0.5) / scale` (opset 11 only).
    TfHalfPixelForNearest,
    /// `AlignCorners` within the region of interest.
    TfCropAndResize,
}

/// One axis while it is resized. The arithmetic is f32, as runtimes compute it: at the borders of pixels
/// the rounding decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AxisScale {
    /// Size of the input axis.
    pub original: usize,
    /// Size of the output axis.
    pub resized: usize,
    /// Output pixels per input pixel; `resized` is this many times `original`, rounded.
    pub scale: f32,
    /// Start and end of the region of interest, in parts of the axis.
    pub roi: (f32, f32),
}

impl CoordinateTransform {
    /// By the name of the attribute's value.
    pub(super) fn parse(name: &str) -> Result<Self, AttrError> {
        Ok(match name {
            "half_pixel" => Self::HalfPixel,
            "half_pixel_symmetric" => Self::HalfPixelSymmetric,
            "pytorch_half_pixel" => Self::PytorchHalfPixel,
            "align_corners" => Self::AlignCorners,
            "asymmetric" => Self::Asymmetric,
            "tf_half_pixel_for_nn" => Self::TfHalfPixelForNearest,
            "tf_crop_and_resize" => Self::TfCropAndResize,
            _ => {
                return Err(AttrError::Invalid {
                    name: "coordinate_transformation_mode",
                    found: name.to_owned(),
                    rule: "it must be one of the modes of Resize",
                });
            }
        })
    }

    /// The coordinate in the original axis of position `x` in the resized one.
    pub fn original(self, x: usize, axis: &AxisScale) -> f32 {
        let x = x as f32;
        let original = axis.original as f32;
        // The size before it was rounded.
        let width = axis.scale * original;
        let half_pixel = (x + 0.5) / axis.scale - 0.5;
        match self {
            Self::HalfPixel => half_pixel,
            Self::HalfPixelSymmetric => {
                let adjustment = axis.resized as f32 / width;
                original / 2.0 * (1.0 - adjustment) + half_pixel
            }
            Self::PytorchHalfPixel if axis.resized > 1 => half_pixel,
            Self::PytorchHalfPixel => 0.0,
            Self::AlignCorners if width == 1.0 => 0.0,
            Self::AlignCorners => x * (original - 1.0) / (width - 1.0),
            Self::Asymmetric => x / axis.scale,
            Self::TfHalfPixelForNearest => (x + 0.5) / axis.scale,
            Self::TfCropAndResize => {
                let (start, end) = axis.roi;
                let last = original - 1.0;
                if axis.resized > 1 {
                    start * last + x * (end - start) * last / (axis.resized as f32 - 1.0)
                } else {
                    0.5 * (start + end) * last
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_and_centres_lie_where_the_mode_says() {
        let axis = AxisScale {
            original: 2,
            resized: 4,
            scale: 2.0,
            roi: (0.0, 1.0),
        };
        let all = |t: CoordinateTransform| [0, 3].map(|x| t.original(x, &axis));
        assert_eq!(all(CoordinateTransform::HalfPixel), [-0.25, 1.25]);
        assert_eq!(all(CoordinateTransform::AlignCorners), [0.0, 1.0]);
        assert_eq!(all(CoordinateTransform::Asymmetric), [0.0, 1.5]);
        let one = AxisScale {
            original: 5,
            resized: 1,
            scale: 0.2,
            roi: (0.0, 1.0),
        };
        assert_eq!(CoordinateTransform::PytorchHalfPixel.original(0, &one), 0.0);
        assert_eq!(CoordinateTransform::TfCropAndResize.original(0, &one), 2.0);
    }
}
