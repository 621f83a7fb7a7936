//! The state of a schedule, for those who read it.

use forerunner_core::{LastRun, ScheduleDefinition, TaskId, Timestamp};
use serde::Serialize;

use super::book::Known;

/// Runs that are shown ahead.
const SHOWN: usize = 5;

/// A schedule and its progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScheduleStatus {
    /// What it is.
    #[serde(flatten)]
    pub definition: ScheduleDefinition,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its next tasks are due, jitter included; none if it is paused or over.
    pub next_runs: Vec<Timestamp>,
    /// The last task that it submitted.
    pub last_run: Option<LastRun>,
    /// Tasks that it submitted and that had not ended when it submitted the last one.
    pub active: Vec<TaskId>,
    /// Tasks that it submitted.
    pub fired: u64,
    /// Occurrences that it skipped.
    pub skipped: u64,
    /// Why an occurrence that is due is not submitted, if so; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl ScheduleStatus {
    pub(super) fn new(known: Known, now: Timestamp, problem: Option<String>) -> Self {
        let Known { schedule, state, .. } = known;
        Self {
            next_runs: schedule.upcoming(state.decided, now, Timestamp::MAX, SHOWN),
            definition: schedule.definition().clone(),
            created_at: state.created_at,
            last_run: state.last,
            active: state.active,
            fired: state.fired,
            skipped: state.skipped,
            problem,
        }
    }
}

#[cfg(feature = "openapi")]
mod openapi {
    use forerunner_core::{
        LastRun, ScheduleDefinition, TaskId, Timestamp,
        openapi::members::{nullable, refer, text, whole},
    };
    use utoipa::{
        PartialSchema, ToSchema,
        openapi::{
            RefOr,
            schema::{ArrayBuilder, Schema},
        },
    };

    use super::{super::SchedulePatch, ScheduleStatus};

    impl PartialSchema for ScheduleStatus {
        /// An object with the members of the definition and those of the state.
        fn schema() -> RefOr<Schema> {
            let RefOr::T(Schema::Object(mut object)) = ScheduleDefinition::schema() else {
                unreachable!("a definition is an object");
            };
            let list = |item: utoipa::openapi::Ref, about: &str| {
                RefOr::T(Schema::Array(ArrayBuilder::new().items(item).description(Some(about)).build()))
            };
            object.description = Some("A schedule and its progress.".to_owned());
            let members: [(&str, RefOr<Schema>); 7] = [
                ("created_at", RefOr::Ref(refer::<Timestamp>("When it was made."))),
                (
                    "next_runs",
                    list(
                        refer::<Timestamp>("When a task is due."),
                        "When its next tasks are due, jitter included: 5 at most.",
                    ),
                ),
                ("last_run", RefOr::T(nullable::<LastRun>("The last task that it submitted."))),
                (
                    "active",
                    list(
                        refer::<TaskId>("A task."),
                        "Tasks that it submitted and that had not ended when it submitted the last one.",
                    ),
                ),
                ("fired", RefOr::T(whole("Tasks that it submitted.").into())),
                ("skipped", RefOr::T(whole("Occurrences that it skipped.").into())),
                (
                    "problem",
                    RefOr::T(text("Why an occurrence that is due is not submitted; left out if none is.").into()),
                ),
            ];
            for (name, schema) in members {
                if name != "problem" {
                    object.required.push(name.to_owned());
                }
                object.properties.insert(name.to_owned(), schema);
            }
            RefOr::T(Schema::Object(object))
        }
    }

    impl PartialSchema for SchedulePatch {
        /// The members of the definition but the name, none of which has to be there.
        fn schema() -> RefOr<Schema> {
            let RefOr::T(Schema::Object(mut object)) = ScheduleDefinition::schema() else {
                unreachable!("a definition is an object");
            };
            object.description = Some(
                "What to change. Absent members stay as they are; `null` sets a member back to its default.".to_owned(),
            );
            object.required.clear();
            object.properties.remove("name");
            RefOr::T(Schema::Object(object))
        }
    }

    impl ToSchema for SchedulePatch {
        fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
            ScheduleDefinition::schemas(schemas);
        }
    }

    impl ToSchema for ScheduleStatus {
        fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
            ScheduleDefinition::schemas(schemas);
            LastRun::schemas(schemas);
            schemas.push((LastRun::name().into_owned(), LastRun::schema()));
            schemas.push((Timestamp::name().into_owned(), Timestamp::schema()));
            schemas.push((TaskId::name().into_owned(), TaskId::schema()));
        }
    }
}
