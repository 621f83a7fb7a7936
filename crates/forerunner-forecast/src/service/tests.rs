use super::*;

fn done(service_s: f64, tokens: Option<f64>) -> Observation {
    Observation {
        completions: 1,
        mean_service_s: Some(service_s),
        completed: vec![(0, service_s)],
        mean_context_tokens: tokens,
        ..Observation::default()
    }
}

fn done_none() -> Observation {
    Observation::default()
}

fn fed(seconds: u32, each: impl Fn(f64) -> Observation) -> (ServiceModel, Window) {
    let (mut model, mut window) = (ServiceModel::new(), Window::new(300, 0.0));
    for t in 1..=seconds {
        let seen = each(f64::from(t));
        window.record(f64::from(t), 0.0, &seen);
        model.observe(1.0, &seen);
    }
    (model, window)
}

#[test]
fn before_the_first_completion_the_prior_counts_and_a_few_completions_outweigh_it() {
    assert!((ServiceModel::new().mean_s() - 5.0).abs() < 1e-9);
    let (model, _) = fed(1, |_| done(60.0, None));
    assert!((20.0..40.0).contains(&model.mean_s()), "one long task may be an exception: {}", model.mean_s());
    let (model, _) = fed(4, |_| done(60.0, None));
    assert!(model.mean_s() > 48.0, "{}", model.mean_s());
    let mut model = ServiceModel::new();
    (0..30)
        .for_each(|t| _ = model.observe(1.0, &Observation { started: u64::from(t == 0), in_flight: 1, ..done_none() }));
    assert!(model.mean_s() > 9.0, "the only task has run for 29 s: {}", model.mean_s());
}

#[test]
fn the_residual_life_of_equal_durations_is_a_straight_line() {
    let (model, _) = fed(600, |_| done(8.0, None));
    assert!((model.still_there(2.0, 8.0) - 0.75).abs() < 1e-9);
    assert_eq!(model.still_there(8.0, 8.0), 0.0);
    assert!((model.still_there(8.0, 16.0) - 0.5).abs() < 1e-9, "stretched to twice the mean");
}

#[test]
fn survival_is_read_from_durations_and_exponential_before_there_are_any() {
    let survival = ServiceModel::new().survival(5.0);
    assert!((survival(5.0) - (-1.0f64).exp()).abs() < 1e-9 && survival(0.0) == 1.0);
    let (model, _) = fed(600, |t| done(if t % 4.0 == 0.0 { 20.0 } else { 4.0 }, None));
    let survival = model.survival(8.0);
    assert_eq!([0.0, 3.9, 4.1, 19.9, 20.1].map(survival), [1.0, 1.0, 0.25, 0.25, 0.0]);
}

#[test]
fn an_agent_starts_as_many_tasks_as_fit_into_the_time() {
    for (service_s, expected) in [(8.0, 1.0), (1.0, 1.0), (0.6, 2.0), (0.125, 8.0)] {
        let (model, _) = fed(600, |_| done(service_s, None));
        let starts = model.starts_within(1.0, service_s);
        assert!((starts - expected).abs() < 0.05 * expected, "{service_s} s: {starts}");
    }
    assert_eq!(ServiceModel::new().starts_within(1.0, 0.1), 1.0, "nothing is known");
}

#[test]
fn a_clear_slowdown_is_carried_to_the_horizon() {
    let (model, window) = fed(600, |t| done(4.0 + 0.01 * t, None));
    let forecast = model.forecast(&window, 30.0);
    assert!((forecast.trend - 0.01).abs() < 1e-3, "{forecast:?}");
    assert!((forecast.mean_s - 10.3).abs() < 0.2, "4 + 0.01 * 630 expected: {forecast:?}");
}

#[test]
fn growing_contexts_raise_the_expectation_where_they_explain_durations() {
    let tokens = |t: f64| 1000.0 * (1.0 + t / 100.0) + 300.0 * ((t * 7.0) % 5.0);
    let (model, window) = fed(600, |t| done(tokens(t) * 0.002, Some(tokens(t))));
    let forecast = model.forecast(&window, 30.0);
    assert!(forecast.by_context, "{forecast:?}");
    let (model, window) = fed(600, |t| done(3.0 + (t * 3.0) % 2.0, Some(tokens(t))));
    assert!(!model.forecast(&window, 30.0).by_context, "contexts explain nothing here");
}

#[test]
fn a_mean_over_several_tasks_is_not_taken_for_a_duration() {
    let seen = Observation { completions: 10, mean_service_s: Some(8.0), ..Observation::default() };
    let (model, _) = fed(600, |_| seen.clone());
    assert!((model.still_there(8.0, 8.0) - (-1.0f64).exp()).abs() < 1e-9, "exponential instead");
}
