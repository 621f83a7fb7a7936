"use strict";
(() => {
  const cells = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const W = 1140, LEFT = 58, RIGHT = 14;

  const { digits, number, percent, ratio, seconds, clock, nice, timeSteps, greatest, fixed, lineD, areaDs } = forms;
  const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

  // ---- scales and axes ----------------------------------------------------------------------
  const timeLabel = (t, step) => step >= 86400 ? "day " + Math.round(t / 86400)
    : step >= 3600 ? Math.round(t / 3600) + " h" : step >= 60 ? Math.round(t / 60) + " min" : Math.round(t) + " s";
  const line = (x1, y1, x2, y2, kind) => `<line class="${kind}" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`;
  const text = (x, y, words, anchor = "start", kind = "") => `<text x="${x}" y="${y}" text-anchor="${anchor}" class="${kind}">${escape(words)}</text>`;

  // ---- the plots over time ------------------------------------------------------------------
  function timePlot({ title, unit, height, top, series, cell, limit, extra, last }) {
    const plot = cell.shown.plot, span = plot.width_s * plot.buckets, bottom = last ? 22 : 8;
    const H = height + bottom, x = (t) => LEFT + (W - LEFT - RIGHT) * t / span;
    const most = Math.max(top * 1.06, 1e-9), y = (v) => height - (height - 8) * Math.min(v, most) / most;
    let out = `<svg viewBox="0 0 ${W} ${H}" data-span="${span}">`;
    const step = nice(most, 3);
    for (let v = 0; v <= most; v += step) {
      out += line(LEFT, y(v), W - RIGHT, y(v), v === 0 ? "axis" : "grid") + text(LEFT - 8, y(v) + 4, number(v), "end");
    }
    const timeStep = timeSteps.find((s) => span / s <= 12) || span;
    for (let t = 0; t <= span; t += timeStep) {
      if (t > 0) out += line(x(t), 8, x(t), height, "grid");
      if (last) out += text(x(t), height + 16, timeLabel(t, timeStep), t === 0 ? "start" : "middle");
    }
    if (cell.warmup_s > 0) {
      const end = Math.min(x(cell.warmup_s), W - RIGHT);
      out += `<rect class="warm-up" x="${LEFT}" y="8" width="${fixed(end - LEFT)}" height="${height - 8}"><title>warm-up: not counted</title></rect>`;
    }
    const middle = (i) => x((i + 0.5) * plot.width_s);
    for (const s of series) {
      if (s.band) out += area(s.data.low, s.data.high, middle, y, s.colour, s.opacity || 0.22);
      if (s.fill) out += area(s.data.mid.map((v) => v == null ? null : 0), s.data[s.fill], middle, y, s.colour, s.opacity || 0.3);
      if (s.line) out += path(s.data[s.line], middle, y, s.colour, s.width || 1.5, s.steps);
    }
    if (limit != null && limit <= most) out += line(LEFT, y(limit), W - RIGHT, y(limit), "limit");
    if (extra) out += extra(middle, y, x);
    out += `<line class="cursor" y1="8" y2="${height}" visibility="hidden"/></svg>`;
    const keys = series.filter((s) => s.name).map((s) => `<span><i class="${s.dot ? "dot" : s.line ? "" : "area"}" style="background:var(--${s.colour})"></i>${s.name}</span>`).join("");
    return `<div class="plot"><div class="head"><strong>${title} <small class="soft">${unit}</small></strong><span class="keys">${keys}</span></div>${out}</div>`;
  }
  function path(values, x, y, colour, width, steps) {
    return `<path d="${lineD(values, x, y, steps)}" fill="none" stroke="var(--${colour})" stroke-width="${width}" stroke-linejoin="round"/>`;
  }
  function area(low, high, x, y, colour, opacity) {
    return areaDs(low, high, x, y).map((d) => `<path d="${d}" fill="var(--${colour})" opacity="${opacity}"/>`).join("");
  }

  function plots(cell) {
    const plot = cell.shown && cell.shown.plot;
    byId("timeline").hidden = !plot;
    if (!plot) return;
    const colours = { surge: "orange", backlog: "red", forecast_up: "blue", announced: "blue", forecast_down: "green", utilisation: "violet" };
    const colour = (reason) => colours[reason] || "grey";
    const arrivalsTop = greatest(plot.arrivals.high, plot.forecast ? plot.forecast.high : []);
    const shape = (name, data, colour, more) => ({ name, data, colour, ...more });
    const views = [
      { title: "Arrivals", unit: "tasks/s", height: 150, top: arrivalsTop, series: [
        plot.forecast && shape("90 % band of the forecast", plot.forecast, "blue", { band: true }),
        shape("arrived, least to greatest in 10 s", plot.arrivals, "grey", { band: true, opacity: 0.35 }),
        shape("arrived", plot.arrivals, "ink", { line: "mid", width: 1 }),
        plot.forecast && shape("forecast, one cold start before", plot.forecast, "blue", { line: "mid" }),
      ] },
      { title: "Agents", unit: "agents", height: 170, top: greatest(plot.desired.high, plot.warm.high), series: [
        shape("busy", plot.busy, "orange", { fill: "mid" }),
        shape(null, plot.busy, "orange", { line: "high", width: 1 }),
        shape("warm: ready and busy", plot.warm, "green", { line: "high", width: 1.3, steps: true }),
        shape("wanted", plot.desired, "blue", { line: "high", width: 1.3, steps: true }),
      ] },
      { title: "Queue", unit: "tasks", height: 80, top: Math.max(greatest(plot.depth.high), 1), series: [
        shape("waiting, greatest", plot.depth, "violet", { fill: "high" }),
        shape(null, plot.depth, "violet", { line: "high", width: 1 }),
      ] },
      { title: "Waits", unit: "seconds", height: 110, top: Math.max(greatest(plot.waits.high), 1.5 * cell.within_s), limit: cell.within_s, series: [
        shape("late tasks: the longest wait", plot.waits, "red", { dot: true }),
        shape("mean wait", plot.waits, "violet", { line: "mid", width: 1.2 }),
        shape(`objective: ${seconds(cell.within_s)}`, plot.waits, "red", {}),
      ], extra: (x, y) => plot.late.map((n, i) => n ? `<circle cx="${fixed(x(i))}" cy="${fixed(y(plot.waits.high[i]))}" r="2.2" fill="var(--red)"/>` : "").join("") },
      { title: "Decisions" + (plot.all_changes > plot.changes.length ? `, the greatest ${number(plot.changes.length)} of ${number(plot.all_changes)}` : ""),
        unit: "± agents", height: 90, top: 1, last: true, decisions: true, series: [] },
    ];
    byId("timeline-note").textContent = `${cell.shown.policy}${cell.shown.params ? " (" + cell.shown.params + ")" : ""} · one bucket is ${seconds(plot.width_s)} · the warm-up is shaded`;
    byId("plots").innerHTML = views.map((view) => view.decisions
      ? decisions(view, cell, colour)
      : timePlot({ ...view, cell, series: view.series.filter(Boolean) })).join("");
    follow(cell, plot, colour);
  }

  function decisions({ title, unit, height }, cell, colour) {
    const plot = cell.shown.plot, span = plot.width_s * plot.buckets, x = (t) => LEFT + (W - LEFT - RIGHT) * t / span;
    const most = plot.changes.reduce((m, c) => Math.max(m, Math.abs(c.desired - c.before)), 1);
    const zero = (height + 8) / 2, y = (v) => zero - Math.sign(v) * (zero - 10) * Math.sqrt(Math.abs(v) / most);
    let out = `<svg viewBox="0 0 ${W} ${height + 22}" data-span="${span}">`;
    for (const v of [most, 0, -most]) out += line(LEFT, y(v), W - RIGHT, y(v), v ? "grid" : "axis") + text(LEFT - 8, y(v) + 4, (v > 0 ? "+" : "") + v, "end");
    const step = timeSteps.find((s) => span / s <= 12) || span;
    for (let t = 0; t <= span; t += step) out += (t ? line(x(t), 8, x(t), height, "grid") : "") + text(x(t), height + 16, timeLabel(t, step), t === 0 ? "start" : "middle");
    plot.changes.forEach((c) => {
      const d = c.desired - c.before;
      out += `<path d="M${fixed(x(c.t))} ${fixed(zero)}V${fixed(y(d))}" stroke="var(--${colour(c.reason)})" stroke-width="1.6"/><circle cx="${fixed(x(c.t))}" cy="${fixed(y(d))}" r="2" fill="var(--${colour(c.reason)})"/>`;
    });
    const reasons = [...new Set(plot.changes.map((c) => c.reason))];
    const keys = reasons.map((r) => `<span><i class="dot" style="background:var(--${colour(r)})"></i>${escape(r.replace("_", " "))}</span>`).join("");
    out += `<line class="cursor" y1="8" y2="${height}" visibility="hidden"/></svg>`;
    return `<div class="plot" data-decisions="1"><div class="head"><strong>${title} <small class="soft">${unit}</small></strong><span class="keys">${keys}</span></div>${out}</div>`;
  }

  // ---- one cursor for all plots over time ---------------------------------------------------
  function follow(cell, plot, colour) {
    const svgs = [...byId("plots").querySelectorAll("svg")];
    const hide = () => { byId("tip").hidden = true; svgs.forEach((s) => s.querySelector(".cursor").setAttribute("visibility", "hidden")); };
    for (const svg of svgs) {
      const isDecisions = svg.parentElement.dataset.decisions;
      svg.addEventListener("pointerleave", hide);
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect(), px = (event.clientX - box.left) * W / box.width;
        if (px < LEFT || px > W - RIGHT) return hide();
        const span = plot.width_s * plot.buckets, t = (px - LEFT) / (W - LEFT - RIGHT) * span;
        const i = Math.min(Math.floor(t / plot.width_s), plot.buckets - 1);
        svgs.forEach((s) => { const c = s.querySelector(".cursor"); c.setAttribute("x1", px); c.setAttribute("x2", px); c.setAttribute("visibility", "visible"); });
        tip(event, isDecisions ? decision(plot, t, span) : moment(cell, plot, i));
      });
    }
  }
  const pair = (name, value) => `<div><span class="soft">${name}</span><span>${value}</span></div>`;
  const range = (s, i) => s.low[i] == null ? "–" : s.low[i] === s.high[i] ? number(s.mid[i]) : `${number(s.mid[i])} (${number(s.low[i])}–${number(s.high[i])})`;
  function moment(cell, plot, i) {
    const f = plot.forecast;
    return `<b>${clock(i * plot.width_s)}</b>` + pair("arrived / s", range(plot.arrivals, i))
      + (f ? pair("forecast / s", range(f, i)) : "") + pair("wanted", range(plot.desired, i)) + pair("warm", range(plot.warm, i))
      + pair("busy", range(plot.busy, i)) + pair("waiting", range(plot.depth, i))
      + pair("longest wait", seconds(plot.waits.high[i])) + pair("late tasks", number(plot.late[i]));
  }
  function decision(plot, t, span) {
    const near = plot.changes.reduce((best, c) => !best || Math.abs(c.t - t) < Math.abs(best.t - t) ? c : best, null);
    if (!near || Math.abs(near.t - t) > span / 60) return null;
    return `<b>${clock(near.t)} · ${near.before} → ${near.desired} agents</b><div>${escape(near.reason.replace("_", " "))}</div><p>${escape(near.detail)}</p>`;
  }
  function tip(event, html) {
    const box = byId("tip");
    box.hidden = html == null;
    if (html == null) return;
    box.innerHTML = html;
    const { offsetWidth: w, offsetHeight: h } = box;
    box.style.left = Math.max(8, event.clientX + 16 + w > innerWidth ? event.clientX - w - 16 : event.clientX + 16) + "px";
    box.style.top = Math.max(8, Math.min(event.clientY + 16, innerHeight - h - 8)) + "px";
  }

  // ---- cost against lateness ----------------------------------------------------------------
  const palette = ["blue", "orange", "green", "violet", "red", "teal", "pink", "olive", "sky", "grey"];
  function curve(cell) {
    const points = cell.points.filter((p) => p.cost != null);
    const H = 360, B = H - 40, allowed = 1 - cell.share;
    // Lateness on a square-root scale: what matters is near the objective, and zero must be on it.
    const late = (v) => LEFT + (W - LEFT - 150) * Math.sqrt(v / Math.max(greatest(points.map((p) => p.late)) * 1.05, 1.6 * allowed));
    const costs = points.map((p) => p.cost).sort((a, b) => a - b);
    const cap = Math.max(costs[Math.floor(costs.length * 0.92)] * 1.25 || 2, 1.5), low = Math.min(1, costs[0] || 1) * 0.95;
    const y = (v) => B - (B - 14) * (Math.log(Math.min(v, cap)) - Math.log(low)) / (Math.log(cap) - Math.log(low));
    let out = `<svg viewBox="0 0 ${W} ${H}">`;
    out += `<rect x="${LEFT}" y="14" width="${fixed(late(allowed) - LEFT)}" height="${B - 14}" fill="var(--green)" opacity=".07"/>`;
    const step = nice(cap - low, 6);
    for (let v = Math.ceil(low / step) * step; v <= cap; v += step) out += line(LEFT, y(v), W - 150, y(v), "grid") + text(LEFT - 8, y(v) + 4, ratio(v), "end");
    if (low < 1) out += line(LEFT, y(1), W - 150, y(1), "axis");
    const end = Math.max(greatest(points.map((p) => p.late)) * 1.05, 1.6 * allowed);
    for (const v of [0, .001, .0025, .005, .01, .025, .05, .1, .2, .3, .5, .7, 1]) if (v <= end) {
      out += line(late(v), 14, late(v), B, "grid") + text(late(v), B + 16, digits(100 * v, v > 0 && v < .01 ? 2 : 0).replace(/0$/, (z) => v > 0 && v < .01 ? "" : z), "middle");
    }
    out += line(LEFT, B, W - 150, B, "axis") + line(late(allowed), 14, late(allowed), B, "limit");
    out += text(late(allowed) + 5, 24, `objective: ${percent(allowed)} late at most`);
    out += text((LEFT + W - 150) / 2, H - 6, `tasks that waited longer than ${seconds(cell.within_s)}, in % (square-root scale)`, "middle");
    out += text(0, 10, "cost / perfect (log scale)");
    const names = [...new Set(points.map((p) => p.policy))], first = cell.rows[cell.first].policy, strong = cell.shown.policy;
    names.sort((a, b) => (b === first) - (a === first));
    const shapes = ["circle", "square", "triangle", "diamond"];
    const labels = [];
    names.forEach((name, k) => {
      const own = points.filter((p) => p.policy === name), colour = palette[k % palette.length], shape = shapes[Math.floor(k / palette.length) % 4];
      out += `<g class="rule" data-rule="${k}">`;
      const swept = own.slice().sort((a, b) => a.late - b.late), frontier = [];
      for (const p of swept) if (!frontier.length || p.cost < frontier[frontier.length - 1].cost) frontier.push(p);
      if (frontier.length > 1) out += `<path d="${frontier.map((p, i) => (i ? "L" : "M") + fixed(late(p.late)) + " " + fixed(y(p.cost))).join("")}" fill="none" stroke="var(--${colour})" stroke-width="1.4" opacity=".75"/>`;
      for (const p of own) out += mark(shape, late(p.late), y(p.cost), p.swept ? 2.6 : 5, colour, points.indexOf(p), p.swept ? 0.55 : 1);
      out += "</g>";
      const head = own.find((p) => !p.swept) || own[0];
      labels.push({ k, name, colour, shape, x: late(head.late), y: y(head.cost), strong: name === strong });
    });
    labels.sort((a, b) => a.y - b.y);
    labels.reduce((above, label) => label.row = Math.max(label.y, above + 15), 0);
    const over = Math.max(0, (labels.length ? labels[labels.length - 1].row : 0) - B);
    labels.forEach((label, i) => {
      const row = Math.max(label.row - over, 20 + i * 14);
      out += `<g class="label" data-label="${label.k}"><rect x="${W - 140}" y="${fixed(row - 12)}" width="140" height="15" fill="transparent"/>`
        + mark(label.shape, W - 132, row - 4, 4, label.colour, -1, 1) + text(W - 122, row, label.name, "start", "name" + (label.strong ? " strong" : "")) + "</g>";
    });
    byId("curve").innerHTML = out + "</svg>";
    byId("curve-note").textContent = points.some((p) => p.swept)
      ? "large: as asked for · small: other settings of the same rule · line: the best of them · point at a name to see one rule alone"
      : "one point a policy; --sweep adds the other settings of each rule";
    const svg = byId("curve").querySelector("svg");
    svg.querySelectorAll("[data-label]").forEach((label) => {
      const rule = svg.querySelector(`[data-rule="${label.dataset.label}"]`);
      label.addEventListener("pointerenter", () => { svg.classList.add("dimmed"); rule.classList.add("on"); });
      label.addEventListener("pointerleave", () => { svg.classList.remove("dimmed"); rule.classList.remove("on"); });
    });
    byId("curve").querySelectorAll("[data-point]").forEach((dot) => {
      const p = points[dot.dataset.point];
      dot.addEventListener("pointermove", (event) => tip(event, `<b>${escape(p.policy)}</b>${p.params ? `<div>${escape(p.params)}</div>` : ""}` + pair("late", percent(p.late)) + pair("cost / perfect", ratio(p.cost))));
      dot.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
    });
  }
  function mark(shape, x, y, r, colour, index, opacity) {
    const attributes = `fill="var(--${colour})" opacity="${opacity}" stroke="var(--card)" stroke-width="1"` + (index < 0 ? "" : ` data-point="${index}"`);
    const f = fixed;
    return shape === "circle" ? `<circle cx="${f(x)}" cy="${f(y)}" r="${r}" ${attributes}/>`
      : shape === "square" ? `<rect x="${f(x - r)}" y="${f(y - r)}" width="${2 * r}" height="${2 * r}" ${attributes}/>`
      : shape === "triangle" ? `<path d="M${f(x)} ${f(y - 1.2 * r)}L${f(x + 1.2 * r)} ${f(y + r)}H${f(x - 1.2 * r)}Z" ${attributes}/>`
      : `<path d="M${f(x)} ${f(y - 1.3 * r)}L${f(x + 1.3 * r)} ${f(y)}L${f(x)} ${f(y + 1.3 * r)}L${f(x - 1.3 * r)} ${f(y)}Z" ${attributes}/>`;
  }

  // ---- figures ------------------------------------------------------------------------------
  function tiles(cell) {
    const rows = cell.rows.filter((r) => r.policy !== "perfect" && r.policy !== "service-times");
    const row = cell.shown || rows[0];
    if (!row) return;
    const tile = (value, name, kind = "") => `<div class="tile ${kind}"><b>${value}</b><span>${name}</span></div>`;
    byId("tiles").innerHTML = tile(percent(row.late_share), `late under ${escape(row.policy)}; ${percent(1 - cell.share)} allowed`, row.meets_objective ? "good" : "bad")
      + tile(ratio(row.ratio_to_perfect), "cost, relative to perfect knowledge")
      + tile(digits(row.instance_s / 3600, 1), "agent-hours") + tile(seconds(row.wait_s.p99), "waited at the 99th percentile")
      + tile(number(row.peak_pool), `agents at the peak; ${number(cell.least_fixed)} in the least fixed pool`)
      + tile(number(row.scale_actions), `changes of size, ${number(row.reversals)} of them reversals`);
  }
  function table(cell) {
    const head = ["policy", "late", "cost", "agent-hours", "mean wait", "p50", "p95", "p99", "max", "peak", "changes", "settings"];
    const label = (r) => escape(r.policy) + (r.today ? " (today)" : "");
    const body = cell.rows.map((r, i) => `<tr data-row="${i}" class="${r === cell.shown ? "shown" : ""}">` + [
      `<td><button type="button" aria-pressed="${r === cell.shown}">${label(r)}</button></td>`, `<td class="${r.meets_objective ? "good" : "bad"}">${percent(r.late_share)}</td>`, `<td>${ratio(r.ratio_to_perfect)}</td>`,
      `<td>${digits(r.instance_s / 3600, 1)}</td>`, ...["mean", "p50", "p95", "p99", "max"].map((k) => `<td>${seconds(r.wait_s[k])}</td>`),
      `<td>${number(r.peak_pool)}</td>`, `<td>${number(r.scale_actions)}</td>`,
      `<td title="${escape(r.params)}">${escape(r.params)}${r.tuned ? " (hindsight)" : ""}</td>`].join("") + "</tr>").join("");
    byId("table").innerHTML = `<thead><tr>${head.map((h) => `<th>${h}</th>`).join("")}</tr></thead><tbody>${body}</tbody>`;
    byId("table").querySelectorAll("[data-row]").forEach((line) => line.addEventListener("click", () => {
      choose(cell, Number(line.dataset.row));
      byId("table").querySelector(`[data-row="${line.dataset.row}"] button`).focus();
    }));
  }
  // ---- the row that the plots are of --------------------------------------------------------
  function choose(cell, index) {
    cell.shown = cell.rows[index];
    cell.shown.plot = cell.plots[index];
    tiles(cell); curve(cell); plots(cell); table(cell);
  }

  // ---- the page -----------------------------------------------------------------------------
  function show(index) {
    const cell = cells[index], tasks = cell.rows.length ? cell.rows[0].tasks : 0;
    byId("about").textContent = `${cell.trace} · ${number(tasks)} tasks counted in ${seconds(cell.span_s)} · cold start ${seconds(cell.cold_start_s)} · `
      + `${percent(cell.share)} within ${seconds(cell.within_s)} · ${cell.min} to ${cell.max} agents`;
    choose(cell, cell.first);
  }
  const choice = byId("cells");
  choice.innerHTML = cells.map((c, i) => `<option value="${i}">${escape(c.trace)}, ${seconds(c.cold_start_s)}</option>`).join("");
  choice.parentElement.hidden = cells.length < 2;
  choice.addEventListener("change", () => show(Number(choice.value)));
  const root = document.documentElement;
  const wanted = new URLSearchParams(location.search).get("theme");
  root.dataset.theme = wanted || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  byId("theme").addEventListener("click", () => { root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; });
  if (cells.length) show(0);
})();
