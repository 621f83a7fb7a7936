//! Writes a page of a listing, bounded in bytes as well as in entries.

use actix_web::{
    HttpResponse,
    http::header::{self, HeaderValue},
    web::{BufMut, BytesMut},
};
use forerunner_core::Task;
use forerunner_service::PageWriter;

use crate::views::TaskView;

/// Bytes of entries after which a page ends. A thousand tasks with the longest labels would be 33 MB.
const PAGE_BYTES: usize = 2 << 20;

/// A page that is being written.
pub(crate) struct JsonPage {
    text: BytesMut,
    is_empty: bool,
}

impl JsonPage {
    pub(crate) fn new(member: &str) -> Self {
        let mut text = BytesMut::with_capacity(1024);
        text.put_slice(format!("{{\"{member}\":[").as_bytes());
        Self { text, is_empty: true }
    }

    pub(crate) fn answer(mut self, next: Option<String>) -> HttpResponse {
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

impl PageWriter for JsonPage {
    fn push(&mut self, task: &Task) -> bool {
        if !self.is_empty {
            if self.is_full() {
                return false;
            }
            self.text.put_u8(b',');
        }
        let written = serde_json::to_writer((&mut self.text).writer(), &TaskView::brief(task));
        debug_assert!(written.is_ok(), "a view has no JSON form: {written:?}");
        self.is_empty = false;
        true
    }

    fn is_full(&self) -> bool {
        self.text.len() >= PAGE_BYTES
    }
}
