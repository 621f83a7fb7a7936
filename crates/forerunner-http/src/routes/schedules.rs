//! The calls on schedules.

use actix_web::web;
use forerunner_core::{ScheduleDefinition, ScheduleName};
use forerunner_service::auth::Permission;
use forerunner_service::{SchedulePatch, ScheduleStatus};

use crate::{
    call::Call,
    openapi::{
        Op, of,
        parts::{BODY, STORE, with_cursor},
    },
    problems::{
        BYTES_FULL, CONTEXTS_FULL, INVALID_VALUE, NO_POOL, NO_SCHEDULE, OUTCOME_UNKNOWN, QUEUE_FULL, SCHEDULE_CONFLICT,
        SCHEDULES_FULL,
    },
    schedules,
    views::{SchedulesView, TaskView},
};

/// Read and change schedules.
pub(super) const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/v1/schedules",
        summary: "list schedules",
        needs: Permission::ReadDecisions,
        handler: || web::to(schedules::list),
        operation: Some(|| {
            let op = with_cursor(Op::new("listSchedules", "Pages of schedules with large inputs are shorter."));
            op.answers::<SchedulesView>(200, "A page, by name.").refuses(STORE)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/schedules",
        summary: "make a schedule",
        needs: Permission::Operate,
        handler: || web::to(schedules::create),
        operation: Some(|| {
            let about = "Submits a task at each of its times, once on any number of nodes. One of `cron`, `every` and `at` \
                         says when.";
            let op = Op::new("createSchedule", about)
                .body::<ScheduleDefinition>("The schedule.")
                .answers::<ScheduleStatus>(201, "The schedule.");
            op.refuses(BODY).refuses(&[INVALID_VALUE, NO_POOL, SCHEDULE_CONFLICT, SCHEDULES_FULL]).refuses(STORE)
        }),
    },
    Call {
        method: "GET",
        path: "/v1/schedules/{schedule}",
        summary: "show a schedule",
        needs: Permission::ReadDecisions,
        handler: || web::to(schedules::show),
        operation: Some(|| of_schedule(Op::new("getSchedule", "").answers::<ScheduleStatus>(200, "The schedule."))),
    },
    Call {
        method: "PATCH",
        path: "/v1/schedules/{schedule}",
        summary: "change a schedule",
        needs: Permission::Operate,
        handler: || web::to(schedules::update),
        operation: Some(|| {
            let about = "Each field that is given replaces the one that is stored; `null` sets it back. One of `cron`, \
                         `every` and `at` body the place of the others.";
            let op = Op::new("changeSchedule", about)
                .body::<SchedulePatch>("What to change. Absent members stay as they are.")
                .answers::<ScheduleStatus>(200, "The schedule.");
            of_schedule(op).refuses(BODY).refuses(&[NO_POOL, SCHEDULE_CONFLICT])
        }),
    },
    Call {
        method: "DELETE",
        path: "/v1/schedules/{schedule}",
        summary: "remove a schedule",
        needs: Permission::Operate,
        handler: || web::to(schedules::delete),
        operation: Some(|| {
            let op = Op::new("deleteSchedule", "Tasks that it submitted continue.")
                .answers_nothing(204, "The schedule is deleted.");
            of_schedule(op).refuses(&[SCHEDULE_CONFLICT])
        }),
    },
    Call {
        method: "POST",
        path: "/v1/schedules/{schedule}:pause",
        summary: "stop submitting tasks of a schedule",
        needs: Permission::Operate,
        handler: || web::to(schedules::pause),
        operation: Some(|| steer(Op::new("pauseSchedule", "Occurrences within the pause are skipped."))),
    },
    Call {
        method: "POST",
        path: "/v1/schedules/{schedule}:resume",
        summary: "submit tasks of a schedule again",
        needs: Permission::Operate,
        handler: || web::to(schedules::resume),
        operation: Some(|| steer(Op::new("resumeSchedule", ""))),
    },
    Call {
        method: "POST",
        path: "/v1/schedules/{schedule}:run",
        summary: "submit a task of a schedule now",
        needs: Permission::Operate,
        handler: || web::to(schedules::run),
        operation: Some(|| {
            let about = "It does so even if the schedule is paused or a task of it runs. Its times stay as they are.";
            let op = Op::new("runSchedule", about).answers::<TaskView<'_>>(202, "The task.");
            let op = of_schedule(op).refuses(&[NO_POOL, SCHEDULE_CONFLICT, OUTCOME_UNKNOWN]);
            op.refuses(&[QUEUE_FULL, BYTES_FULL, CONTEXTS_FULL])
        }),
    },
];

fn of_schedule(op: Op) -> Op {
    op.path("schedule", of::<ScheduleName>(), "The schedule.").refuses(&[INVALID_VALUE, NO_SCHEDULE]).refuses(STORE)
}

fn steer(op: Op) -> Op {
    of_schedule(op.answers::<ScheduleStatus>(200, "The schedule.")).refuses(&[NO_POOL, SCHEDULE_CONFLICT])
}
