"use strict";
// Tables, lists and notices. All that comes from tasks, agents and pools is set as text, never as markup.
const parts = (() => {
  const { number, percent, seconds, digits } = forms;
  const { html, svg } = plots;

  // ---- words --------------------------------------------------------------------------------
  const reasons = {
    steady: "the size is right", forecast_up: "the forecast needs more", forecast_down: "the forecast has needed fewer for a while",
    stabilizing: "fewer would do, but the pool waits", surge: "arrivals exceed the forecast", backlog: "more tasks wait than the agents can run in time",
    utilisation: "a threshold was crossed", fixed: "the size is fixed", bounded: "a bound limits the size", learning: "still learning: too little history to shrink",
    announced: "tasks are known to become due",
    outage: "what the agents depend on fails, or has just failed: the pool keeps its size",
  };
  const causes = { tick: "regular tick", surge: "surge", backlog: "backlog", agent_lost: "agent lost", service_shift: "durations changed", settings: "settings changed" };
  const sources = { new: "new", agent: "resident in the agent", node: "from the node's cache", delta: "the node read what it lacked", store: "read from the store" };
  const states = {
    running: ["running", "good"], paused: ["paused", "warn"], circuit_open: ["circuit open", "bad"], dependency_open: ["outage", "bad"],
    ready: ["ready", "good"], busy: ["busy", "busy"], starting: ["starting", ""], cooldown: ["stopping", ""], stopped: ["stopped", ""], failed: ["failed", "bad"],
  };
  const taskStates = { waiting: ["waits for an answer", "warn"], running: ["running", "busy"], succeeded: ["succeeded", "good"], failed: ["failed", "bad"], dead: ["dead", "bad"], expired: ["expired", "bad"], damaged: ["damaged", "bad"] };
  const words = (table, name) => Object.hasOwn(table, name) ? table[name] : String(name).replaceAll("_", " ");

  // ---- small things -------------------------------------------------------------------------
  const short = (id) => String(id).slice(-8);
  const two = (x) => String(x).padStart(2, "0");
  const time = (iso) => { const t = new Date(iso); return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`; };
  const ago = (iso, now) => {
    if (!iso) return "–";
    const s = Math.max(0, (now - Date.parse(iso)) / 1000);
    return s < 1 ? "now" : (s < 60 ? Math.round(s) + " s" : seconds(s)) + " ago";
  };
  const bytes = (n) => n < 1000 ? `${n} B` : n < 1e6 ? `${digits(n / 1e3, n < 1e4 ? 1 : 0)} kB` : `${digits(n / 1e6, 1)} MB`;
  const state = (table, name) => {
    const [label, kind] = Object.hasOwn(table, name) ? table[name] : [words({}, name), ""];
    return html("span", { class: "state " + kind }, label);
  };
  const link = (href, label, key) => html("a", { href, "data-key": key || href }, label);
  const json = (href, what) => html("a", { href, "data-key": href, "aria-label": `JSON of ${what}` }, "JSON");
  const path = (pool, rest = "") => "/v1/pools/" + encodeURIComponent(pool) + rest;
  const late = (recent) => recent.started ? recent.late / recent.started : null;

  // Puts children into a box, unless somebody is about to copy from it, and keeps the focus where it was.
  function put(box, ...children) {
    const chosen = getSelection();
    if (chosen && !chosen.isCollapsed && box.contains(chosen.anchorNode)) return;
    const key = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    box.replaceChildren(...children);
    if (key) box.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
  }

  // What agents ask, with a button for each option.
  function questions(box, tasks, at, answer, refusal) {
    const entry = (task) => {
      const request = (task.requests || []).findLast((request) => request.answer === undefined);
      if (!request) return null;
      const details = request.details || {}, shown = [details.tool, ...(details.paths || []), details.input && JSON.stringify(details.input)].filter(Boolean);
      const button = (option) => {
        const made = html("button", { type: "button", "data-key": `${task.id} ${option.id}` }, option.name || option.id);
        made.addEventListener("click", () => { made.disabled = true; answer(task, request, option.id); });
        return made;
      };
      const options = (request.options || []).map(button);
      const command = html("code", {}, `forerunner task answer ${task.id} ANSWER`);
      return html("li", {},
        html("p", {}, html("b", {}, request.prompt), ` ${task.pool}, asked ${ago(request.asked_at, at)} · `, json("/v1/tasks/" + task.id, "the task")),
        ...(shown.length ? [html("p", { class: "soft" }, shown.join(" · "))] : []), html("p", {}, ...(options.length ? options : [command])));
    };
    put(box, ...(refusal ? [html("li", {}, notice("warn", `The answer was refused: ${refusal}`))] : []), ...tasks.map(entry).filter(Boolean));
  }

  // A table from columns [name, cell of a row, class]; a cell is text, an element, or null for nothing.
  function table(box, columns, rows, empty, rowClass = () => null) {
    if (!rows.length) return put(box, html("tbody", {}, html("tr", {}, html("td", { class: "left empty" }, empty))));
    // A column that nobody has anything for only takes room.
    columns = columns.filter(([, of]) => rows.some((row) => of(row) != null));
    const head = html("tr", {}, ...columns.map(([name, , kind]) => html("th", { scope: "col", class: kind }, name)));
    const cell = (row) => ([name, of, kind]) => {
      const content = of(row);
      return html("td", { class: [kind, content == null && "nothing"].filter(Boolean).join(" ") || null, "data-label": name }, content ?? "–");
    };
    const body = rows.map((row) => html("tr", { class: rowClass(row) }, ...columns.map(cell(row))));
    put(box, html("thead", {}, head), html("tbody", {}, ...body));
  }

  // ---- pools --------------------------------------------------------------------------------
  function sizeBar(pool) {
    const { busy, ready, starting } = pool.agents, most = Math.max(pool.desired, busy + ready + starting, 1), unit = 116 / most;
    const part = (from, count, kind, fill) => svg("rect", { x: 2 + from * unit, y: 2, width: Math.max(0, count * unit), height: 8, class: kind, fill });
    const x = 2 + pool.desired * unit;
    return svg("svg", { viewBox: "0 0 120 12", class: "bar", "aria-hidden": "true" }, part(0, busy, "busy-area"), part(busy, ready, "ready-area"),
      part(busy + ready, starting, "starting-area", "url(#starting)"), svg("line", { x1: x, x2: x, y1: 0, y2: 12, class: "now" }));
  }
  function pools(box, list, chosen) {
    const wait = (name) => (pool) => pool.recent.wait_s ? seconds(pool.recent.wait_s[name]) : null;
    const lateCell = (pool) => {
      const share = late(pool.recent);
      const over = share > 1 - pool.objective.share + 1e-9;
      return share == null ? null : html("span", {}, percent(share) + (over ? " ▲" : ""), " ", html("small", {}, `${over ? "over" : "of"} ${percent(1 - pool.objective.share)}`));
    };
    const name = (pool) => {
      const anchor = link("#pool=" + encodeURIComponent(pool.name), pool.name, "pool-" + pool.name);
      if (pool.name === chosen) anchor.setAttribute("aria-current", "true");
      return anchor;
    };
    table(box, [
      ["pool", name, "left"],
      ["state", (pool) => html("span", {}, state(states, pool.state), pool.mode === "advise" ? " advise mode" : ""), "left"],
      ["", sizeBar, "left"],
      ["wanted", (pool) => number(pool.desired)], ["ready", (pool) => number(pool.agents.ready)], ["busy", (pool) => number(pool.agents.busy)],
      ["starting", (pool) => number(pool.agents.starting)], ["depth", (pool) => number(pool.depth)],
      ["arrivals/s", (pool) => pool.recent.rate_per_s == null ? null : number(pool.recent.rate_per_s)],
      ["late", lateCell], ["wait p50", wait("p50")], ["p95", wait("p95")], ["p99", wait("p99")],
    ], list, "This node has no pools. Add one to its configuration, as [pools.NAME], and start it again.", (pool) => pool.name === chosen ? "chosen" : null);
  }

  const notice = (kind, ...content) => html("p", { class: "notice " + kind }, ...content);
  const code = (text) => html("code", {}, text);

  // What somebody who looks at this pool must know first.
  function notices(pool, now) {
    const out = [], decision = pool.decision;
    if (pool.state === "circuit_open") {
      const left = (Date.parse(pool.until) - now) / 1000;
      out.push(notice("bad", `Circuit open: agents failed too often, and none is started until ${time(pool.until)}${left > 0 ? ` (in ${seconds(Math.max(1, Math.round(left)))})` : ""}. The last one: ${pool.reason}`));
    }
    const dependency = pool.dependency || {};
    if (pool.state === "dependency_open") out.push(notice("bad", `Dependency circuit open: what the agents depend on fails. Tasks wait, one probes at a time, the next at ${time(pool.until)}. ${number(dependency.excused_attempts || 0)} failed attempts did not count. The last error: ${pool.reason}`));
    if (dependency.limit != null) out.push(notice("warn", `Dependency circuit half-open: at most ${number(dependency.limit)} tasks run at once; ${percent(dependency.failed_share)} of the last ones failed alike. The last error: ${dependency.error}`));
    if (pool.state === "paused") out.push(notice("warn", "Paused: tasks are accepted and wait, agents stay warm. It continues after ", code(`forerunner pool resume ${pool.name}`)));
    if (pool.mode === "advise") out.push(notice("", `Advise mode: decisions are shown but not carried out. The policy wants ${decision ? number(decision.desired) : "–"} agents; the pool has ${number(pool.desired)}.`));
    if (pool.waiting >= 0.9 * pool.queue_limit) out.push(notice("bad", `The queue is nearly full: ${number(pool.waiting)} of ${number(pool.queue_limit)} tasks wait. Beyond that, submissions are refused (429).`));
    if (pool.state === "running" && decision && decision.reason === "learning") out.push(notice("", "The forecast is still learning: too little has been seen to shrink the pool by. That passes within minutes."));
    return out;
  }

  function about(pool) {
    const cold = pool.cold_start_s ? `cold start ${seconds(pool.cold_start_s.p50)} (p90 ${seconds(pool.cold_start_s.p90)})` : "no cold start measured yet";
    return `${pool.kind} agents, ${number(pool.min)} to ${number(pool.max)} · rule ${pool.policy} · ${cold} · objective: ${percent(pool.objective.share)} of tasks begin within ${seconds(pool.objective.within_s)}`;
  }

  function tiles(box, pool, several) {
    const { recent, agents, decision } = pool, forecast = decision && decision.forecast, share = late(recent), allowed = 1 - pool.objective.share;
    const tile = (value, name, kind = "") => html("div", { class: "tile " + kind }, html("b", {}, value), html("span", {}, name));
    // What is known to come, apart from the forecast: nothing where nothing is.
    const known = forecast && forecast.announced, isAnnounced = known && known.next_in_s != null;
    const announced = isAnnounced ? [tile(number(known.within_horizon), `known to become due within ${seconds(forecast.horizon_s)}; next ${number(known.next_tasks)} in ${seconds(Math.round(known.next_in_s))}`)] : [];
    const lately = (recent.span_s < 299 ? `in the last ${seconds(Math.round(recent.span_s))}` : "in the last 5 min") + (several ? " on this node" : "");
    const over = share != null && share > allowed + 1e-9;
    const behind = recent.wait_context_s && recent.wait_context_s.max > 0 ? `; before that for the task before it, p99 ${seconds(recent.wait_context_s.p99)}` : "";
    put(box,
      tile(number(pool.desired), "agents wanted"),
      tile(`${number(agents.ready)} / ${number(agents.busy)}`, `ready / busy; ${number(agents.starting)} starting, ${number(agents.cooldown)} stopping`),
      tile(number(pool.depth), `tasks wait for an agent; ${number(Math.max(0, pool.waiting - pool.depth))} more are delayed or behind others`),
      tile(recent.rate_per_s == null ? "–" : number(recent.rate_per_s) + "/s", forecast ? `arriving; ${number(forecast.rate_per_s)}/s expected (${number(forecast.rate_low)}–${number(forecast.rate_high)})` : "arriving; the rule does not forecast"),
      ...announced,
      tile(share == null ? "–" : percent(share), share == null ? `late: no task began ${lately}` : `late ${lately}; ${over ? "over" : "within"} the ${percent(allowed)} allowed`, share == null ? "" : over ? "bad" : "good"),
      tile(recent.wait_s ? seconds(recent.wait_s.p99) : "–", recent.wait_s ? `wait for an agent p99 ${lately}; p50 ${seconds(recent.wait_s.p50)}, p95 ${seconds(recent.wait_s.p95)}${behind}` : "wait p99"));
  }

  // ---- decisions, agents, tasks, nodes ------------------------------------------------------
  // A wish that is not carried out is repeated with each look: one entry for all of them.
  function runs(list) {
    const same = (a, b) => a.before === b.before && a.desired === b.desired && a.reason === b.reason;
    return list.reduce((out, d) => {
      const last = out[out.length - 1];
      if (last && same(last.newest, d)) last.since = d.at; else out.push({ newest: d, since: d.at });
      return out;
    }, []);
  }
  function decisions(box, pool, list) {
    if (!list.length) return put(box, html("li", { class: "empty" }, "Nothing decided yet."));
    put(box, ...runs(list).slice(0, 12).map(({ newest: d, since }) => {
      const size = d.desired === d.before ? `${number(d.desired)} kept` : `${number(d.before)} → ${number(d.desired)}${d.desired > d.before ? " ▲" : " ▼"}`;
      const cause = d.cause === "tick" ? "" : ` (${words(causes, d.cause)})`;
      const why = html("span", { class: "why" }, words(reasons, d.reason) + cause + (d.mode === "advise" ? ", not carried out" : ""), html("br"), html("span", { class: "detail" }, d.detail));
      return html("li", {}, html("span", { class: "soft" }, time(d.at) + (since === d.at ? "" : ` since ${time(since)}`)), html("strong", { class: "what" }, size), why, html("span", { class: "json" }, json(path(pool, "/decisions/" + d.seq), `decision ${d.seq}`)));
    }));
  }

  const RANK = { busy: 0, ready: 1, starting: 2, cooldown: 3 }, MOST = 60;
  function agents(box, note, list, now, several) {
    const shown = list.slice().sort((a, b) => (RANK[a.state] ?? 4) - (RANK[b.state] ?? 4)).slice(0, MOST);
    const left = list.length - shown.length;
    note.textContent = [several && "those of this node", left > 0 && `${number(shown.length)} of ${number(list.length)}`].filter(Boolean).join("; ");
    const resident = (agent) => {
      if (!agent.context) return null;
      const more = Math.max(0, agent.contexts_resident - 1);
      return html("span", {}, code(agent.context), ` ${bytes(agent.context_bytes)}${more ? `, and ${number(more)} more` : ""}`);
    };
    table(box, [
      ["agent", (agent) => html("code", { title: agent.id }, short(agent.id)), "left"],
      ["state", (agent) => state(states, agent.state), "left"],
      ["task", (agent) => agent.task ? link("/v1/tasks/" + agent.task, short(agent.task), "agent-task-" + agent.id) : null, "left"],
      ["resident contexts", resident, "left long"],
      ["last used", (agent) => agent.last_used ? ago(agent.last_used, now) : null],
      ["tasks", (agent) => number(agent.tasks)],
      ["cold start", (agent) => agent.cold_start_s == null ? null : seconds(agent.cold_start_s)],
      ["process", (agent) => agent.pid == null ? null : String(agent.pid)],
    ], shown, "No agents just now.");
  }

  function tasks(box, pool, list, now) {
    const from = (task) => task.context == null ? null : html("span", {}, code(task.context),
      task.context_cost ? ` ${words(sources, task.context_cost.source)}${task.context_cost.restored_bytes ? `, ${bytes(task.context_cost.restored_bytes)}` : ""}` : "");
    const ended = (task) => task.error ? `${words({}, task.error.kind)}: ${task.error.message}` : null;
    table(box, [
      ["task", (task) => link("/v1/tasks/" + task.id, short(task.id), "task-" + task.id), "left"],
      ["state", (task) => state(taskStates, task.state), "left"],
      ["log", (task) => task.attempt > 0 ? link("/v1/tasks/" + task.id + "/logs", "log", "log-" + task.id) : null, "left"],
      ["submitted", (task) => ago(task.submitted_at, now)],
      ["wait", (task) => task.wait_s == null ? null : seconds(task.wait_s) + (task.wait_context_s > 0 ? `, ${seconds(task.wait_context_s)} of it for the task before` : "")],
      ["on an agent", (task) => task.service_s == null ? null : seconds(task.service_s)],
      ["attempt", (task) => task.attempt > 1 ? `${task.attempt} of ${task.max_attempts}` : null],
      ["context, and where it came from", from, "left long"],
      ["error", ended, "left long"],
    ], list, html("span", {}, "No task yet. The first one: ", code(`curl ${location.origin}${path(pool, "/tasks")} -H 'Content-Type: application/json' -d '{"input":"hello"}'`)));
  }

  // The one that comes next is first; those that are paused or over are last.
  function schedules(box, note, page, now) {
    const next = (schedule) => schedule.next_runs.length ? Date.parse(schedule.next_runs[0]) : Infinity;
    const list = page.schedules.slice().sort((a, b) => next(a) - next(b));
    note.textContent = page.next ? `the first ${number(list.length)} by name` : "";
    const moment = (iso) => html("span", { title: iso }, new Date(iso).toLocaleString());
    const when = (schedule) => schedule.cron ? [html("code", {}, schedule.cron), ` ${schedule.time_zone || "UTC"}`] : schedule.every ? [`every ${schedule.every}`] : ["once"];
    const ahead = (schedule) => {
      const at = schedule.next_runs[0];
      if (!at) return schedule.enabled ? "over" : "paused";
      const left = (Date.parse(at) - now) / 1000;
      return html("span", {}, moment(at), left >= 1 && left < 86400 ? ` in ${seconds(Math.round(left))}` : "");
    };
    table(box, [
      ["schedule", (schedule) => link("/v1/schedules/" + encodeURIComponent(schedule.name), schedule.name, "schedule-" + schedule.name), "left"],
      ["pool", (schedule) => schedule.pool, "left"],
      ["when", (schedule) => html("span", {}, ...when(schedule)), "left long"],
      ["next run", ahead, "left"],
      ["last run", (schedule) => schedule.last_run ? moment(schedule.last_run.occurrence) : null, "left"],
      ["last task", (schedule) => schedule.last_run ? link("/v1/tasks/" + schedule.last_run.task, short(schedule.last_run.task), "schedule-task-" + schedule.name) : null, "left"],
      ["submitted", (schedule) => number(schedule.fired)], ["skipped", (schedule) => schedule.skipped ? number(schedule.skipped) : null],
      ["problem", (schedule) => schedule.problem || null, "left long"],
    ], list, "No schedules.");
  }

  function nodes(box, list) {
    const agents = (node) => Object.entries(node.pools).map(([pool, a]) => `${pool}: ${a.busy} busy, ${a.ready} ready, ${a.starting} starting`).join("; ");
    table(box, [
      ["node", (node) => html("code", { title: node.id }, short(node.id)), "left"],
      ["role", (node) => (node.leads ? "leads" : "follows") + (node.this ? ", shows this page" : ""), "left"],
      ["version", (node) => node.version, "left"],
      ["started", (node) => new Date(node.started_at).toLocaleString(), "left"],
      ["agents", agents, "left long"],
    ], list, "No node is known.", (node) => node.this ? "chosen" : null);
  }

  return { put, pools, notice, notices, about, tiles, questions, decisions, agents, tasks, schedules, nodes, words, reasons, time, ago, path };
})();
