use super::*;
use crate::optimizer::{Adam, AdamConfig, Optimizer, ParameterInfo, Plan, StepSettings};
use proptest::prelude::*;
use std::fs;

fn checkpoint() -> Checkpoint {
    let plan = Plan::new(
        vec![
            ParameterInfo::new("a/b", &[3]),
            ParameterInfo::new("c", &[2, 2]),
        ],
        &[],
    )
    .unwrap();
    let mut adam = Adam::new(plan, AdamConfig::default()).unwrap();
    adam.begin_step(StepSettings::new(0.1)).unwrap();
    let mut w = vec![1.0f32, f32::NAN, -0.0];
    adam.update(0, &mut w, &[0.1, 0.2, -0.3]).unwrap();
    let mut checkpoint = Checkpoint {
        step: u64::MAX,
        optimizer: adam.state(),
        sampler: Position {
            seed: u64::MAX,
            epoch: 3,
            taken: 64,
            of: 100,
        },
        stopping: Some(StoppingState {
            best: Some(BestValue {
                step: 7,
                value: f64::NEG_INFINITY,
            }),
            waited: 2,
        }),
        ..Checkpoint::default()
    };
    let tensor = Tensor::vector(w);
    checkpoint.weights.insert("a/b".into(), tensor.clone());
    checkpoint
        .weights
        .insert("count".into(), Tensor::scalar(5i64));
    checkpoint.ema = Some(EmaState {
        updates: [("a/b".to_owned(), 9)].into(),
        averages: [("a/b".to_owned(), tensor.clone())].into(),
    });
    checkpoint.best = Some(BestWeights {
        at: BestValue {
            step: 7,
            value: 0.1 + 0.2,
        },
        weights: [("a/b".to_owned(), tensor)].into(),
    });
    checkpoint.seeds.insert("augment".into(), 12);
    checkpoint
        .notes
        .insert("recipe".into(), "epochs = \"ü\"\n".into());
    checkpoint
}

fn written(checkpoint: &Checkpoint) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    checkpoint.write(&path).unwrap();
    fs::read(path).unwrap()
}

fn read(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.checkpoint");
    fs::write(&path, bytes).unwrap();
    Checkpoint::read(path)
}

#[test]
fn what_is_read_back_is_what_was_written() {
    let expected = checkpoint();
    let bytes = written(&expected);
    let found = read(&bytes).unwrap();
    // Every part is in the bytes, which are the same for the same contents.
    assert_eq!(written(&found), bytes);
    assert_eq!(
        (found.step, found.sampler, found.stopping),
        (expected.step, expected.sampler, expected.stopping)
    );
    assert_eq!(
        (&found.seeds, &found.notes),
        (&expected.seeds, &expected.notes)
    );
    assert_eq!(found.best.unwrap().at, expected.best.unwrap().at);
    assert_eq!(found.optimizer.updates["a/b"], 1);
    assert_eq!(
        found.optimizer.slots["mean"]["a/b"].bytes(),
        expected.optimizer.slots["mean"]["a/b"].bytes()
    );
    assert_eq!(
        found.ema.unwrap().averages["a/b"].bytes(),
        expected.weights["a/b"].bytes()
    );
    assert_eq!(found.weights["count"].as_slice::<i64>().unwrap(), [5]);
}

#[test]
fn files_of_other_kinds_are_told_apart() {
    let message = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(message(b"").contains("not a valid safetensors file"));
    let foreign = |metadata: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let mut contents = Contents::default();
        contents
            .tensors
            .insert("w".into(), Tensor::vector(vec![1.0f32]));
        contents
            .metadata
            .extend(metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())));
        safetensors::write(&path, &contents).unwrap();
        fs::read(path).unwrap()
    };
    assert!(message(&foreign(&[])).ends_with("not a checkpoint: its state is missing"));
    assert!(message(&foreign(&[(STATE_KEY, "{}")])).ends_with("its checksum is missing"));
    let later = [
        (STATE_KEY, r#"{"version":2,"more":[]}"#),
        (CHECKSUM_KEY, ""),
    ];
    assert!(
        message(&foreign(&later))
            .ends_with("a checkpoint of version 2, this program reads version 1")
    );
    let unread = [(STATE_KEY, r#"{"version":"#), (CHECKSUM_KEY, "")];
    assert!(message(&foreign(&unread)).contains("EOF"));
    // A right checksum over the wrong contents.
    let w: BTreeMap<String, Tensor> = [("w".to_owned(), Tensor::vector(vec![1.0f32]))].into();
    let state = serde_json::to_string(&State {
        version: VERSION,
        step: 0,
        optimizer: String::new(),
        updates: BTreeMap::new(),
        averaged: None,
        sampler: Position::default(),
        seeds: BTreeMap::new(),
        stopping: None,
        best: None,
        notes: BTreeMap::new(),
    })
    .unwrap();
    let checksum = checksum::of(&state, &w);
    let bytes = foreign(&[(STATE_KEY, &state), (CHECKSUM_KEY, &checksum)]);
    assert!(message(&bytes).ends_with("tensor `w` belongs to no part of a checkpoint"));
}

#[test]
fn a_cut_file_is_an_error_at_every_length() {
    let bytes = written(&checkpoint());
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_failed_write_leaves_the_old_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let mut checkpoint = checkpoint();
    checkpoint.write(&path).unwrap();
    let old = fs::read(&path).unwrap();
    let strings = Tensor::from_strings(&[0], Vec::new()).unwrap();
    checkpoint.weights.insert("text".into(), strings);
    assert!(checkpoint.write(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), old);
}

proptest! {
    #[test]
    fn a_changed_bit_is_an_error_or_changes_nothing(place: prop::sample::Index, bit in 0u8..8) {
        let bytes = written(&checkpoint());
        let mut changed = bytes.clone();
        changed[place.index(bytes.len())] ^= 1 << bit;
        // The header may be spaced otherwise, or its names escaped; what is read must be the same.
        if let Ok(found) = read(&changed) {
            prop_assert_eq!(written(&found), bytes);
        }
    }
}
