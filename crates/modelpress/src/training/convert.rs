//! From the numbers of a file to those that a model takes, batch by batch beside the computation.

use crate::data::{Layout, Preprocess, moved_first};
use crate::train::augment::{Draws, Transform};
use crate::train::data::{Batch, DataError, Kind, Values};

/// [`Preprocess`] of one column, after augmentation.
pub(super) struct Convert {
    pub(super) column: String,
    pub(super) preprocess: Preprocess,
    /// Whether the input that the column feeds takes floats, which alone are converted.
    pub(super) is_float: bool,
}

impl Transform for Convert {
    fn apply(&self, batch: &mut Batch, _: &Draws) -> Result<(), DataError> {
        if !self.is_float {
            return Ok(());
        }
        let column = batch.column_mut(&self.column)?;
        let is_nhwc = self.preprocess.layout == Layout::Nhwc && column.field.shape.len() > 1;
        if is_nhwc {
            let channels = column.field.shape.pop().unwrap_or(1);
            let places: usize = column.field.shape.iter().product();
            column.field.shape.insert(0, channels);
            column.values = match &column.values {
                Values::F32(v) => Values::F32(moved_first(v, places, channels, 1)),
                Values::U8(v) => Values::U8(moved_first(v, places, channels, 1)),
                Values::I64(v) => Values::I64(moved_first(v, places, channels, 1)),
            };
        }
        if !self.preprocess.changes_numbers() {
            return Ok(());
        }
        let mut values: Vec<f32> = match &mut column.values {
            Values::F32(v) => std::mem::take(v),
            Values::U8(v) => v.iter().map(|&b| f32::from(b)).collect(),
            Values::I64(v) => v.iter().map(|&n| n as f32).collect(),
        };
        let shape = &column.field.shape;
        let channels = shape.first().copied().unwrap_or(1);
        if let Some((what, given)) = self.preprocess.misfit(channels) {
            let what = if what == "mean" {
                "means"
            } else {
                "deviations"
            };
            return Err(DataError::Shape {
                field: self.column.clone(),
                found: shape.clone(),
                expected: format!("{given} channels, as many as {what}"),
            });
        }
        let inner: usize = shape.iter().skip(1).product();
        let narrow = |x: f64| x as f32;
        self.preprocess.apply(&mut values, channels, inner, narrow);
        column.field.kind = Kind::F32;
        column.values = Values::F32(values);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;
    use crate::train::augment::Augmentation;
    use crate::train::data::{ArrayDataset, BatchPlan, read_batch};

    #[test]
    fn pixels_move_to_channels_and_are_normalized() {
        let pixels: Vec<u8> = (0..12).collect();
        let images = Tensor::from_vec(&[1, 2, 2, 3], pixels).unwrap();
        let data = ArrayDataset::new([("x", images)]).unwrap();
        let mut preprocess = Preprocess {
            layout: Layout::Nhwc,
            offset: 1.0,
            std: vec![1.0, 2.0, 4.0],
            ..Preprocess::default()
        };
        let convert = Convert {
            column: "x".into(),
            preprocess: preprocess.clone(),
            is_float: true,
        };
        let mut batch = Batch::default();
        read_batch(&data, &BatchPlan::of(&[0]), &mut batch).unwrap();
        Augmentation::new(0)
            .with(convert)
            .apply(&mut batch)
            .unwrap();
        let column = batch.column("x").unwrap();
        assert_eq!(column.field.shape, [3, 2, 2]);
        let expected = [
            1.0, 4.0, 7.0, 10.0, 1.0, 2.5, 4.0, 5.5, 0.75, 1.5, 2.25, 3.0,
        ];
        assert_eq!(column.f32().unwrap(), expected);
        preprocess.std.pop();
        let convert = Convert {
            column: "x".into(),
            preprocess,
            is_float: true,
        };
        read_batch(&data, &BatchPlan::of(&[0]), &mut batch).unwrap();
        let error = Augmentation::new(0)
            .with(convert)
            .apply(&mut batch)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`x` has samples of shape [3, 2, 2], needed is 2 channels, as many as deviations"
        );
    }

    #[test]
    fn other_inputs_stay_as_they_are_and_empty_images_pass() {
        let preprocess = Preprocess {
            layout: Layout::Nhwc,
            ..Preprocess::default()
        };
        let converted = |values: Tensor, is_float| {
            let data = ArrayDataset::new([("x", values)]).unwrap();
            let convert = Convert {
                column: "x".into(),
                preprocess: preprocess.clone(),
                is_float,
            };
            let mut batch = Batch::default();
            read_batch(&data, &BatchPlan::of(&[0]), &mut batch).unwrap();
            Augmentation::new(0)
                .with(convert)
                .apply(&mut batch)
                .unwrap();
            batch.column("x").unwrap().field.shape.clone()
        };
        let ids = Tensor::from_vec(&[1, 4, 8], vec![1i64; 32]).unwrap();
        assert_eq!(converted(ids, false), [4, 8]);
        let empty = Tensor::from_vec(&[1, 0, 4, 3], Vec::<f32>::new()).unwrap();
        assert_eq!(converted(empty, true), [3, 0, 4]);
    }
}
