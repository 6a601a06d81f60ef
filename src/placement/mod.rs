//! Placement: which server has which meeting, and what each server will have to carry.
//!
//! `Ledger` is the one place that decides (design.md section 1, rule 2): choosing a server and reserving its expected
//! load is one atomic step under one short lock, never held across an await and never touching disk or network.
//! It is the live picture as well: polls, joins, health and the store's rows are told to it, and every hot path asks it.
//! Only `placement` writes placements to the store.

/// Health of a server, independent of the operator's state (interface.md section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HealthPlaceholder {}
