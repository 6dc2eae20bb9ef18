//! A run as a file of trace events, which Perfetto and chrome://tracing open.
//!
//! The format is the "Trace Event Format" of Chrome: complete events (`"ph": "X"`) with start and length in microseconds.

use modelpress::session::TraceEvent;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'a> {
    trace_events: Vec<Event<'a>>,
    display_time_unit: &'static str,
}

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    cat: &'a str,
    ph: &'static str,
    /// Microseconds.
    ts: f64,
    dur: f64,
    pid: u32,
    tid: u32,
    args: Arguments<'a>,
}

#[derive(Serialize)]
struct Arguments<'a> {
    operator: &'a str,
    kernel: &'a str,
    macs: Option<u64>,
    bytes_read: u64,
    bytes_written: u64,
}

/// The file's text: one event per step; steps of a subgraph lie within that of their node.
pub(super) fn json(events: &[TraceEvent]) -> Result<String, serde_json::Error> {
    let event = |event: &'_ TraceEvent| {
        let microseconds = |t: std::time::Duration| t.as_secs_f64() * 1e6;
        (microseconds(event.start), microseconds(event.time))
    };
    let trace_events = events.iter().map(|e| {
        let (ts, dur) = event(e);
        Event {
            name: &e.node,
            cat: e.kernel,
            ph: "X",
            ts,
            dur,
            pid: 1,
            tid: 1,
            args: Arguments {
                operator: &e.op,
                kernel: e.kernel,
                macs: e.macs,
                bytes_read: e.bytes_read,
                bytes_written: e.bytes_written,
            },
        }
    });
    let trace = Trace {
        trace_events: trace_events.collect(),
        display_time_unit: "ns",
    };
    serde_json::to_string(&trace)
}
