//! The dashboard: the API's data, drawn by the browser.
//!
//! All files are embedded, and no other host is contacted. The page reads, and sends answers to questions of agents.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::LazyLock,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, EntityTag, Header, HeaderValue, IfNoneMatch},
    },
    web,
};

use crate::{error::Problem, problems};

/// Colours and forms that all pages of Forerunner have in common, as CSS.
pub const THEME_CSS: &str = include_str!("assets/theme.css");
/// Numbers for people, scales, and the outlines of lines and areas, as a script that defines `forms`.
pub const FORMS_JS: &str = include_str!("assets/forms.js");

const PAGE: &str = include_str!("assets/index.html");
const STYLE: &str = concat!(include_str!("assets/theme.css"), include_str!("assets/dashboard.css"));
const SCRIPTS: [(&str, &str); 4] = [
    ("forms.js", FORMS_JS),
    ("plots.js", include_str!("assets/plots.js")),
    ("parts.js", include_str!("assets/parts.js")),
    ("dashboard.js", include_str!("assets/dashboard.js")),
];

/// Only the page's own files, no inline code, no frames around it. `data:` is the icon.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the page, with the tag that shows whether it has changed.
struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
    tag: String,
}

impl File {
    fn new(name: &'static str, content_type: &'static str, text: &'static str) -> Self {
        // Only has to differ from one version of the program to the next.
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { name, content_type, text, tag: format!("{:016x}", hasher.finish()) }
    }
}

static INDEX: LazyLock<File> = LazyLock::new(|| File::new("", HTML, PAGE));
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let style = File::new("dashboard.css", CSS, STYLE);
    let scripts = SCRIPTS.into_iter().map(|(name, text)| File::new(name, JAVASCRIPT, text));
    std::iter::once(style).chain(scripts).collect()
});

/// Returns the page for a browser; `None` for programs, and for clients that want the list of calls.
pub(crate) fn page(request: &HttpRequest) -> Option<HttpResponse> {
    let wants_calls = request.query_string() == "calls";
    (!wants_calls && prefers_html(request)).then(|| answer(request, &INDEX))
}

pub(crate) async fn file(name: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let no_such = || Problem::new(problems::NOT_FOUND, format!("the page has no file `{name}`; it is at /"));
    let file = FILES.iter().find(|file| file.name == name.as_str()).ok_or_else(no_such)?;
    Ok(answer(&request, file))
}

/// Browsers may cache the files, but must revalidate them each time: the node may have been replaced by another
/// version.
fn answer(request: &HttpRequest, file: &File) -> HttpResponse {
    let tag = EntityTag::new_strong(file.tag.clone());
    let is_known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut answer = HttpResponse::build(if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "Accept"),
    ] {
        answer.insert_header((name, HeaderValue::from_static(value)));
    }
    answer.insert_header(header::ETag(tag)).insert_header((header::CONTENT_TYPE, file.content_type));
    if is_known { answer.finish() } else { answer.body(file.text) }
}

/// Whether a client lists HTML, and prefers it to what programs request. `*/*`, as curl sends it, lists nothing.
fn prefers_html(request: &HttpRequest) -> bool {
    let values = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    let (mut html, mut other) = (0.0_f32, 0.0_f32);
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        match name.as_str() {
            "text/html" | "application/xhtml+xml" => html = html.max(quality),
            "text/plain" | "application/json" => other = other.max(quality),
            _ => {}
        }
    }
    html > other
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_who_names_html_and_likes_it_best_gets_the_page() {
        for (accept, html) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("TEXT/HTML", true),
            ("text/html;level=1;q=0.5", true),
            ("*/*", false),
            ("", false),
            ("application/json", false),
            ("application/json, text/html;q=0.9", false),
            ("text/plain, text/html", false),
            ("text/html;q=0", false),
            ("text/html;q=0.9, text/plain;q=0.5", true),
        ] {
            let request = TestRequest::default().insert_header(("Accept", accept)).to_http_request();
            assert_eq!(prefers_html(&request), html, "{accept}");
        }
        assert!(!prefers_html(&TestRequest::default().to_http_request()));
    }

    #[test]
    fn nothing_of_the_page_refers_to_another_host_or_writes_markup() {
        let texts = FILES.iter().chain([&*INDEX]).map(|file| (file.name, file.text));
        for (name, text) in texts {
            // The name of the vector format is not an address: nothing is fetched from it.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http://", "https://", "url(//", "src=\"//", "href=\"//", "@import"] {
                assert!(!text.contains(foreign), "{name} has {foreign}");
            }
            for unsafe_way in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "new Function"] {
                assert!(!text.contains(unsafe_way), "{name} has {unsafe_way}");
            }
        }
    }

    #[test]
    fn the_page_has_no_inline_code_and_names_files_that_there_are() {
        for inline in [" onclick", " onload", " onerror", " style=", "<style", "javascript:", "<script>"] {
            assert!(!PAGE.contains(inline), "{inline}");
        }
        let named = PAGE.split("\"/dashboard/").skip(1).filter_map(|rest| rest.split('"').next());
        let named: Vec<_> = named.collect();
        assert_eq!(named.len(), FILES.len());
        assert!(named.iter().all(|name| FILES.iter().any(|file| file.name == *name)), "{named:?}");
    }
}
