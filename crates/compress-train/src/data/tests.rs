use super::*;
use compress_tensor::{Tensor, npy};
use proptest::prelude::*;
use std::sync::Arc;

fn numbered(samples: usize) -> ArrayDataset {
    let x: Vec<f32> = (0..2 * samples).map(|i| i as f32).collect();
    let y: Vec<i64> = (0..samples as i64).collect();
    let x = Tensor::from_vec(&[samples, 2], x).unwrap();
    ArrayDataset::new([("x", x), ("y", Tensor::vector(y))]).unwrap()
}

fn sampler(samples: usize, batch: usize, order: Order, drop_last: bool) -> Sampler {
    let config = SamplerConfig {
        seed: 11,
        batch,
        order,
        drop_last,
    };
    Sampler::new(samples, config).unwrap()
}

fn read_all(dataset: &dyn Dataset, indices: &[usize]) -> Batch {
    let mut batch = Batch::default();
    read_batch(dataset, &BatchPlan::of(indices), &mut batch).unwrap();
    batch
}

#[test]
fn arrays_of_all_types_become_columns() {
    let dir = tempfile::tempdir().unwrap();
    let mut dataset = ArrayDataset::default();
    let tensors = [
        ("f32", Tensor::vector(vec![0.5f32, 1.5, 2.5])),
        ("f64", Tensor::vector(vec![0.5f64, 1.5, 2.5])),
        ("f16", Tensor::vector([0.5, 1.5, 2.5].map(f16).to_vec())),
        ("u8", Tensor::vector(vec![1u8, 2, 255])),
        ("i8", Tensor::vector(vec![-1i8, 2, 3])),
        ("u32", Tensor::vector(vec![1u32, 2, u32::MAX])),
        ("i64", Tensor::vector(vec![1i64, 2, i64::MIN])),
        ("bool", Tensor::vector(vec![true, false, true])),
    ];
    for (name, tensor) in &tensors {
        dataset.add((*name).to_owned(), tensor.clone()).unwrap();
        let path = dir.path().join(format!("{name}.npy"));
        npy::write(&path, tensor).unwrap();
        dataset.add_file(format!("{name} file"), path).unwrap();
    }
    let batch = read_all(&dataset, &[2, 0]);
    for name in ["f32", "f64", "f16"] {
        for name in [name.to_owned(), format!("{name} file")] {
            assert_eq!(
                batch.column(&name).unwrap().f32().unwrap(),
                [2.5, 0.5],
                "{name}"
            );
        }
    }
    assert_eq!(batch.column("u8").unwrap().u8().unwrap(), [255, 1]);
    assert_eq!(batch.column("u8 file").unwrap().u8().unwrap(), [255, 1]);
    for (name, expected) in [
        ("i8", [3, -1]),
        ("u32", [i64::from(u32::MAX), 1]),
        ("i64", [i64::MIN, 1]),
        ("bool", [1, 1]),
    ] {
        for name in [name.to_owned(), format!("{name} file")] {
            assert_eq!(
                batch.column(&name).unwrap().i64().unwrap(),
                expected,
                "{name}"
            );
        }
    }
}

fn f16(value: f64) -> half::f16 {
    half::f16::from_f64(value)
}

#[test]
fn windows_into_files_need_not_be_aligned() {
    // A row of three bytes puts every second row of floats behind it at odd addresses, were the rows floats.
    let bytes = compress_tensor::Bytes::from((0..13u8).collect::<Vec<u8>>()).slice(1..);
    let tensor = Tensor::from_bytes(compress_tensor::DType::F32, &[3, 1], bytes.clone()).unwrap();
    let dataset = ArrayDataset::new([("x", tensor)]).unwrap();
    let expected = f32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    assert_eq!(
        read_all(&dataset, &[1]).columns[0].f32().unwrap(),
        [expected]
    );
}

#[test]
fn arrays_that_do_not_fit_are_told() {
    let message = |arrays: [(&str, Tensor); 2]| ArrayDataset::new(arrays).unwrap_err().to_string();
    let ten = || Tensor::vector(vec![0u8; 10]);
    assert_eq!(
        message([("x", ten()), ("y", Tensor::vector(vec![0u8; 9]))]),
        "`y` has 9 samples, `x` 10"
    );
    assert_eq!(
        message([("x", ten()), ("x", ten())]),
        "field `x` is there twice"
    );
    assert_eq!(
        message([("x", Tensor::scalar(1u8)), ("y", ten())]),
        "`x` is a single number: its first axis should be that of the samples"
    );
    let text = Tensor::from_strings(&[1], vec!["a".into()]).unwrap();
    assert_eq!(
        message([("t", text), ("y", ten())]),
        "`t` holds string, samples are numbers"
    );
}

#[test]
fn reading_checks_its_arguments() {
    let dataset = numbered(4);
    let mut batch = read_all(&dataset, &[0, 1]);
    let error = dataset.read(&[0, 4], &mut batch.columns).unwrap_err();
    assert_eq!(error.to_string(), "there is no sample 4, there are 4");
    assert!(matches!(
        dataset.read(&[0], &mut batch.columns),
        Err(DataError::Length { .. })
    ));
    assert!(matches!(
        dataset.read(&[0, 1], &mut batch.columns[..1]),
        Err(DataError::Columns { .. })
    ));
    batch.columns[1].values = Values::U8(vec![0; 2]);
    assert!(matches!(
        dataset.read(&[0, 1], &mut batch.columns),
        Err(DataError::WrongKind { .. })
    ));
    assert!(matches!(
        batch.column("z"),
        Err(DataError::NoSuchField { .. })
    ));
}

#[test]
fn subsets_and_joined_sources_keep_their_samples() {
    let (a, b): (Arc<dyn Dataset>, Arc<dyn Dataset>) =
        (Arc::new(numbered(3)), Arc::new(numbered(5)));
    let both = Concat::new(vec![a, b]).unwrap();
    assert_eq!((both.len(), both.lengths()), (8, vec![3, 5]));
    assert_eq!([0, 2, 3, 7].map(|i| both.source_of(i)), [0, 0, 1, 1]);
    let batch = read_all(&both, &[7, 0, 3, 2]);
    assert_eq!(batch.columns[1].i64().unwrap(), [4, 0, 0, 2]);
    assert_eq!(
        batch.columns[0].f32().unwrap(),
        [8.0, 9.0, 0.0, 1.0, 0.0, 1.0, 4.0, 5.0]
    );
    let part = Subset::new(both, vec![6, 1]).unwrap();
    assert_eq!(read_all(&part, &[1, 0]).columns[1].i64().unwrap(), [1, 3]);
    assert!(Subset::new(part, vec![2]).is_err());
    let other = ArrayDataset::new([("x", Tensor::vector(vec![1u8]))]).unwrap();
    assert!(matches!(
        Concat::new(vec![Arc::new(numbered(1)), Arc::new(other)]),
        Err(DataError::OtherFields {
            source_index: 1,
            ..
        })
    ));
    assert!(Concat::new(Vec::new()).is_err());
}

#[test]
fn a_closures_error_names_the_sample() {
    let fields = vec![Field::new("x", Kind::F32, &[])];
    let dataset = MadeDataset::new(fields, 3, |index, _| match index {
        2 => Err("no such picture".into()),
        _ => Ok(()),
    });
    let mut batch = Batch::default();
    let error = read_batch(&dataset, &BatchPlan::of(&[1, 2]), &mut batch).unwrap_err();
    assert_eq!(error.to_string(), "sample 2: no such picture");
}

#[test]
fn a_mixture_keeps_its_shares_and_goes_through_its_sources() {
    let sources = vec![
        Share {
            samples: 10,
            weight: 3.0,
        },
        Share {
            samples: 90,
            weight: 1.0,
        },
        Share {
            samples: 5,
            weight: 0.0,
        },
    ];
    let order = Order::Mixture { epoch: 60, sources };
    let sampler = sampler(105, 8, order, false);
    let mut seen = vec![0; 105];
    for epoch in 0..6 {
        let order = sampler.order_of(epoch);
        assert_eq!(order.iter().filter(|&&i| i < 10).count(), 45);
        assert_eq!(order.len(), 60);
        order.iter().for_each(|&i| seen[i] += 1);
    }
    // 6 · 45 = 27 passes through the first, 6 · 15 = one through the second.
    assert!(seen[..10].iter().all(|&n| n == 27) && seen[10..100].iter().all(|&n| n == 1));
    assert!(seen[100..].iter().all(|&n| n == 0));
}

#[test]
fn a_mixture_counts_how_often_a_sample_came_before() {
    let share = |samples, weight| Share { samples, weight };
    let sources = vec![share(2, 3.0), share(90, 1.0)];
    let order = Order::Mixture { epoch: 20, sources };
    let mut mixed = sampler(92, 8, order, false);
    let mut seen = vec![0u32; 92];
    for _ in 0..3 {
        let plan = mixed.next_batch();
        for (&index, &before) in plan.indices.iter().zip(&plan.repetitions) {
            assert_eq!(seen[index], before);
            seen[index] += 1;
        }
        assert_eq!(plan.indices.len(), plan.repetitions.len());
    }
    // 15 samples of two that take turns.
    assert_eq!(seen[0] + seen[1], 15);
    // The next epoch counts anew, and a sampler that goes on within one counts on.
    let position = mixed.position();
    let first = mixed.next_batch();
    assert!(first.repetitions.contains(&0));
    let second = mixed.next_batch();
    mixed.resume(position).unwrap();
    assert_eq!((mixed.next_batch(), mixed.next_batch()), (first, second));
    let mut shuffled = sampler(9, 4, Order::Shuffled, false);
    assert!(shuffled.next_batch().repetitions.is_empty());
}

#[test]
fn a_source_that_no_epoch_has_a_sample_of_is_refused() {
    let share = |samples, weight| Share { samples, weight };
    let sources = vec![share(10, 1.0), share(10, 0.01)];
    let make = |epoch| {
        let sources = sources.clone();
        let config = SamplerConfig {
            order: Order::Mixture { epoch, sources },
            ..SamplerConfig::default()
        };
        Sampler::new(20, config).map(|_| ())
    };
    assert_eq!(
        make(20).unwrap_err().to_string(),
        "the weight of a source is 0.01, of which an epoch has no whole sample: it needs more samples, or the source a larger share"
    );
    assert!(make(200).is_ok());
}

#[test]
fn settings_of_samplers_are_checked() {
    let make = |samples, config| Sampler::new(samples, config).map(|_| ());
    let config = SamplerConfig::default;
    assert!(
        make(
            10,
            SamplerConfig {
                batch: 0,
                ..config()
            }
        )
        .is_err()
    );
    assert!(make(0, config()).is_err());
    assert!(
        make(
            10,
            SamplerConfig {
                drop_last: true,
                ..config()
            }
        )
        .is_err()
    );
    for (samples, weight) in [(9, 1.0), (10, 0.0), (10, f64::NAN), (10, -1.0)] {
        let sources = vec![Share {
            samples: 10,
            weight,
        }];
        let order = Order::Mixture { epoch: 5, sources };
        assert!(
            make(samples, SamplerConfig { order, ..config() }).is_err(),
            "{samples} {weight}"
        );
    }
    let mut own = sampler(10, 4, Order::Shuffled, false);
    let error = own
        .resume(Position {
            seed: 12,
            ..own.position()
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the position cannot be taken up: the seed is 12 instead of 11"
    );
    assert!(
        own.resume(Position {
            taken: 11,
            ..own.position()
        })
        .is_err()
    );
    assert!(
        own.resume(Position {
            of: 9,
            ..own.position()
        })
        .is_err()
    );
}

#[test]
fn the_order_of_batches_does_not_depend_on_threads() {
    let dataset: Arc<dyn Dataset> = Arc::new(numbered(23));
    let run = |threads, ahead| {
        let config = LoaderConfig { threads, ahead };
        let sampler = sampler(23, 4, Order::Shuffled, false);
        let mut loader = Loader::new(Arc::clone(&dataset), None, sampler, &config);
        let mut batches = Vec::new();
        for _ in 0..15 {
            let batch = loader.next_batch().unwrap();
            batches.push((batch.clone(), loader.position()));
            loader.recycle(batch);
        }
        batches
    };
    let expected = run(0, 1);
    assert_eq!(expected.iter().filter(|(b, _)| b.is_last).count(), 2);
    for (threads, ahead) in [(1, 0), (1, 3), (2, 1), (3, 4)] {
        assert_eq!(run(threads, ahead), expected, "{threads} {ahead}");
    }
}

#[test]
fn a_loader_goes_on_from_where_another_was() {
    let dataset: Arc<dyn Dataset> = Arc::new(numbered(10));
    let config = LoaderConfig {
        threads: 2,
        ahead: 2,
    };
    let loader_of = |sampler| Loader::new(Arc::clone(&dataset), None, sampler, &config);
    for taken in [1, 3, 4] {
        let mut unbroken = loader_of(sampler(10, 3, Order::Shuffled, false));
        (0..taken).for_each(|_| drop(unbroken.next_batch().unwrap()));
        let mut sampler = sampler(10, 3, Order::Shuffled, false);
        sampler.resume(unbroken.position()).unwrap();
        let mut resumed = loader_of(sampler);
        assert_eq!(resumed.position(), unbroken.position());
        for _ in 0..6 {
            assert_eq!(
                resumed.next_batch().unwrap(),
                unbroken.next_batch().unwrap()
            );
        }
    }
}

#[test]
fn errors_and_panics_of_readers_arrive_in_order() {
    let fields = vec![Field::new("x", Kind::F32, &[])];
    let dataset = MadeDataset::new(fields, 6, |index, _| match index {
        1 => Err("broken".into()),
        4 => panic!("a closure that panics on purpose"),
        _ => Ok(()),
    });
    let sampler = sampler(6, 1, Order::Sequential, false);
    let config = LoaderConfig {
        threads: 1,
        ahead: 2,
    };
    let mut loader = Loader::new(Arc::new(dataset), None, sampler, &config);
    let found: Vec<String> = (0..6)
        .map(|_| {
            loader
                .next_batch()
                .map_or_else(|e| e.to_string(), |b| b.indices[0].to_string())
        })
        .collect();
    let ended = "the thread that reads samples has ended unexpectedly";
    assert_eq!(found, ["0", "sample 1: broken", "2", "3", ended, ended]);
}

proptest! {
    #[test]
    fn an_epoch_holds_each_sample_once_and_resumes_anywhere(
        samples in 1usize..40, batch in 1usize..12, skip in 0usize..60, shuffled: bool,
    ) {
        let order = || if shuffled { Order::Shuffled } else { Order::Sequential };
        let mut unbroken = sampler(samples, batch, order(), false);
        let mut epoch = Vec::new();
        loop {
            let plan = unbroken.next_batch();
            prop_assert_eq!(plan.start, epoch.len());
            epoch.extend(plan.indices);
            if plan.is_last {
                break;
            }
        }
        epoch.sort_unstable();
        prop_assert!(epoch.into_iter().eq(0..samples));
        for _ in 0..skip {
            unbroken.next_batch();
        }
        let mut resumed = sampler(samples, batch, order(), false);
        resumed.resume(unbroken.position()).unwrap();
        for _ in 0..5 {
            prop_assert_eq!(resumed.next_batch(), unbroken.next_batch());
        }
    }

    #[test]
    fn a_dropped_rest_is_of_other_samples_each_time(samples in 4usize..40, batch in 1usize..4) {
        let mut sampler = sampler(samples, batch, Order::Shuffled, true);
        for _ in 0..3 * (samples / batch) {
            let plan = sampler.next_batch();
            prop_assert_eq!(plan.indices.len(), batch);
        }
        prop_assert_eq!(sampler.position().epoch, 2);
    }
}
