//! Which columns are probably what, by their names.

use super::cells::Key;

/// Usual names, the likeliest first, in lower case and without `_`, `-` and `@`.
const NAMES: [(Key, &[&str]); 5] = [
    (
        Key::Arrival,
        &[
            "arrivals",
            "arrival",
            "arrivaltime",
            "arrived",
            "arrivedat",
            "received",
            "receivedat",
            "enqueued",
            "enqueuedat",
            "enqueuetime",
            "queuedat",
            "submitted",
            "submittedat",
            "created",
            "createdat",
            "insertedat",
            "scheduledat",
            "runat",
            "timestamp",
            "ts",
            "time",
            "datetime",
            "date",
        ],
    ),
    (
        Key::Start,
        &["start", "starts", "started", "startedat", "starttime", "attemptedat", "begin", "begunat", "startts"],
    ),
    (
        Key::End,
        &[
            "end",
            "ends",
            "ended",
            "endedat",
            "endtime",
            "finished",
            "finishedat",
            "finishtime",
            "completed",
            "completedat",
            "succeeded",
            "succeededat",
            "doneat",
            "finalizedat",
            "closetime",
            "endts",
        ],
    ),
    (
        Key::Duration,
        &[
            "services",
            "duration",
            "durations",
            "durationms",
            "took",
            "tookms",
            "runtime",
            "runtimems",
            "elapsed",
            "elapsedms",
            "latency",
            "latencyms",
            "servicetime",
            "requesttime",
            "responsetime",
            "responsetimems",
            "processingtime",
            "executiontime",
            "rt",
        ],
    ),
    (
        Key::Session,
        &[
            "session",
            "sessionid",
            "conversation",
            "conversationid",
            "chat",
            "chatid",
            "thread",
            "threadid",
            "context",
            "contextid",
        ],
    ),
];

/// Writes a mapping for the names; `None` if an arrival or a duration is not among them.
pub fn mapping<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let plain = |name: &str| name.trim().to_lowercase().replace(['_', '-', '@', ' '], "");
    let find = |key: Key| {
        let usual = NAMES.iter().find(|(known, _)| *known == key)?.1;
        usual.iter().find_map(|usual| names.clone().find(|name| name.len() < 80 && plain(name) == *usual))
    };
    let [arrival, start, end, duration, session] =
        [Key::Arrival, Key::Start, Key::End, Key::Duration, Key::Session].map(find);
    let mut pairs = Vec::new();
    let mut push =
        |key: Key, name: Option<&str>| pairs.extend(name.map(|name| format!("{}={}", key.as_str(), name.trim())));
    match (arrival, start, end, duration) {
        (None, None, ..) | (.., None, None) => return None,
        (Some(_), _, _, Some(_)) => {
            push(Key::Arrival, arrival);
            push(Key::Duration, duration);
        }
        (None, Some(_), _, Some(_)) => {
            push(Key::Arrival, start);
            push(Key::Duration, duration);
        }
        _ => {
            push(Key::Arrival, arrival.or(start));
            push(Key::Start, start.filter(|_| arrival.is_some()));
            push(Key::End, end);
        }
    }
    push(Key::Session, session);
    Some(pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_recognised() {
        for (names, map) in [
            (&["id", "ts", "took_ms"][..], Some("arrival=ts,duration=took_ms")),
            (
                &["received", "started", "succeeded", "chat_id"],
                Some("arrival=received,start=started,end=succeeded,session=chat_id"),
            ),
            (&["start_time", "end_time"], Some("arrival=start_time,end=end_time")),
            (&["@timestamp", "Duration"], Some("arrival=@timestamp,duration=Duration")),
            (&["a", "b"], None),
            (&["ts"], None),
        ] {
            assert_eq!(mapping(names.iter().copied()).as_deref(), map, "{names:?}");
        }
    }
}
