use super::*;
use proptest::prelude::*;

const FORMATS: [LogFormat; 2] = [LogFormat::Csv, LogFormat::JsonLines];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn rows_stand_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [[Some(0.5), None], [Some(f64::NAN), Some(1e-300)]];
    for (format, expected) in FORMATS.into_iter().zip([
        "step,loss,\"a,\"\"b\"\"\"\n1,0.5,\n2,NaN,1e-300\n",
        "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":\"NaN\",\"a,\\\"b\\\"\":1e-300}\n",
    ]) {
        let path = dir.path().join("log");
        let mut log = Log::create(&path, format, &["loss", "a,\"b\""]).unwrap();
        for (row, step) in rows.iter().zip(1..) {
            log.append(step, row).unwrap();
        }
        assert_eq!(read(&path), expected);
        let back = log.rows().unwrap();
        assert_eq!(
            back[0],
            Row {
                step: 1,
                values: rows[0].to_vec()
            }
        );
        assert!(back[1].values[0].unwrap().is_nan() && back[1].values[1] == Some(1e-300));
    }
}

#[test]
fn a_resumed_log_is_that_of_an_unbroken_run() {
    let dir = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
        let value = |step: u64| Some(1.0 / step as f64);
        let mut log = Log::create(&whole, format, &["loss"]).unwrap();
        (1..=6).for_each(|step| log.append(step, &[value(step)]).unwrap());
        let mut log = Log::create(&broken, format, &["loss"]).unwrap();
        (1..=4).for_each(|step| log.append(step, &[value(step)]).unwrap());
        drop(log);
        // Killed within a row.
        let mut text = read(&broken);
        text.push_str("{\"step\":5,");
        fs::write(&broken, text).unwrap();
        let mut log = Log::resume(&broken, format, &["loss"], 3).unwrap();
        (4..=6).for_each(|step| log.append(step, &[value(step)]).unwrap());
        assert_eq!(read(&broken), read(&whole));
    }
}

#[test]
fn a_log_that_is_not_there_is_begun() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.csv");
    let log = Log::resume(&path, LogFormat::Csv, &["loss"], 7).unwrap();
    assert_eq!(
        (log.rows().unwrap().len(), read(&path).as_str()),
        (0, "step,loss\n")
    );
}

#[test]
fn other_files_are_refused_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, "step,accuracy\n1,0.5\n").unwrap();
    let error = Log::resume(&path, LogFormat::Csv, &["loss"], 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("the columns are `step,accuracy` instead of [\"loss\"]"),
        "{error}"
    );
    let error = Log::resume(&path, LogFormat::Csv, &["accuracy"], 1)
        .unwrap()
        .append(2, &[])
        .unwrap_err();
    assert_eq!(error.to_string(), "there are 0 values for 1 columns");
    fs::write(&path, "step,loss\n1,0.5\n2,x\n").unwrap();
    let error = Log::resume(&path, LogFormat::Csv, &["loss"], 1)
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("line 3 is no row of this log"), "{error}");
    assert_eq!(read(&path), "step,loss\n1,0.5\n2,x\n");
    for text in [
        "[]\n",
        "{\"step\":1,\"other\":2}\n",
        "{\"loss\":1}\n",
        "{\"step\":1,\"loss\":null}\n",
    ] {
        fs::write(&path, text).unwrap();
        assert!(
            Log::resume(&path, LogFormat::JsonLines, &["loss"], 1).is_err(),
            "{text}"
        );
    }
    for columns in [&["step"][..], &["a", "a"], &[""], &["a\nb"]] {
        assert!(matches!(
            Log::create(&path, LogFormat::Csv, columns),
            Err(LogError::Column { .. })
        ));
    }
}

proptest! {
    #[test]
    fn any_text_gives_rows_or_an_error(text in "[0-9a-z,.\\-{}\":\n]{0,60}") {
        for format in FORMATS {
            let _ = parse(Path::new("log"), format, &["loss".into()], &text);
        }
    }

    #[test]
    fn numbers_read_back_to_the_same_bits(value: f64, step: u64) {
        prop_assume!(!value.is_nan());
        let columns = ["x".to_owned()];
        let row = Row { step, values: vec![Some(value)] };
        let found = csv::parse(csv::line(&row).trim_end(), 1).unwrap();
        prop_assert_eq!(found.values[0].unwrap().to_bits(), value.to_bits());
        let found = json::parse(&json::line(&columns, &row), &columns).unwrap();
        prop_assert_eq!(found.step, step);
        prop_assert_eq!(found.values[0].unwrap().to_bits(), value.to_bits());
    }
}
