"use strict";
// The charts of one pool over the last minutes, with one cursor through all of them. Text is set as text, never as markup.
const plots = (() => {
  const { digits, number, seconds, nice, timeSteps, greatest, fixed, lineD, areaDs } = forms;
  // As many digits behind the point as the steps of an axis need.
  const axisNumber = (step) => (v) => v === 0 ? "0" : digits(v, Math.max(0, -Math.floor(Math.log10(step))));
  const axisSeconds = (v) => v === 0 ? "0 s" : seconds(v).replace(/\.0+ /, " ");
  const LEFT = 52, RIGHT = 12, TOP = 8, SVG = "http://www.w3.org/2000/svg";

  function svg(name, attributes = {}, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) if (value != null) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }
  function html(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value != null) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  // ---- what the charts show -----------------------------------------------------------------
  // Rows of values out of points, and where in time they are: seconds from now on, negative before it.
  function columns(points, now, slotS) {
    const of = (name) => points.map((p) => p[name]);
    const sum = (...names) => points.map((p) => p.busy == null ? null : names.reduce((s, n) => s + p[n], 0));
    const wait = (name) => points.map((p) => p.wait_s ? p.wait_s[name] : null);
    const all = { zero: points.map(() => 0), busy: sum("busy"), warm: sum("busy", "ready"), size: sum("busy", "ready", "starting") };
    for (const name of ["rate_per_s", "expected_per_s", "low_per_s", "high_per_s", "desired", "advised", "greatest_depth"]) all[name] = of(name);
    for (const name of ["p50", "p95", "p99"]) all[name] = wait(name);
    return { ...all, t: points.map((p) => (Date.parse(p.at) - now) / 1000 + slotS / 2) };
  }

  function views(data, pool, hasForecast) {
    const within = pool.objective.within_s, advise = pool.mode === "advise";
    const band = hasForecast && { area: ["low_per_s", "high_per_s"], kind: "band", name: "90 % band of the expected rate" };
    const expected = hasForecast && { line: "expected_per_s", kind: "expected", name: "expected, one cold start before" };
    const steps = true;
    return [
      { key: "arrivals", title: "Arrivals", unit: "tasks per second", height: 130, top: greatest(data.rate_per_s, data.high_per_s),
        series: [band, expected, { line: "rate_per_s", kind: "arrived", name: "arrived" }] },
      { key: "agents", title: "Agents", unit: "by what they do", height: 140, whole: true, top: greatest(data.size, data.desired, advise ? data.advised : []), series: [
        { area: ["zero", "busy"], kind: "busy-area", name: "busy" }, { area: ["busy", "warm"], kind: "ready-area", name: "ready" },
        { area: ["warm", "size"], kind: "starting-area", fill: "url(#starting)", name: "starting" },
        { line: "desired", kind: "wanted", name: advise ? "in force" : "wanted", steps }, advise && { line: "advised", kind: "advised", name: "advised", steps }] },
      { key: "depth", title: "Queue", unit: "tasks that could start and wait", height: 70, whole: true, top: greatest(data.greatest_depth),
        series: [{ area: ["zero", "greatest_depth"], kind: "depth-area" }, { line: "greatest_depth", kind: "depth", name: "most in 5 s" }] },
      { key: "waits", title: "Waits", unit: "from being due to the start, also behind others of a context", height: 100, label: seconds, axis: axisSeconds, top: Math.max(greatest(data.p99), 1.3 * within), limit: within, series: [
        { line: "p50", kind: "p50", dots: true, name: "p50" }, { line: "p95", kind: "p95", dots: true, name: "p95" },
        { line: "p99", kind: "p99", dots: true, name: "p99" }, { kind: "limit", name: `objective: ${seconds(within)}` }] },
    ];
  }

  // ---- one chart ----------------------------------------------------------------------------
  const line = (x1, y1, x2, y2, kind) => svg("line", { class: kind, x1: fixed(x1), y1: fixed(y1), x2: fixed(x2), y2: fixed(y2) });
  const text = (x, y, words, anchor) => svg("text", { x: fixed(x), y: fixed(y), "text-anchor": anchor }, words);

  function timeAxis(root, scale, height, isLast) {
    const step = timeSteps.find((s) => (scale.to - scale.from) / s <= (scale.width < 520 ? 4 : 10)) || 300;
    for (let t = 0; t >= scale.from; t -= step) {
      if (t < 0) root.append(line(scale.x(t), TOP, scale.x(t), height, "grid"));
      if (isLast) root.append(text(scale.x(t), height + 16, t === 0 ? "now" : `−${t % 60 ? -t + " s" : -t / 60 + " min"}`, "middle"));
    }
    const rest = scale.x(scale.to) - scale.x(0);
    if (rest > 1) root.append(svg("rect", { class: "after-now", x: fixed(scale.x(0)), y: TOP, width: fixed(rest), height: height - TOP }));
    root.append(line(scale.x(0), TOP, scale.x(0), height, "now"));
  }

  function frame(view, scale, isLast, words) {
    const bottom = isLast ? 22 : 6;
    return svg("svg", { viewBox: `0 0 ${scale.width} ${view.height + bottom}`, role: "img", tabindex: "0", "data-key": "plot-" + view.key, "aria-label": words });
  }

  function chart(view, data, scale, isLast) {
    const most = Math.max(view.top * 1.06, view.whole ? 1 : 1e-3), height = view.height;
    const y = (v) => height - (height - TOP) * Math.min(v, most) / most, x = (i) => scale.x(data.t[i]);
    const last = (name) => data[name].findLast((v) => v != null);
    const values = view.series.filter((s) => s && s.line && s.name).map((s) => `${s.name} ${(view.label || number)(last(s.line))}`);
    const root = frame(view, scale, isLast, `${view.title}, ${view.unit}. Newest: ${values.join(", ")}. Arrow keys move through time.`);
    const step = view.whole ? Math.max(1, nice(most, 3)) : nice(most, 3), label = view.axis || axisNumber(step);
    for (let v = 0; v <= most; v += step) {
      root.append(line(LEFT, y(v), scale.width - RIGHT, y(v), v === 0 ? "axis" : "grid"), text(LEFT - 7, y(v) + 4, label(v), "end"));
    }
    timeAxis(root, scale, height, isLast);
    for (const s of view.series.filter(Boolean)) {
      if (s.area) for (const d of areaDs(data[s.area[0]], data[s.area[1]], x, y)) root.append(svg("path", { d, class: s.kind, fill: s.fill }));
      if (s.line) root.append(svg("path", { d: lineD(data[s.line], x, y, s.steps), class: "line " + s.kind }));
      if (s.dots) root.append(...lonely(data[s.line], x, y, s.kind + "-dot"));
    }
    if (view.limit != null) root.append(line(LEFT, y(view.limit), scale.width - RIGHT, y(view.limit), "limit"));
    root.append(line(0, TOP, 0, height, "cursor"));
    return plot(view.title, view.unit, view.series.filter((s) => s && s.name).map(keyOf), root);
  }

  // A value without neighbours makes no line.
  function lonely(values, x, y, kind) {
    const alone = (i) => values[i] != null && values[i - 1] == null && values[i + 1] == null;
    return values.flatMap((v, i) => alone(i) ? [svg("circle", { cx: fixed(x(i)), cy: fixed(y(v)), r: 2, class: kind })] : []);
  }

  function keyOf(s) {
    const sample = s.area ? svg("rect", { width: 22, height: 10, class: s.kind, fill: s.fill }) : line(0, 5, 22, 5, "line " + s.kind);
    return html("span", {}, svg("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, sample), s.name);
  }
  function plot(title, unit, keys, root) {
    const head = html("div", { class: "head" }, html("strong", {}, title + " ", html("small", { class: "soft" }, unit)), html("span", { class: "keys" }, ...keys));
    const box = html("div", { class: "plot" }, head, root);
    root.querySelector(".cursor")?.setAttribute("visibility", "hidden");
    return box;
  }

  // Changes of size: a triangle upwards or downwards, higher the more agents it is about (square-root scale).
  function decisions(changes, now, scale) {
    const height = 74, zero = (height + TOP) / 2;
    const most = changes.reduce((m, c) => Math.max(m, Math.abs(c.desired - c.before)), 1);
    const y = (v) => zero - Math.sign(v) * (zero - TOP - 8) * Math.sqrt(Math.abs(v) / most);
    const ups = changes.filter((c) => c.desired > c.before).length;
    const view = { key: "decisions", title: "Decisions", height };
    const root = frame(view, scale, true, `Decisions: ${ups} to have more agents, ${changes.length - ups} to have fewer. Arrow keys move through time.`);
    for (const v of [most, 0, -most]) root.append(line(LEFT, y(v), scale.width - RIGHT, y(v), v ? "grid" : "axis"), text(LEFT - 7, y(v) + 4, (v > 0 ? "+" : v < 0 ? "−" : "") + Math.abs(v), "end"));
    timeAxis(root, scale, height, true);
    for (const c of changes) {
      const t = (Date.parse(c.at) - now) / 1000, d = c.desired - c.before;
      if (t < scale.from || d === 0) continue;
      const px = fixed(scale.x(t)), py = fixed(y(d)), tip = d > 0 ? -5 : 5, kind = d > 0 ? "up" : "down";
      root.append(svg("path", { class: kind, d: `M${px} ${fixed(zero)}V${py}`, "stroke-width": 1.4 }),
        svg("path", { class: kind, stroke: "none", d: `M${px} ${py + tip}l4 ${-1.4 * tip}h-8Z` }));
    }
    root.append(line(0, TOP, 0, height, "cursor"));
    const sample = (kind, d) => svg("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, svg("path", { class: kind, d }));
    const keys = [html("span", {}, sample("up", "M11 1l4 8h-8Z"), "more agents"), html("span", {}, sample("down", "M11 9l4 -8h-8Z"), "fewer agents")];
    return plot("Decisions", "± agents wanted, square-root scale", keys, root);
  }

  // ---- all of them --------------------------------------------------------------------------
  // The pattern is named by all charts, so it stands in a drawing of its own.
  function patterns() {
    const pattern = svg("pattern", { id: "starting", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("line", { x1: 0, y1: 0, x2: 0, y2: 6, class: "starting-lines" }));
    return svg("svg", { width: 0, height: 0, "aria-hidden": "true", class: "patterns" }, svg("defs", {}, pattern));
  }

  // Draws `points` as they are at `now` (milliseconds) into `box`; answers what a cursor needs.
  function draw(box, { points, changes, now, since, slotS, minutes, pool, put }) {
    const width = Math.max(280, Math.floor(box.clientWidth));
    const known = since == null ? 0 : (since - now) / 1000;
    const from = Math.max(-60 * minutes, Math.min(known, -180));
    const shown = points.filter((p) => (Date.parse(p.at) - now) / 1000 > from - slotS);
    const data = columns(shown, now, slotS);
    const to = Math.max(slotS / 2, ...data.t.slice(-1));
    const scale = { from, to, width, x: (t) => LEFT + (width - LEFT - RIGHT) * (Math.max(t, from) - from) / (to - from) };
    const hasForecast = data.expected_per_s.some((v) => v != null);
    const drawn = views(data, pool, hasForecast).map((view) => chart(view, data, scale, false));
    put(box, patterns(), ...drawn, decisions(changes, now, scale));
    return { scale, shown, data, changes, now, slotS };
  }

  return { draw, svg, html, LEFT, RIGHT };
})();
