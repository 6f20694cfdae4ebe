//! What has to start and stop so that what runs is what shall run. Plain and synchronous.

use crate::state::Target;
use std::collections::{BTreeMap, BTreeSet};

/// A task by connector and number.
pub(crate) type TaskId = (String, u32);

/// What shall run here of one connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Desired {
    pub(crate) target: Target,
    pub(crate) revision: i64,
    pub(crate) tasks: u32,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ends a task, because it is not wanted here or because a newer revision follows.
    Stop(TaskId),
    /// Begins a task of this revision.
    Start(TaskId, i64),
    /// Records that a connector and its tasks rest in this state.
    Rest(String, Target),
    /// Forgets the statuses of a deleted connector.
    Forget(String),
}

/// Compares. `running` holds the revision of each task's configuration; `resting` what was recorded of connectors at rest.
pub(crate) fn plan(
    desired: &BTreeMap<String, Desired>,
    running: &BTreeMap<TaskId, i64>,
    resting: &BTreeMap<String, Target>,
    known: &BTreeSet<String>,
    exists: impl Fn(&str) -> bool,
) -> Vec<Action> {
    let wanted = |id: &TaskId, revision: i64| {
        desired.get(&id.0).is_some_and(|d| d.target == Target::Running && d.revision == revision && id.1 < d.tasks)
    };
    let mut actions: Vec<Action> = running
        .iter()
        .filter(|(id, revision)| !wanted(id, **revision))
        .map(|(id, _)| Action::Stop(id.clone()))
        .collect();
    for (name, connector) in desired {
        if connector.target == Target::Running {
            for task in 0..connector.tasks {
                let id = (name.clone(), task);
                if running.get(&id) != Some(&connector.revision) {
                    actions.push(Action::Start(id, connector.revision));
                }
            }
        } else if resting.get(name) != Some(&connector.target) {
            actions.push(Action::Rest(name.clone(), connector.target));
        }
    }
    actions.extend(known.iter().filter(|name| !exists(name)).map(|name| Action::Forget(name.clone())));
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(target: Target, revision: i64, tasks: u32) -> BTreeMap<String, Desired> {
        [("a".to_owned(), Desired { target, revision, tasks })].into()
    }

    fn id(task: u32) -> TaskId {
        ("a".to_owned(), task)
    }

    #[test]
    fn starts_replaces_rests_and_forgets() {
        let (none, rests, known) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::from(["a".to_owned()]));
        let there = |_: &str| true;
        assert_eq!(
            plan(&desired(Target::Running, 7, 2), &none, &rests, &known, there),
            [Action::Start(id(0), 7), Action::Start(id(1), 7)]
        );
        let running = BTreeMap::from([(id(0), 7), (id(1), 7)]);
        assert!(plan(&desired(Target::Running, 7, 2), &running, &rests, &known, there).is_empty());
        assert_eq!(
            plan(&desired(Target::Running, 8, 1), &running, &rests, &known, there),
            [Action::Stop(id(0)), Action::Stop(id(1)), Action::Start(id(0), 8)]
        );
        assert_eq!(
            plan(&desired(Target::Paused, 7, 2), &running, &rests, &known, there),
            [Action::Stop(id(0)), Action::Stop(id(1)), Action::Rest("a".into(), Target::Paused)]
        );
        let deleted = plan(&BTreeMap::new(), &running, &rests, &known, |_| false);
        assert_eq!(deleted, [Action::Stop(id(0)), Action::Stop(id(1)), Action::Forget("a".into())]);
    }
}
