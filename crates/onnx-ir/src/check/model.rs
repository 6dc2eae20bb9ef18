//! The model as a whole: versions, metadata; then its graph and its functions.

use std::collections::HashSet;

use super::scope::Scope;
use super::{Checker, Place, Problem};
use crate::model::OpsetImports;

/// Files before this version had no operator set imports: the default domain's version 1 counts.
const FIRST_IR_WITH_OPSETS: i64 = 3;

impl Checker<'_> {
    pub(super) fn model(&mut self) {
        let model = self.model;
        let newest = self.registry.newest_ir_version();
        if !(1..=newest).contains(&model.ir_version) {
            let found = model.ir_version;
            self.error(Place::default(), Problem::IrVersion { found, newest });
        }
        if model.opsets.iter().next().is_none() && model.ir_version >= FIRST_IR_WITH_OPSETS {
            self.error(Place::default(), Problem::NoOpset);
        }
        if model.opsets.iter().next().is_some() && model.ir_version < FIRST_IR_WITH_OPSETS {
            let ir_version = model.ir_version;
            self.error(Place::default(), Problem::OpsetBeforeItsTime { ir_version });
        }
        self.opsets(&Place::default(), &model.opsets);
        let mut keys = HashSet::new();
        for (key, _) in &model.metadata {
            if !keys.insert(key) {
                let key = key.clone();
                self.error(Place::default(), Problem::DuplicateMetadata { key });
            }
        }
        self.main_graph(&Scope {
            graph: &model.graph,
            around: None,
            function: None,
            opsets: &model.opsets,
            depth: 0,
        });
        self.check_functions();
    }

    /// Each known domain is imported in a version that it has.
    pub(super) fn opsets(&mut self, place: &Place, opsets: &OpsetImports) {
        for (domain, version) in opsets.iter() {
            let Some(newest) = self.registry.newest_opset(domain) else {
                continue;
            };
            if !(1..=newest).contains(&version) {
                let domain = domain.to_owned();
                self.error(
                    place.clone(),
                    Problem::OpsetVersion {
                        domain,
                        version,
                        newest,
                    },
                );
            }
        }
    }
}
