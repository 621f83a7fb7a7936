//! Reason codes of decisions, for people.

/// Describes a reason code in words.
pub fn in_words(reason: &str) -> &'static str {
    match reason {
        "steady" => "the size is right",
        "forecast_up" => "the forecast needs more",
        "forecast_down" => "the forecast has needed fewer for the whole stabilisation time",
        "stabilizing" => "fewer would do, but not for the whole stabilisation time yet",
        "surge" => "arrivals exceed the forecast",
        "announced" => "tasks are known to become due",
        "outage" => "what the agents depend on fails, or has just failed, so the pool keeps its size",
        "backlog" => "more tasks wait than the present and starting agents can run in time",
        "utilisation" => "a threshold of utilisation was crossed",
        "fixed" => "the size was set by hand or by configuration",
        "bounded" => "a lower or upper bound limits the size",
        "learning" => "there is too little history yet to shrink the pool",
        _ => "of the reason below",
    }
}
