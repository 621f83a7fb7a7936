//! The calls on keys.

use actix_web::web;
use forerunner_core::ApiKeyId;
use forerunner_service::auth::{ApiKeyStatus, NewApiKey, Permission};

use crate::{
    call::Call,
    keys::{self, Rotation},
    openapi::{
        Op, of,
        parts::{BODY, STORE},
    },
    problems::{API_KEY_CONFLICT, API_KEYS_FULL, INVALID_VALUE, NO_API_KEY},
    views::{ApiKeysView, MadeView},
};

/// Make, list, rotate and revoke keys.
pub(super) const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/v1/keys",
        summary: "list keys",
        needs: Permission::Admin,
        handler: || web::to(keys::list),
        operation: Some(|| {
            let about = "Without the keys themselves, which nobody has stored. Those that ended stay for 30 days.";
            Op::new("listKeys", about).answers::<ApiKeysView>(200, "The keys, by name and age.").refuses(STORE)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/keys",
        summary: "make a key",
        needs: Permission::Admin,
        handler: || web::to(keys::create),
        operation: Some(|| {
            let about = "The key is in this answer, and never shown again. All nodes accept it within 10 seconds.";
            let op = Op::new("createKey", about)
                .body::<NewApiKey>("What the key may do.")
                .answers::<MadeView<'_>>(201, "The key.");
            op.refuses(BODY).refuses(&[INVALID_VALUE, API_KEY_CONFLICT, API_KEYS_FULL]).refuses(STORE)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/keys/{key}:rotate",
        summary: "replace a key",
        needs: Permission::Admin,
        handler: || web::to(keys::rotate),
        operation: Some(|| {
            let about = "Makes another key of the same name that may do the same. The old one expires after `overlap`.";
            let op = Op::new("rotateKey", about)
                .body::<Rotation>("How long the old key counts.")
                .answers::<MadeView<'_>>(201, "The new key.");
            of_key(op).refuses(BODY).refuses(&[API_KEYS_FULL])
        }),
    },
    Call {
        method: "POST",
        path: "/v1/keys/{key}:revoke",
        summary: "refuse a key from now on",
        needs: Permission::Admin,
        handler: || web::to(keys::revoke),
        operation: Some(|| {
            let about = "All nodes refuse it within 10 seconds. What it submitted goes on.";
            of_key(Op::new("revokeKey", about).answers::<ApiKeyStatus>(200, "The key."))
        }),
    },
];

fn of_key(op: Op) -> Op {
    let op = op.path("key", of::<ApiKeyId>(), "The id of the key, which a listing shows.");
    op.mentions::<ApiKeyId>().refuses(&[INVALID_VALUE, NO_API_KEY, API_KEY_CONFLICT]).refuses(STORE)
}
