use super::*;
use crate::data::{ArrayDataset, BatchPlan, Column, Field, Kind, Values, read_batch};
use compress_tensor::Tensor;
use proptest::prelude::*;

/// `samples` images of these sizes whose pixels are all different, with labels.
fn batch(samples: usize, shape: &[usize], indices: &[usize]) -> Batch {
    let count: usize = shape.iter().product();
    let pixels = |i: usize| (0..count).map(move |p| (1000 * i + p) as f32);
    let x = indices.iter().flat_map(|&i| pixels(i)).collect();
    assert_eq!(samples, indices.len());
    Batch {
        epoch: 2,
        indices: indices.to_vec(),
        columns: vec![
            Column {
                field: Field::new("x", Kind::F32, shape),
                values: Values::F32(x),
            },
            Column {
                field: Field::new("y", Kind::I64, &[]),
                values: Values::I64(indices.iter().map(|&i| i as i64 % 3).collect()),
            },
        ],
        ..Batch::default()
    }
}

fn applied(step: impl Transform + 'static, mut batch: Batch) -> Batch {
    Augmentation::new(5).with(step).apply(&mut batch).unwrap();
    batch
}

fn x(batch: &Batch) -> &[f32] {
    batch.columns[0].f32().unwrap()
}

fn all_steps() -> Augmentation {
    let images = Images::nchw("x");
    Augmentation::new(5)
        .with(Flip {
            images: images.clone(),
            horizontal: 0.5,
            vertical: 0.5,
        })
        .with(RandomCrop {
            padding: 2,
            border: Border::Reflect,
            ..RandomCrop::of(images.clone())
        })
        .with(Jitter {
            images: images.clone(),
            brightness: 0.3,
            contrast: 0.4,
        })
        .with(Cutout {
            images: images.clone(),
            size: 2,
            fill: -1.0,
            probability: 0.7,
        })
        .with(Normalize {
            images,
            mean: vec![1.0, 2.0],
            deviation: vec![3.0],
        })
}

#[test]
fn flips_mirror_both_layouts() {
    let flip = |images: Images, horizontal, vertical| Flip {
        images,
        horizontal,
        vertical,
    };
    let source = batch(1, &[1, 2, 3], &[0]);
    assert_eq!(
        x(&applied(flip(Images::nchw("x"), 1.0, 0.0), source.clone())),
        [2., 1., 0., 5., 4., 3.]
    );
    assert_eq!(
        x(&applied(flip(Images::nchw("x"), 0.0, 1.0), source.clone())),
        [3., 4., 5., 0., 1., 2.]
    );
    assert_eq!(
        x(&applied(flip(Images::nchw("x"), 0.0, 0.0), source)),
        [0., 1., 2., 3., 4., 5.]
    );
    let last = batch(1, &[1, 3, 2], &[0]);
    assert_eq!(
        x(&applied(flip(Images::nhwc("x"), 1.0, 0.0), last)),
        [4., 5., 2., 3., 0., 1.]
    );
}

#[test]
fn half_of_all_samples_are_flipped() {
    let indices: Vec<usize> = (0..1000).collect();
    let flip = Flip {
        images: Images::nchw("x"),
        horizontal: 0.5,
        vertical: 0.0,
    };
    let found = applied(flip, batch(1000, &[1, 1, 2], &indices));
    let flipped = x(&found).chunks(2).filter(|p| p[0] > p[1]).count();
    // Four standard deviations of 15.8.
    assert!((437..563).contains(&flipped), "{flipped}");
}

#[test]
fn crops_are_windows_of_the_padded_image() {
    let crop = |padding, border, size| RandomCrop {
        images: Images::nchw("x"),
        size,
        padding,
        border,
    };
    let indices: Vec<usize> = (0..300).collect();
    let found = applied(
        crop(1, Border::Value(-7.0), None),
        batch(300, &[1, 1, 2], &indices),
    );
    let mut kinds: Vec<Vec<f32>> = x(&found)
        .chunks(2)
        .zip(&indices)
        .map(|(p, &i)| {
            p.iter()
                .map(|&v| {
                    if v == -7.0 {
                        -1.0
                    } else {
                        v - 1000.0 * i as f32
                    }
                })
                .collect()
        })
        .collect();
    kinds.sort_by(|a, b| a.partial_cmp(b).unwrap());
    kinds.dedup();
    // Whole lines of border above and below; else shifted by −1, 0 and 1.
    assert_eq!(
        kinds,
        [vec![-1., -1.], vec![-1., 0.], vec![0., 1.], vec![1., -1.]]
    );
    let found = applied(
        crop(0, Border::Edge, Some([1, 2])),
        batch(1, &[2, 3, 4], &[9]),
    );
    assert_eq!(found.columns[0].field.shape, [2, 1, 2]);
    let v = x(&found);
    assert_eq!((v.len(), v[1] - v[0], v[2] - v[0]), (4, 1.0, 12.0));
    let found = applied(
        crop(3, Border::Edge, None),
        batch(300, &[1, 1, 2], &indices),
    );
    assert!(x(&found).chunks(2).zip(&indices).all(|(p, &i)| {
        p.iter()
            .all(|v| (0.0..2.0).contains(&(v - 1000.0 * i as f32)))
    }));
    for (padding, size) in [(0, Some([9, 1])), (0, Some([0, 1])), (usize::MAX, None)] {
        let mut source = batch(1, &[2, 3, 4], &[9]);
        assert!(
            Augmentation::new(0)
                .with(crop(padding, Border::Edge, size))
                .apply(&mut source)
                .is_err()
        );
    }
}

#[test]
fn jitter_keeps_bytes_in_range_and_means_where_contrast_alone_changes() {
    let mut source = batch(1, &[1, 2, 2], &[0]);
    source.columns[0].field.kind = Kind::U8;
    source.columns[0].values = Values::U8(vec![0, 90, 160, 250]);
    let jitter = |brightness, contrast| Jitter {
        images: Images::nchw("x"),
        brightness,
        contrast,
    };
    let found = applied(jitter(0.0, 0.0), source.clone());
    assert_eq!(found.columns[0].u8().unwrap(), [0, 90, 160, 250]);
    for index in 0..50 {
        source.indices = vec![index];
        let found = applied(jitter(0.0, 0.4), source.clone());
        let bytes = found.columns[0].u8().unwrap();
        assert!(bytes.is_sorted());
        // The mean is 125: what is left of it moves towards or away, by the same factor on both sides.
        let inner = [90.0 - 125.0, 160.0 - 125.0];
        let found = [f64::from(bytes[1]) - 125.0, f64::from(bytes[2]) - 125.0];
        let factor = found[0] / inner[0];
        assert!((0.58..1.42).contains(&factor) && (found[1] / inner[1] - factor).abs() < 0.03);
    }
}

#[test]
fn a_hole_is_a_square_of_one_value() {
    let cutout = Cutout {
        images: Images::nhwc("x"),
        size: 3,
        fill: -1.0,
        probability: 1.0,
    };
    let indices: Vec<usize> = (0..200).collect();
    let found = applied(cutout, batch(200, &[6, 7, 2], &indices));
    let mut counts: Vec<usize> = x(&found)
        .chunks(84)
        .map(|image| image.iter().filter(|v| **v == -1.0).count())
        .collect();
    counts.sort_unstable();
    counts.dedup();
    // Both channels of 3 by 3 pixels, of 2 by 3 at an edge, of 2 by 2 in a corner.
    assert_eq!(counts, [8, 12, 18]);
}

#[test]
fn normalisation_gives_mean_zero_and_deviation_one() {
    for (images, shape) in [
        (Images::nchw("x"), [3, 4, 5]),
        (Images::nhwc("x"), [4, 5, 3]),
    ] {
        let source = batch(3, &shape, &[1, 2, 3]);
        let mut moments = Moments::default();
        moments.add(&images, &source.columns[0]).unwrap();
        let mut parts = Moments::default();
        for part in [&[1][..], &[2, 3]] {
            parts
                .add(&images, &batch(part.len(), &shape, part).columns[0])
                .unwrap();
        }
        for (a, b) in parts.deviation().iter().zip(moments.deviation()) {
            assert!((a - b).abs() < 1e-9);
        }
        let normalize = Normalize {
            images: images.clone(),
            mean: moments.mean().to_vec(),
            deviation: moments.deviation(),
        };
        let found = applied(normalize, source);
        let mut moments = Moments::default();
        moments.add(&images, &found.columns[0]).unwrap();
        for (mean, deviation) in moments.mean().iter().zip(moments.deviation()) {
            assert!(mean.abs() < 1e-6 && (deviation - 1.0).abs() < 1e-6);
        }
    }
    // Bytes become numbers.
    let mut source = batch(1, &[1, 2], &[0]);
    source.columns[0] = Column {
        field: Field::new("x", Kind::U8, &[1, 2]),
        values: Values::U8(vec![0, 255]),
    };
    let normalize = Normalize {
        images: Images::nchw("x"),
        mean: vec![51.0],
        deviation: vec![204.0],
    };
    let found = applied(normalize, source);
    assert_eq!(
        (x(&found), found.columns[0].field.kind),
        (&[-0.25, 1.0][..], Kind::F32)
    );
}

fn mixup(probability: f64) -> Mixup {
    Mixup {
        column: "x".into(),
        labels: "y".into(),
        classes: 3,
        alpha: 0.4,
        probability,
    }
}

#[test]
fn mixed_samples_have_mixed_labels() {
    let indices: Vec<usize> = (0..60).collect();
    // The only pixel is 1000 times the index, the label the index modulo 3.
    let found = applied(mixup(1.0), batch(60, &[1], &indices));
    let shares = found.columns[1].f32().unwrap();
    assert_eq!(found.columns[1].field, Field::new("y", Kind::F32, &[3]));
    let mut mixed = 0;
    for ((&pixel, share), &i) in x(&found).iter().zip(shares.chunks(3)).zip(&indices) {
        assert!(
            (share.iter().sum::<f32>() - 1.0).abs() < 1e-6
                && share.iter().all(|s| (0.0..=1.0).contains(s))
        );
        let own = share[i % 3];
        let fits = |j: usize| {
            let expected = own * 1000.0 * i as f32 + (1.0 - own) * 1000.0 * j as f32;
            j % 3 != i % 3 && (pixel - expected).abs() < 0.02
        };
        if own < 1.0 {
            mixed += 1;
            assert!((0..60).any(fits), "{i}: {pixel} {share:?}");
        }
    }
    assert!(mixed > 25, "{mixed}");
    let found = applied(mixup(0.0), batch(60, &[1], &indices));
    assert_eq!(
        found.columns[1].f32().unwrap()[..6],
        [1., 0., 0., 0., 1., 0.]
    );
    // Labels that are mixed already are mixed again.
    let again = applied(mixup(1.0), found);
    assert_eq!(again.columns[1].field.shape, [3]);
}

#[test]
fn the_share_of_a_box_is_its_area() {
    let indices: Vec<usize> = (0..90).collect();
    let cutmix = CutMix {
        images: Images::nchw("x"),
        labels: "y".into(),
        classes: 3,
        alpha: 1.0,
        probability: 1.0,
    };
    let found = applied(cutmix, batch(90, &[2, 6, 8], &indices));
    let shares = found.columns[1].f32().unwrap();
    let mut sizes = Vec::new();
    for ((image, share), &i) in x(&found).chunks(96).zip(shares.chunks(3)).zip(&indices) {
        let own = |(p, v): (usize, &f32)| *v == (1000 * i + p) as f32;
        let kept = image.iter().enumerate().filter(|&e| own(e)).count();
        let foreign: Vec<usize> = image
            .iter()
            .enumerate()
            .filter(|&e| !own(e))
            .map(|(_, v)| *v as usize / 1000)
            .collect();
        assert!(foreign.iter().all(|j| *j == foreign[0]));
        if let Some(j) = foreign.first()
            && j % 3 != i % 3
        {
            assert!((share[i % 3] - kept as f32 / 96.0).abs() < 1e-6);
            assert!((share[j % 3] - foreign.len() as f32 / 96.0).abs() < 1e-6);
        }
        sizes.push(foreign.len());
    }
    sizes.sort_unstable();
    sizes.dedup();
    // Whole, even sides, cut at the edges: of many sizes.
    assert!(sizes.len() > 9, "{sizes:?}");
}

#[test]
fn what_cannot_be_augmented_is_told() {
    let message = |augmentation: Augmentation| {
        let mut source = batch(1, &[2], &[4]);
        source.columns[1].values = Values::I64(vec![7]);
        augmentation.apply(&mut source).unwrap_err().to_string()
    };
    let flip = |column: &str, horizontal| Flip {
        images: Images::nchw(column),
        horizontal,
        vertical: 0.0,
    };
    assert_eq!(
        message(Augmentation::new(0).with(flip("x", 0.5))),
        "`x` has samples of shape [2], needed is an image of two or three axes"
    );
    assert_eq!(
        message(Augmentation::new(0).with(flip("z", 0.5))),
        "there is no field `z`, there are [\"x\", \"y\"]"
    );
    assert_eq!(
        message(Augmentation::new(0).with(flip("x", 1.5))),
        "the probability of a horizontal flip is 1.5, it must lie in [0, 1]"
    );
    assert_eq!(
        message(Augmentation::new(0).with(mixup(1.0))),
        "`y` of sample 4 is 7, none of the 3 classes"
    );
}

#[test]
fn a_sample_that_comes_again_in_an_epoch_is_augmented_otherwise() {
    let shape = [2, 5, 4];
    let mut found = batch(4, &shape, &[3, 7, 3, 3]);
    found.repetitions = vec![0, 0, 1, 2];
    all_steps().apply(&mut found).unwrap();
    let samples: Vec<&[f32]> = x(&found).chunks(40).collect();
    assert!(samples[0] != samples[2] && samples[0] != samples[3] && samples[2] != samples[3]);
    // The first time is as in an epoch in which it comes once, a later one alike in any batch.
    let mut once = batch(2, &shape, &[3, 7]);
    all_steps().apply(&mut once).unwrap();
    assert_eq!(x(&once), &x(&found)[..80]);
    let mut again = batch(1, &shape, &[3]);
    again.repetitions = vec![2];
    all_steps().apply(&mut again).unwrap();
    assert_eq!(x(&again), samples[3]);
}

#[test]
fn buffers_go_around_where_a_step_changes_the_type_of_a_column() {
    let images = Tensor::full(&[2, 1, 3, 4], 9u8).unwrap();
    let labels = Tensor::vector(vec![1i64, 0]);
    let dataset = ArrayDataset::new([("x", images), ("y", labels)]).unwrap();
    let images = Images::nchw("x");
    let augmentation = Augmentation::new(1)
        .with(Normalize {
            images,
            mean: vec![1.0],
            deviation: vec![2.0],
        })
        .with(mixup(1.0));
    let mut batch = Batch::default();
    let mut places = Vec::new();
    for _ in 0..6 {
        read_batch(&dataset, &BatchPlan::of(&[0, 1]), &mut batch).unwrap();
        augmentation.apply(&mut batch).unwrap();
        let place = |at: usize| batch.columns[at].f32().unwrap().as_ptr();
        places.push([place(0), place(1)]);
        assert!(batch.columns[0].f32().unwrap().iter().all(|&v| v == 4.0));
    }
    // Both columns may change their buffers with one another.
    let first = [places[1][0], places[1][1]];
    for [a, b] in &places[2..] {
        assert!(first.contains(a) && first.contains(b), "{places:?}");
    }
}

proptest! {
    #[test]
    fn a_sample_is_augmented_alike_in_any_batch(order in Just((0..12).collect::<Vec<usize>>()).prop_shuffle(), cut in 1usize..11) {
        let shape = [2, 5, 4];
        let augmentation = all_steps();
        let mut whole = batch(12, &shape, &(0..12).collect::<Vec<_>>());
        augmentation.apply(&mut whole).unwrap();
        for part in [&order[..cut], &order[cut..]] {
            let mut found = batch(part.len(), &shape, part);
            augmentation.apply(&mut found).unwrap();
            for (&i, sample) in part.iter().zip(x(&found).chunks(40)) {
                prop_assert_eq!(sample, &x(&whole)[40 * i..40 * (i + 1)]);
            }
        }
        let mut other = batch(12, &shape, &(0..12).collect::<Vec<_>>());
        other.epoch += 1;
        augmentation.apply(&mut other).unwrap();
        prop_assert_ne!(x(&other), x(&whole));
    }
}
