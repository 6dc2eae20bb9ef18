//! One test at a time on a thread of its own: a panic, a long run or a huge file costs that test only.

use modelpress::ir::backend_tests::{Case, Failure, Runtime, operator_under_test};
use modelpress::ir::eval::Evaluator;
use modelpress::ir::operator::Limits;
use modelpress::ir::{Model, Value};
use modelpress::session::{Session, SessionOptions};
use serde::Serialize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Bytes of the stack that a test runs on.
const STACK: usize = 64 << 20;
/// Bytes of any one result.
const TENSOR_BYTES: usize = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Passed = 0,
    Failed = 1,
    Skipped = 2,
}

pub(super) struct Judged {
    pub(super) operator: String,
    pub(super) status: Status,
    pub(super) reason: Option<String>,
}

/// What the tests run in, and within what bounds.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) options: SessionOptions,
    pub(super) reference: bool,
    /// Only tests of this operator.
    pub(super) operator: Option<String>,
    pub(super) time: Duration,
    pub(super) file_bytes: u64,
}

pub(super) struct Guard {
    rules: Rules,
    worker: Option<Worker>,
}

struct Worker {
    cases: Sender<Case>,
    judged: Receiver<Option<Judged>>,
}

impl Guard {
    pub(super) fn new(rules: Rules) -> Self {
        // A panic is one failed test and is reported as such.
        std::panic::set_hook(Box::new(|_| {}));
        Self {
            rules,
            worker: None,
        }
    }

    /// Runs a test; `None` for a test of another operator than the one asked for.
    pub(super) fn judge(&mut self, case: Case) -> Option<Judged> {
        let failed = |reason: String| {
            Some(Judged {
                operator: "(not judged)".to_owned(),
                status: Status::Failed,
                reason: Some(reason),
            })
        };
        let file = case.folder.join("model.onnx");
        let bytes = std::fs::metadata(&file).map_or(0, |m| m.len());
        if bytes > self.rules.file_bytes || !case.folder.join("test_data_set_0").is_dir() {
            let reason = match bytes > self.rules.file_bytes {
                true => format!("the model file has {bytes} bytes"),
                false => "there is no test_data_set_0".to_owned(),
            };
            return Some(Judged {
                operator: "(not judged)".to_owned(),
                status: Status::Skipped,
                reason: Some(reason),
            });
        }
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => match Worker::start(self.rules.clone()) {
                Ok(worker) => worker,
                Err(e) => return failed(format!("no thread: {e}")),
            },
        };
        if worker.cases.send(case).is_err() {
            return failed("the thread ended".to_owned());
        }
        match worker.judged.recv_timeout(self.rules.time) {
            Ok(judged) => {
                self.worker = Some(worker);
                judged
            }
            // The thread is left behind; it ends with the program.
            Err(RecvTimeoutError::Timeout) => failed(format!(
                "still running after {} s",
                self.rules.time.as_secs()
            )),
            Err(RecvTimeoutError::Disconnected) => failed("the thread ended".to_owned()),
        }
    }
}

impl Worker {
    fn start(rules: Rules) -> std::io::Result<Self> {
        let (cases, inbox) = channel::<Case>();
        let (outbox, judged) = channel();
        let work = move || {
            for case in inbox {
                if outbox.send(run(&case, &rules)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().stack_size(STACK);
        thread.spawn(work)?;
        Ok(Self { cases, judged })
    }
}

fn run(case: &Case, rules: &Rules) -> Option<Judged> {
    let model = case.model();
    let operator = match &model {
        Ok(model) => operator_under_test(model),
        Err(_) => "(not loaded)".to_owned(),
    };
    if rules.operator.as_ref().is_some_and(|op| *op != operator) {
        return None;
    }
    let limits = Limits::default().with_max_tensor_bytes(TENSOR_BYTES);
    let result = match (model, rules.reference) {
        (Ok(model), true) => case.run(&model, &InReference(limits)),
        (Ok(model), false) => {
            let options = rules.options.clone().with_limits(limits);
            case.run(&model, &InSession(options))
        }
        (Err(failure), _) => Err(failure),
    };
    let (status, reason) = match result {
        Ok(()) => (Status::Passed, None),
        Err(failure) => (Status::Failed, Some(one_line(&failure))),
    };
    Some(Judged {
        operator,
        status,
        reason,
    })
}

fn one_line(failure: &Failure) -> String {
    failure.to_string().lines().collect::<Vec<_>>().join("; ")
}

/// The session.
struct InSession(SessionOptions);

impl Runtime for InSession {
    fn run(&self, model: &Model, inputs: Vec<(String, Value)>) -> Result<Vec<Value>, String> {
        let session = Session::new(model.clone(), &self.0).map_err(|e| e.to_string())?;
        let inputs = inputs.iter().map(|(n, v)| (n.as_str(), v.clone()));
        session.run_values(inputs).map_err(|e| e.to_string())
    }
}

/// The reference evaluator within limits.
struct InReference(Limits);

impl Runtime for InReference {
    fn run(&self, model: &Model, inputs: Vec<(String, Value)>) -> Result<Vec<Value>, String> {
        let evaluator = Evaluator::new(model).map_err(|e| e.to_string())?;
        let outputs = evaluator.with_limits(self.0).run(inputs);
        outputs.map_err(|e| e.to_string())
    }
}
