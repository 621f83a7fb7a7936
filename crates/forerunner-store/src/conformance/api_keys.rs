use std::{future::Future, sync::Arc};

use forerunner_core::ApiKeyId;
use futures_util::future::join_all;

use crate::{ApiKeyConflict, ApiKeyWrite, Store, StoredApiKey};

fn id(text: &str) -> ApiKeyId {
    ApiKeyId::new(text).unwrap()
}

fn write(text: &str, expected: Option<u64>, revision: u64) -> ApiKeyWrite {
    ApiKeyWrite { id: id(text), expected, next: Some((revision, format!("{{\"made\":\"ü{revision}\"}}"))) }
}

/// Keys are texts under a revision, and ids differ by the case of their letters.
pub async fn a_key_is_made_changed_and_removed_at_its_revision<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let store = open().await;
    let done = async |write| store.write_api_key(write).await.unwrap();
    assert_eq!(store.api_keys().await.unwrap(), []);
    assert_eq!(done(write("bbbbbbbb", None, 10)).await, Ok(()));
    assert_eq!(done(write("BBBBBBBB", None, 20)).await, Ok(()));
    let key = |name: &str, revision| StoredApiKey {
        id: id(name),
        revision,
        definition: format!("{{\"made\":\"ü{revision}\"}}"),
        last_used_day: None,
    };
    assert_eq!(store.api_keys().await.unwrap(), [key("BBBBBBBB", 20), key("bbbbbbbb", 10)]);

    let [exists, changed, gone] = [
        ApiKeyConflict::Exists { id: id("bbbbbbbb") },
        ApiKeyConflict::Changed { id: id("bbbbbbbb") },
        ApiKeyConflict::NotFound { id: id("cccccccc") },
    ];
    assert_eq!(done(write("bbbbbbbb", None, 30)).await, Err(exists));
    assert_eq!(done(write("bbbbbbbb", Some(9), 30)).await, Err(changed.clone()));
    assert_eq!(done(write("cccccccc", Some(9), 30)).await, Err(gone));
    assert_eq!(done(write("bbbbbbbb", Some(10), 11)).await, Ok(()));
    let removal = |expected| ApiKeyWrite { next: None, ..write("bbbbbbbb", Some(expected), 0) };
    assert_eq!(done(removal(10)).await, Err(changed));
    assert_eq!(store.api_keys().await.unwrap(), [key("BBBBBBBB", 20), key("bbbbbbbb", 11)]);
    assert_eq!(done(removal(11)).await, Ok(()));
    assert_eq!(store.api_keys().await.unwrap(), [key("BBBBBBBB", 20)]);
}

/// The day of the last use only grows, outlasts a change, and changes no revision.
pub async fn the_day_of_the_last_use_is_noted<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let store = open().await;
    for name in ["aaaaaaaa", "bbbbbbbb"] {
        store.write_api_key(write(name, None, 1)).await.unwrap().unwrap();
    }
    let days = async || {
        let keys = store.api_keys().await.unwrap();
        keys.into_iter().map(|key| (key.revision, key.last_used_day)).collect::<Vec<_>>()
    };
    store.note_api_key_use(vec![id("bbbbbbbb"), id("gonegone")], 20_000).await.unwrap();
    assert_eq!(days().await, [(1, None), (1, Some(20_000))]);
    store.note_api_key_use(vec![id("aaaaaaaa"), id("bbbbbbbb")], 19_999).await.unwrap();
    store.write_api_key(write("bbbbbbbb", Some(1), 2)).await.unwrap().unwrap();
    assert_eq!(days().await, [(1, Some(19_999)), (2, Some(20_000))]);
}

/// Of many who change the same revision, one does.
pub async fn of_many_who_change_a_key_one_succeeds<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let store = open().await;
    store.write_api_key(write("aaaaaaaa", None, 1)).await.unwrap().unwrap();
    let racing = (0..10).map(|number| store.write_api_key(write("aaaaaaaa", Some(1), 2 + number)));
    let done = join_all(racing).await.into_iter().filter(|answer| matches!(answer, Ok(Ok(()))));
    assert_eq!(done.count(), 1);
}
