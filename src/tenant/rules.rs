//! A tenant's rules for the parameters of `create` and `join`: block, then override, then default.
//!
//! Names are exact, or end in `*` to block a whole family (`userdata-*`). `meetingID` is never touched: it is the
//! key of the call. Parameters that would set Usher's own metadata are always dropped.

use super::{HIDDEN_META_PREFIX, Tenant};
use crate::bbb::Params;
use crate::store::{ParamCall, ParamKind, ParamRule};

impl Tenant {
    /// Applies the rules for `call` to a caller's parameters.
    pub fn apply_rules(&self, call: ParamCall, params: &mut Params) {
        drop_hidden_meta(params);
        let rules = |kind| self.record.params.iter().filter(move |rule| rule.call == call && rule.kind == kind);
        for rule in rules(ParamKind::Block) {
            params.remove_where(|name| name != "meetingID" && matches(rule, name));
        }
        for rule in rules(ParamKind::Override).filter(|rule| rule.name != "meetingID") {
            params.set(&rule.name, &rule.value);
        }
        for rule in rules(ParamKind::Default).filter(|rule| rule.name != "meetingID") {
            params.set_default(&rule.name, &rule.value);
        }
    }
}

const META: &str = "meta_";

/// Removes `meta_usher-…`, in any case, from a caller's parameters.
pub fn drop_hidden_meta(params: &mut Params) {
    params.remove_where(|name| {
        let starts_with = |text: &[u8], start: &str| {
            text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start.as_bytes()))
        };
        let name = name.as_bytes();
        starts_with(name, META) && starts_with(&name[META.len()..], HIDDEN_META_PREFIX)
    });
}

fn matches(rule: &ParamRule, name: &str) -> bool {
    match rule.name.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => rule.name == name,
    }
}
