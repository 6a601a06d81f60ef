//! `usher tenant param …`: defaults, overrides and blocks for the parameters of `create` and `join`.
//!
//! Rules never touch what a call is about: the meeting's id and the checksum cannot have one.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::context::Context;
use super::outcome::CliError;
use super::output::{Report, Table, count};
use super::tenant::save;
use crate::store::{ParamCall, ParamKind, ParamRule};

/// Parameters that identify or prove a call; a rule for them would break every call.
const UNTOUCHABLE: [&str; 2] = ["meetingID", "checksum"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CallName {
    Create,
    Join,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindName {
    /// Used when the caller gives none
    Default,
    /// Replaces what the caller gives
    Override,
    /// Drops what the caller gives
    Block,
}

#[derive(Subcommand)]
pub enum ParamCommand {
    /// Set the rule for one parameter
    Set {
        tenant: String,
        /// Parameter name, or NAME=VALUE; a block may end in `*` for a whole family, such as `userdata-*`
        param: String,
        /// Value; none for --kind block
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
        #[arg(long, value_enum, default_value_t = CallName::Create)]
        call: CallName,
        #[arg(long, value_enum, default_value_t = KindName::Default)]
        kind: KindName,
    },
    /// Remove the rules for one parameter, those of one call or kind only if named
    Unset {
        tenant: String,
        param: String,
        #[arg(long, value_enum)]
        call: Option<CallName>,
        #[arg(long, value_enum)]
        kind: Option<KindName>,
    },
    /// List the rules of a tenant
    List { tenant: String },
}

pub async fn run(context: &Context, command: ParamCommand) -> Result<Report, CliError> {
    match command {
        ParamCommand::Set { tenant, param, value, call, kind } => {
            let rule = checked_rule(call.into(), kind.into(), &param, value)?;
            let mut record = context.tenant(&tenant).await?;
            let text = format!("{} {} of tenant {tenant}: {}", call_word(rule.call), rule.name, in_words(&rule));
            put(&mut record.params, rule);
            save(context, record, text).await
        }
        ParamCommand::Unset { tenant, param, call, kind } => unset(context, &tenant, &param, call, kind).await,
        ParamCommand::List { tenant } => Ok(list(&tenant, &context.tenant(&tenant).await?.params)),
    }
}

/// A rule as `set` and `apply` accept it; a missing value is taken from `NAME=VALUE`.
pub fn checked_rule(
    call: ParamCall,
    kind: ParamKind,
    param: &str,
    value: Option<String>,
) -> Result<ParamRule, CliError> {
    let (name, value) = match (value, param.split_once('=')) {
        (None, Some((name, value))) => (name, Some(value.to_string())),
        (value, _) => (param, value),
    };
    let good = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    // Only a block may name a whole family, such as `userdata-*`.
    let letters = if kind == ParamKind::Block { name.strip_suffix('*').unwrap_or(name) } else { name };
    if letters.is_empty() || name.len() > 128 || !letters.chars().all(good) {
        return Err(CliError::Usage(format!(
            "`{name}` is not a parameter name; write it as the BBB API does, for example maxParticipants"
        )));
    }
    if UNTOUCHABLE.contains(&name) {
        return Err(CliError::Usage(format!("`{name}` says what a call is about and cannot have a rule")));
    }
    match (kind, value) {
        (ParamKind::Block, None) => Ok(ParamRule { call, kind, name: name.into(), value: String::new() }),
        (ParamKind::Block, Some(value)) if value.is_empty() => Ok(ParamRule { call, kind, name: name.into(), value }),
        (ParamKind::Block, Some(_)) => {
            Err(CliError::Usage(format!("a block of `{name}` has no value; leave it out, or use --kind override")))
        }
        (_, None) => Err(CliError::Usage(format!("`{name}` needs a value; add it after the name"))),
        (_, Some(value)) => Ok(ParamRule { call, kind, name: name.into(), value }),
    }
}

/// Replaces the rule of the same call, kind and name, or adds it.
fn put(rules: &mut Vec<ParamRule>, rule: ParamRule) {
    rules.retain(|known| (known.call, known.kind, &known.name) != (rule.call, rule.kind, &rule.name));
    rules.push(rule);
    rules.sort_by(|a, b| (a.call, &a.name, a.kind).cmp(&(b.call, &b.name, b.kind)));
}

async fn unset(
    context: &Context,
    tenant: &str,
    param: &str,
    call: Option<CallName>,
    kind: Option<KindName>,
) -> Result<Report, CliError> {
    let mut record = context.tenant(tenant).await?;
    let before = record.params.len();
    record.params.retain(|rule| {
        let is_meant = rule.name == param
            && call.is_none_or(|call| ParamCall::from(call) == rule.call)
            && kind.is_none_or(|kind| ParamKind::from(kind) == rule.kind);
        !is_meant
    });
    let removed = (before - record.params.len()) as u64;
    if removed == 0 {
        return Err(CliError::Failed(format!(
            "tenant {tenant} has no such rule for `{param}`; `usher tenant param list {tenant}` shows them"
        )));
    }
    save(context, record, format!("{} for {param} of tenant {tenant} removed", count(removed, "rule"))).await
}

fn list(tenant: &str, rules: &[ParamRule]) -> Report {
    let mut table = Table::new(&["CALL", "PARAMETER", "KIND", "VALUE"]);
    for rule in rules {
        table.row(vec![
            call_word(rule.call).into(),
            rule.name.clone(),
            kind_word(rule.kind).into(),
            rule.value.clone(),
        ]);
    }
    let rows: Vec<Value> = rules.iter().map(rule_json).collect();
    Report::new(table.or(&format!("tenant {tenant} has no rules")), Value::Array(rows))
}

/// Stable keys `call`, `kind`, `name`, `value`.
pub fn rule_json(rule: &ParamRule) -> Value {
    json!({ "call": call_word(rule.call), "kind": kind_word(rule.kind), "name": rule.name, "value": rule.value })
}

/// `override = true`, `blocked`, …
pub fn in_words(rule: &ParamRule) -> String {
    match rule.kind {
        ParamKind::Block => "blocked".into(),
        kind => format!("{} = {}", kind_word(kind), rule.value),
    }
}

pub fn call_word(call: ParamCall) -> &'static str {
    match call {
        ParamCall::Create => "create",
        ParamCall::Join => "join",
    }
}

fn kind_word(kind: ParamKind) -> &'static str {
    match kind {
        ParamKind::Default => "default",
        ParamKind::Override => "override",
        ParamKind::Block => "block",
    }
}

impl From<CallName> for ParamCall {
    fn from(name: CallName) -> Self {
        match name {
            CallName::Create => Self::Create,
            CallName::Join => Self::Join,
        }
    }
}

impl From<KindName> for ParamKind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Default => Self::Default,
            KindName::Override => Self::Override,
            KindName::Block => Self::Block,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule(kind: ParamKind, param: &str, value: Option<&str>) -> Result<ParamRule, CliError> {
        checked_rule(ParamCall::Create, kind, param, value.map(Into::into))
    }

    #[test]
    fn both_spellings_give_the_same_rule() {
        let apart = rule(ParamKind::Override, "record", Some("false")).unwrap();
        assert_eq!(apart, rule(ParamKind::Override, "record=false", None).unwrap());
        assert_eq!((apart.name.as_str(), apart.value.as_str()), ("record", "false"));
        assert_eq!(rule(ParamKind::Default, "welcome=a=b", None).unwrap().value, "a=b");
    }

    #[test]
    fn rules_that_make_no_sense_are_wrong_usage() {
        for (kind, param, value) in [
            (ParamKind::Default, "record", None),
            (ParamKind::Block, "record", Some("true")),
            (ParamKind::Override, "meetingID", Some("x")),
            (ParamKind::Block, "checksum", None),
            (ParamKind::Default, "a b", Some("x")),
            (ParamKind::Override, "userdata-*", Some("x")),
            (ParamKind::Block, "*", None),
            (ParamKind::Block, "user*data", None),
        ] {
            assert!(matches!(rule(kind, param, value), Err(CliError::Usage(_))), "{param}");
        }
    }

    #[test]
    fn a_second_rule_of_the_same_kind_replaces_the_first() {
        let mut rules = vec![rule(ParamKind::Default, "duration", Some("60")).unwrap()];
        put(&mut rules, rule(ParamKind::Default, "duration", Some("90")).unwrap());
        put(&mut rules, rule(ParamKind::Block, "logo", None).unwrap());
        let values: Vec<&str> = rules.iter().map(|rule| rule.value.as_str()).collect();
        assert_eq!(values, ["90", ""]);
    }
}
