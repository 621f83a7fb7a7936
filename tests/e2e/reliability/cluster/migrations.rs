//! F3: the program is killed while it makes the schema.

use std::time::Duration;

use forerunner_e2e::{PgServer, Pool, Seeded, Site, count, eventually, holds};
use serde_json::json;

use super::rig::SOON;

#[actix_rt::test]
async fn a_migration_that_is_killed_leaves_all_or_nothing() {
    let kills = count(6, 100);
    let server = PgServer::start(false);
    let mut chance = Seeded::new(0xf3);
    let mut whole = 0;
    for kill in 0..kills {
        let url = server.database();
        let site = Site::new();
        let run = site.program().run(["migrate", "--store", &url]);
        // Dropping a run kills it.
        let ended = tokio::time::timeout(Duration::from_micros(chance.below(400_000)), run).await.is_ok();
        let database = format!("case{kill}");
        eventually("the server has heard of its end", SOON, async || {
            let others =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
            holds(server.sql(&database, others) == "0")
        })
        .await;
        let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
        let tables: u32 = server.sql(&database, tables).parse().expect("a number");
        let noted = server.sql(&database, "SELECT to_regclass('meta') IS NOT NULL") == "t";
        assert_eq!(tables > 0, noted, "the version is there if, and only if, the tables are: {tables}");
        assert!(noted || !ended, "a migration that ended is there");
        whole += u64::from(noted);
        let _ = site.program().run(["migrate", "--store", &url]).await.ended(0);
        if kill == 0 {
            let site = site.with("log.level = \"error\"", &[Pool::builtin("work").fixed(1)]);
            let service = site.serve_on(&url).await;
            let task = service.client().submit("work", json!({ "service_s": 0 })).await;
            assert_eq!(service.client().ended(&task).await["state"], "succeeded");
            assert_eq!(service.stop(SOON).await, 0);
        }
    }
    println!(
        "F3: {kills} kills, {whole} after the commit; each database was whole or empty, and was finished by the next run"
    );
}
