//! Pages of a listing, bounded in bytes as well as in entries.

use actix_web::{
    HttpResponse,
    http::header::{self, HeaderValue},
    web::{BufMut, BytesMut},
};
use forerunner_core::Task;
use forerunner_runtime::Handle;
use forerunner_store::{TaskFilter, TaskPage};
use serde::Serialize;

use crate::{api::Api, error::Problem, gate, query, views::TaskView};

/// Bytes of entries after which a page ends. A thousand tasks with the longest labels would be 33 MB.
const PAGE_BYTES: usize = 2 << 20;
/// Bytes of tasks that are meant to be read from the store at once: it reads inputs and outputs as well.
const READ_BYTES: usize = 4 << 20;
/// Tasks that are read at first, while their size is not known.
const FIRST_TASKS: usize = 16;
/// Most tasks that are read at once.
const MOST_TASKS: usize = 256;

/// Reads tasks newest first, few at once if they are large.
pub(crate) struct TaskReader {
    filter: TaskFilter,
    at_once: usize,
}

impl TaskReader {
    /// Begins behind `filter.before`; how many there are to be is the caller's business.
    pub(crate) const fn new(filter: TaskFilter) -> Self {
        Self { filter, at_once: FIRST_TASKS }
    }

    /// Reads the next tasks, `most` at most.
    pub(crate) async fn next(&mut self, handle: &Handle, most: usize) -> Result<TaskPage, Problem> {
        let page = handle.tasks(TaskFilter { limit: self.at_once.min(most), ..self.filter.clone() }).await?;
        self.filter.before = page.tasks.last().map(|task| task.id).or(self.filter.before);
        self.adapt(&page.tasks);
        Ok(page)
    }

    fn adapt(&mut self, tasks: &[Task]) {
        let bytes: usize = tasks.iter().map(size).sum();
        let wanted = READ_BYTES.saturating_mul(tasks.len()).checked_div(bytes);
        self.at_once = wanted.unwrap_or(MOST_TASKS).clamp(1, MOST_TASKS);
    }
}

fn size(task: &Task) -> usize {
    const REST_BYTES: usize = 512;
    let labels: usize = task.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    let output = task.output.as_ref().map_or(0, |output| output.as_str().len());
    REST_BYTES + task.input.as_str().len() + output + labels
}

/// Answers a page of tasks.
pub(crate) async fn of_tasks(api: &Api, filter: TaskFilter) -> Result<HttpResponse, Problem> {
    let reserve = || api.budget().reserve(READ_BYTES);
    let _reservation = reserve().ok_or_else(|| gate::no_memory(api.settings().memory_bytes))?;
    let limit = filter.limit;
    let (mut reader, mut page) = (TaskReader::new(filter), Page::new("tasks"));
    loop {
        let TaskPage { tasks, more } = reader.next(api.handle(), limit - page.entries).await?;
        let taken = tasks.iter().take_while(|task| page.push(&TaskView::brief(task))).count();
        let last = taken.checked_sub(1).map(|index| tasks[index].id);
        let is_over = taken < tasks.len() || page.is_full(limit);
        if is_over || !more {
            let follows = more || taken < tasks.len();
            return Ok(page.answer(last.filter(|_| follows).map(query::cursor)));
        }
    }
}

/// A page that is being written.
struct Page {
    text: BytesMut,
    entries: usize,
}

impl Page {
    fn new(member: &str) -> Self {
        let mut text = BytesMut::with_capacity(1024);
        text.put_slice(format!("{{\"{member}\":[").as_bytes());
        Self { text, entries: 0 }
    }

    /// Adds an entry; refuses it if the page is full. The first one always has room.
    fn push<T: Serialize>(&mut self, entry: &T) -> bool {
        if self.entries > 0 && self.text.len() >= PAGE_BYTES {
            return false;
        }
        if self.entries > 0 {
            self.text.put_u8(b',');
        }
        let written = serde_json::to_writer((&mut self.text).writer(), entry);
        debug_assert!(written.is_ok(), "a view has no JSON form: {written:?}");
        self.entries += 1;
        true
    }

    fn is_full(&self, limit: usize) -> bool {
        self.entries >= limit || self.text.len() >= PAGE_BYTES
    }

    fn answer(mut self, next: Option<String>) -> HttpResponse {
        self.text.put_u8(b']');
        if let Some(next) = next {
            // A cursor is made of letters, digits and dashes.
            self.text.put_slice(format!(",\"next\":\"{next}\"").as_bytes());
        }
        self.text.put_u8(b'}');
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        HttpResponse::Ok().insert_header(json).body(self.text.freeze())
    }
}
