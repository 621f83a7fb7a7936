//! Recordings of all forms, and what is none.

use std::io::{BufReader, Cursor};

use forerunner_sim::TraceTask;
use proptest::prelude::*;

use super::*;

fn read(text: &[u8], args: &ImportArgs) -> Result<ImportedTrace, String> {
    let source =
        Source::new("x".to_owned(), "x", BufReader::new(Cursor::new(text.to_vec()))).map_err(|e| e.to_string())?;
    import(source, args)
}

fn with(map: &str) -> ImportArgs {
    ImportArgs { map: Some(map.parse().expect("a mapping")), ..ImportArgs::default() }
}

fn tasks(text: &str, args: &ImportArgs) -> Vec<(f64, f64)> {
    let read = read(text.as_bytes(), args).unwrap_or_else(|why| panic!("{text}: {why}"));
    read.trace.tasks().iter().map(|task| (task.arrival_s, task.service_s)).collect()
}

/// The same three tasks: at 0, 1.5 and 4 s, for 2, 0.25 and 1 s.
const SAME: [(f64, f64); 3] = [(0.0, 2.0), (1.5, 0.25), (4.0, 1.0)];

#[test]
fn the_same_tasks_are_read_from_every_form() {
    let named = |map: &str, text: &str| (with(map), text.to_owned());
    let plain = |text: &str| (ImportArgs::default(), text.to_owned());
    for (args, text) in [
        plain("arrival_s,service_s\n0,2\n1.5,0.25\n4,1\n"),
        plain("\u{feff}service_s;arrival_s\r\n2;0\r\n1;4\r\n0.25;1.5\r\n"),
        plain(
            "{\"arrival_s\":0,\"service_s\":2}\n\n{\"arrival_s\":1.5,\"service_s\":0.25}\n{\"arrival_s\":4,\"service_s\":1}",
        ),
        named("arrival=ts,duration=took_ms", "ts,took_ms\n1700000000,2000\n1700000001.5,250\n1700000004,1000\n"),
        named(
            "arrival=ts,duration=took:ms",
            "ts\ttook\n1700000000000\t2000\n1700000001500\t250\n1700000004000\t1000\n",
        ),
        named("arrival=1,duration=2", "1700000000,2\n1700000001.5,250ms\n1700000004,1\n"),
        named(
            "arrival=in,start=begin,end=out",
            "in,begin,out\n2025-01-01T00:00:00Z,2025-01-01T00:00:09Z,2025-01-01T00:00:11Z\n\
             2025-01-01 00:00:01.5,2025-01-01 00:00:02,2025-01-01T01:00:02.25+01:00\n\
             2025-01-01T00:00:04Z,2025-01-01T00:00:04Z,2025-01-01T00:00:05Z\n",
        ),
        named(
            "arrival=ts,duration=http.took",
            "[{\"ts\":\"1700000000000000\",\"http\":{\"took\":2}},\n {\"ts\":1700000001500000,\"http\":{\"took\":0.25}},\n\
             {\"ts\":1700000004000000,\"http\":{\"took\":1}}]",
        ),
        plain(
            "{\"resourceSpans\":[{\"resource\":{},\"scopeSpans\":[{\"spans\":[\n\
             {\"startTimeUnixNano\":\"1700000000000000000\",\"endTimeUnixNano\":\"1700000002000000000\"},\n\
             {\"startTimeUnixNano\":1700000001500000000,\"endTimeUnixNano\":1700000001750000000,\"parentSpanId\":\"\"},\n\
             {\"startTimeUnixNano\":\"1700000001500000000\",\"endTimeUnixNano\":\"1700000001600000000\",\"parentSpanId\":\"ab\"}\n\
             ]}]}]}\n\
             {\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[\n\
             {\"startTimeUnixNano\":\"1700000004000000000\",\"endTimeUnixNano\":\"1700000005000000000\"}]}]}]}",
        ),
        plain(
            "a - - [01/Jan/2025:00:00:02 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"curl\" 2.000\n\
             a - - [01/Jan/2025:00:00:02 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"curl\" 1.000\n\
             a - - [01/Jan/2025:00:00:05 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"curl\" 1.000\n",
        ),
    ] {
        let read = tasks(&text, &args);
        if text.starts_with("a - -") {
            assert_eq!(read, [(0.0, 2.0), (1.5, 1.0), (4.0, 1.0)], "the second line is of half a second later");
        } else {
            assert_eq!(read, SAME, "{text}");
        }
    }
}

#[test]
fn sessions_tokens_and_announcements_are_read_by_any_name() {
    let args = with("arrival=ts,duration=d,session=chat,tokens=n,announced=known");
    let text = "ts,d,chat,n,known\n1700000010,1,b,5,1700000000\n1700000020,1,a,,\n1700000030,1,b,,1700000031\n";
    let read = read(text.as_bytes(), &args).expect("valid");
    let task = |arrival_s, session, context_tokens, announced_s| TraceTask {
        arrival_s,
        service_s: 1.0,
        session: Some(session),
        context_tokens,
        announced_s,
        ..TraceTask::default()
    };
    let expected = [task(0.0, 0, Some(5.0), Some(-10.0)), task(10.0, 1, None, None), task(20.0, 0, None, None)];
    assert_eq!(read.trace.tasks(), expected);
    assert_eq!(read.notes, ["trace `x`: `ts` is read as epoch seconds; the first task came at 2023-11-14T22:13:30Z"]);
}

#[test]
fn spans_are_chosen_by_their_name_or_their_kind() {
    let span = |name: &str, kind: u8, parent: &str, start: u32| {
        format!(
            "{{\"name\":\"{name}\",\"kind\":{kind},\"parentSpanId\":\"{parent}\",\"startTimeUnixNano\":\"{start}000000000\",\
             \"endTimeUnixNano\":\"{}000000000\",\"attributes\":[{{\"key\":\"session.id\",\"value\":{{\"stringValue\":\"s\"}}}}]}}",
            start + 1
        )
    };
    let spans = [
        span("run", 2, "aa", 1_700_000_000),
        span("model", 3, "bb", 1_700_000_000),
        span("run", 5, "cc", 1_700_000_003),
    ];
    let text = format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{}]}}]}}]}}\n", spans.join(","));
    let entries = read(text.as_bytes(), &ImportArgs::default()).expect("spans");
    assert_eq!(entries.trace.tasks().len(), 2, "servers and consumers, since none is without a parent");
    assert_eq!(entries.trace.tasks()[0].session, Some(0));
    assert!(entries.notes.iter().any(|note| note.contains("2 of 3 spans are tasks")), "{:?}", entries.notes);
    let named = |name: &str| ImportArgs { span: Some(name.to_owned()), ..ImportArgs::default() };
    assert_eq!(tasks(&text, &named("model")), [(0.0, 1.0)]);
    let refused = read(text.as_bytes(), &named("other")).expect_err("no such span");
    assert!(refused.contains("none of its 3 spans is named `other`"), "{refused}");
}

#[test]
fn bad_rows_are_counted_and_too_many_are_refused() {
    let good = "1,1\n".repeat(200);
    let few = format!("arrival_s,service_s\n{good}2,-3\n");
    let read_few = read(few.as_bytes(), &ImportArgs::default()).expect("one of 201");
    assert_eq!(read_few.trace.tasks().len(), 200);
    assert!(
        read_few.notes[0].contains(
            "1 of 201 rows cannot be used and are left out; the first: trace `x`, line 202: `service_s` is `-3`"
        ),
        "{:?}",
        read_few.notes
    );
    let many = format!("arrival_s,service_s\n1,1\n{}", "x,1\n".repeat(3));
    let refused = read(many.as_bytes(), &ImportArgs::default()).expect_err("three of four");
    assert!(
        refused.contains("line 3: `arrival_s` is `x`")
            && refused.ends_with("(3 of 4 rows cannot be used; --skip-bad leaves them out)"),
        "{refused}"
    );
    let skip = ImportArgs { skip_bad: true, ..ImportArgs::default() };
    assert_eq!(tasks(&many, &skip), [(1.0, 1.0)]);
    let none = read(b"arrival_s,service_s\nx,1\ny,1\n", &skip).expect_err("none");
    assert!(none.contains("none of the 2 rows can be used"), "{none}");
    let mixed = with("arrival=t,duration=d");
    let text = format!("t,d\n0,1\n{}", "1700000000,1\n".repeat(200));
    assert_eq!(read(text.as_bytes(), &mixed).expect("one of 201").trace.tasks().len(), 200, "0 is no date");
}

#[test]
fn errors_are_short_and_name_the_place_and_the_remedy() {
    let long = format!("{{\"ts\":1,{}\"took\":2}}", "\"padding\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\",".repeat(20_000));
    for (text, args, said) in [
        (
            "arrival,service\n1,2\n",
            ImportArgs::default(),
            "line 1: column `arrival_s` is missing from the header `arrival,service`",
        ),
        ("ts,took\n1,2\n", ImportArgs::default(), "pass --map arrival=ts,duration=took"),
        ("1.0,2.0\n1,2\n", ImportArgs::default(), "CSV without a header"),
        ("The quick brown fox jumps\n", ImportArgs::default(), "this looks like text"),
        ("ts,took\n1,2\n", with("arrival=when,duration=took"), "column `when` is missing from the header `ts,took`"),
        ("ts,took\n-5,2\n", with("arrival=ts,duration=took"), "line 2: `ts` is `-5`"),
        ("in,out\n1700000005,1700000001\n", with("arrival=in,end=out"), "line 2: `out` is -4 s after the start"),
        (&long, ImportArgs::default(), "this looks like JSON with other names; pass --map arrival=ts,duration=took"),
        ("{\"ts\":1}\n{\"ts\":", with("arrival=ts,duration=d"), "line 1: `d` is missing or empty"),
        ("[{\"ts\":1,\"d\":1},\n{\"ts\":2,,}]", with("arrival=ts,duration=d"), "line 2, column 9: this is no JSON"),
        ("{\"resourceSpans\":[}\n", ImportArgs::default(), "column"),
        (
            "a b [10/Oct/2025:13:55:36 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"-\"\n",
            ImportArgs::default(),
            "$request_time",
        ),
        (
            "ts,took\n2001-01-01T00:00:00Z,1\n2025-01-01T00:00:00Z,1\n",
            with("arrival=ts,duration=took"),
            "366 days at most",
        ),
    ] {
        let error = read(text.as_bytes(), &args).expect_err(said);
        assert!(error.contains(said), "{error}");
        assert!(error.chars().count() < 420, "{} characters: {error}", error.len());
    }
}

#[test]
fn gzip_of_any_form_is_unpacked() {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"{\"arrival_s\":0,\"service_s\":2}\n").expect("in memory");
    let read = read(&packed.finish().expect("in memory"), &ImportArgs::default()).expect("valid");
    assert_eq!(read.trace.tasks().len(), 1);
    let torn = Source::new("x".to_owned(), "x", BufReader::new(&[0x1f, 0x8b, 8, 0, 1][..]));
    assert!(torn.is_err(), "half an archive is an error, not an empty trace");
}

/// Pieces that recordings are made of, and what should not be in them.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&[u8]] = &[
        b"arrival_s",
        b"service_s",
        b",",
        b";",
        b"\n",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\"",
        b"1",
        b"-1",
        b"1700000000",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"\"arrival_s\":1",
        b"\"service_s\":1",
        b"\"resourceSpans\"",
        b"\"spans\"",
        b"NaN",
        b"1e308",
        b"a - - [10/Oct/2025:13:55:36 +0000] \"GET / HTTP/1.1\" 200 1",
        b" 0.5",
        b" ",
        b"2025-01-01T00:00:00Z",
    ];
    proptest::collection::vec(proptest::sample::select(words), 0..60).prop_map(|pieces| pieces.concat())
}

fn any_args() -> impl Strategy<Value = ImportArgs> {
    let formats = [None, Some(Format::Csv), Some(Format::Json), Some(Format::Otlp), Some(Format::AccessLog)];
    let maps = [None, Some("arrival=arrival_s,duration=service_s"), Some("arrival=1,end=2,session=1")];
    (proptest::sample::select(formats.to_vec()), proptest::sample::select(maps.to_vec()), any::<bool>()).prop_map(
        |(format, map, skip_bad)| ImportArgs {
            format,
            map: map.map(|map| map.parse().expect("valid")),
            span: None,
            skip_bad,
        },
    )
}

proptest! {
    #[test]
    fn whatever_comes_is_a_trace_or_a_short_error(
        text in prop_oneof![pieces(), proptest::collection::vec(any::<u8>(), 0..400)], args in any_args(),
    ) {
        match read(&text, &args) {
            Err(why) => prop_assert!(!why.is_empty() && why.chars().count() < 900, "{}", why),
            Ok(read) => {
                let tasks = read.trace.tasks();
                prop_assert!(!tasks.is_empty());
                prop_assert!(tasks.is_sorted_by(|a, b| a.arrival_s <= b.arrival_s));
                prop_assert!(tasks.iter().all(|task| task.arrival_s >= 0.0 && task.service_s >= 0.0));
            }
        }
    }

    #[test]
    fn order_and_duplicates_change_nothing(mut rows in proptest::collection::vec((0_u32..100, 0_u32..9), 1..40)) {
        let write = |rows: &[(u32, u32)]| rows.iter().fold("ts,took\n".to_owned(), |text, (at, took)| {
            format!("{text}{},{took}\n", 1_700_000_000 + at)
        });
        let args = with("arrival=ts,duration=took");
        let once = tasks(&write(&rows), &args);
        prop_assert_eq!(once.len(), rows.len());
        rows.sort_unstable();
        let mut sorted = once.clone();
        sorted.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
        prop_assert_eq!(tasks(&write(&rows), &args), sorted);
    }
}
