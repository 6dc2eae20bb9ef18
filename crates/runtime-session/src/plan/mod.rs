//! From a graph to a plan: [`select`] binds nodes to steps, [`layout`] decides where images have their channels last,
//! [`draft`] keeps the result, [`lower`] makes the plan for one set of input shapes.
//!
//! ```text
//! Graph --select, layout--> Draft (steps over graph values) --lower + known values--> Plan (steps over slots)
//! ```
//! A draft is made once per model (and once per set of tapped values); a plan once per set of input shapes. Plans
//! share the steps of their draft, and with them the packed weights.

mod cache;
mod draft;
mod fold;
mod fused;
mod layout;
mod lower;
mod select;
mod specialize;

pub(crate) use cache::{PlanCache, ShapeKey};
pub(crate) use draft::{Draft, DraftStep, Tapped};
pub(crate) use fold::Constants;
pub(crate) use fused::{Fused, macs_by_row};
pub(crate) use layout::{FROM_LAST, Layouts, TO_LAST};
pub(crate) use lower::{Operand, Plan, PlannedStep};
pub(crate) use select::{Bound, Scope, Selector, Weight};
pub(crate) use specialize::ShapeGraph;
