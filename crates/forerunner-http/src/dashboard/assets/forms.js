"use strict";
// Shared by the dashboard and the report of `forerunner replay`: numbers for people, scales, and the outlines of lines
// and areas.
const forms = (() => {
  // ---- numbers for people -------------------------------------------------------------------
  const digits = (x, n) => x.toLocaleString("en", { maximumFractionDigits: n, minimumFractionDigits: n });
  const number = (x) => x == null ? "–" : Math.abs(x) >= 100 || Number.isInteger(x) ? digits(Math.round(x), 0)
    : Math.abs(x) >= 10 ? digits(x, 1) : digits(x, 2);
  const percent = (x) => x == null ? "–" : x > 0 && x < 0.00005 ? "< 0.01 %" : digits(100 * x, 2) + " %";
  const ratio = (x) => x == null ? "–" : digits(x, 2);
  const seconds = (s) => s == null ? "–" : s < 0.9995 ? Math.round(s * 1000) + " ms" : s < 100 ? digits(s, s < 10 ? 2 : 1) + " s"
    : s < 3599.5 ? Math.floor(Math.round(s) / 60) + " min " + Math.round(s) % 60 + " s" : Math.floor(Math.round(s / 60) / 60) + " h " + Math.round(s / 60) % 60 + " min";
  const clock = (s) => {
    const t = Math.round(s), h = Math.floor(t / 3600), two = (x) => String(x).padStart(2, "0");
    return h + ":" + two(Math.floor(t % 3600 / 60)) + ":" + two(t % 60);
  };

  // ---- scales -------------------------------------------------------------------------------
  const nice = (span, about) => {
    const raw = span / about, power = 10 ** Math.floor(Math.log10(raw)), lead = raw / power;
    return (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10) * power;
  };
  const timeSteps = [1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];
  const greatest = (...lists) => lists.flat().reduce((most, x) => x > most ? x : most, 0);

  // ---- outlines -----------------------------------------------------------------------------
  const fixed = (x) => Math.round(x * 10) / 10;
  // A line through values, broken where there is none; with steps a value stands until the next one.
  function lineD(values, x, y, steps) {
    let d = "", pen = false, before = 0;
    values.forEach((v, i) => {
      if (v == null) { pen = false; return; }
      const [px, py] = [fixed(x(i)), fixed(y(v))];
      d += !pen ? `M${px} ${py}` : steps ? `H${px}${py === before ? "" : "V" + py}` : `L${px} ${py}`;
      pen = true; before = py;
    });
    return d;
  }
  // Areas between two rows of values, one for each stretch without gaps.
  function areaDs(low, high, x, y) {
    const out = [];
    let start = -1;
    const close = (end) => {
      if (start < 0) return;
      let d = "";
      for (let i = start; i < end; i++) d += (i === start ? "M" : "L") + fixed(x(i)) + " " + fixed(y(high[i]));
      for (let i = end - 1; i >= start; i--) d += "L" + fixed(x(i)) + " " + fixed(y(low[i]));
      out.push(d + "Z");
      start = -1;
    };
    high.forEach((v, i) => { if (v == null || low[i] == null) close(i); else if (start < 0) start = i; });
    close(high.length);
    return out;
  }

  return { digits, number, percent, ratio, seconds, clock, nice, timeSteps, greatest, fixed, lineD, areaDs };
})();
