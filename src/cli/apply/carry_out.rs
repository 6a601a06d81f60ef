//! Writes a plan to the store, action by action.
//!
//! The store has no transaction over several rows of different kinds, and names, hosts and the default are unique: a
//! host that moves from one tenant to another is free only after the first was written. Actions that meet a conflict
//! are tried again after the others, as long as that helps. Running `apply` again completes one that broke off.

use super::super::context::Context;
use super::super::outcome::CliError;
use super::plan::{Action, Plan, Write};
use crate::store::StoreError;

pub async fn run(context: &Context, plan: &Plan, force: bool) -> Result<(), CliError> {
    let mut waiting: Vec<&Action> = plan.actions.iter().collect();
    while !waiting.is_empty() {
        let mut conflicts: Vec<&Action> = Vec::new();
        let mut last = None;
        for action in &waiting {
            match write(context, &action.write, force).await {
                Ok(()) => {}
                Err(StoreError::Conflict(text)) => {
                    conflicts.push(action);
                    last = Some(StoreError::Conflict(format!("{}: {text}", action.subject())));
                }
                Err(error) => return Err(CliError::from(error)),
            }
        }
        if let Some(error) = last.filter(|_| conflicts.len() == waiting.len()) {
            return Err(CliError::from(error));
        }
        waiting = conflicts;
    }
    Ok(())
}

async fn write(context: &Context, write: &Write, force: bool) -> Result<(), StoreError> {
    let store = &context.store;
    match write {
        Write::AddServer(server) => store.add_server((**server).clone()).await.map(|_| ()),
        Write::ChangeServer { new, .. } => store.update_server((**new).clone()).await,
        Write::RemoveServer(server) => store.remove_server(server.id, force).await.map(|_| ()),
        Write::AddTenant(tenant) => store.add_tenant((**tenant).clone()).await.map(|_| ()),
        Write::ChangeTenant { new, .. } => store.update_tenant((**new).clone()).await.map(|_| ()),
        Write::RemoveTenant(tenant) => store.remove_tenant(tenant.id, force).await.map(|_| ()),
    }
}
