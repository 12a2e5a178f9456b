// Plots, by uPlot. A chart is made anew when its lines or the theme change, and else given new data.

"use strict";

const COLOURS = {
  light: ["#0b5cad", "#b5520a", "#0b7a55", "#a3327a", "#6b5200", "#5b4bb5", "#2b6f86"],
  dark: ["#6cb2f5", "#f5a55a", "#4fd1a0", "#f08cc8", "#e6cf5a", "#b3a5ff", "#7fd0e6"],
};
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [12, 5], [3, 6]];

const charts = new Map();

function themeName() {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

function colourOf(place) {
  return COLOURS[themeName()][place % COLOURS.light.length];
}

function styleValue(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * Draw lines in the element of an id.
 *
 * `spec` holds the axes' labels {x, y}, whether y is logarithmic, `lines` {label, place, points,
 * width}, of which the first two may bound a band, `marks` (x, label) that are drawn as vertical
 * lines, and `hover(index)`. `data` is what uPlot takes: x, then one array a line.
 */
function drawChart(id, spec, data) {
  const known = charts.get(id);
  const signature = JSON.stringify([themeName(), spec.x, spec.y, spec.log, spec.lines]);
  if (known?.signature === signature) {
    known.spec = spec;
    known.plot.setData(data);
    return;
  }
  known?.plot.destroy();
  const element = document.getElementById(id);
  const chart = { signature, spec };
  charts.set(id, chart);
  chart.plot = new uPlot(optionsOf(chart, element), data, element);
}

function optionsOf(chart, element) {
  const { spec } = chart;
  const colours = { text: styleValue("--quiet"), grid: styleValue("--grid"), band: styleValue("--band") };
  const font = "12px system-ui, sans-serif";
  const axis = (label, size) => ({
    label,
    labelFont: font,
    font,
    size,
    labelSize: 20,
    stroke: colours.text,
    grid: { stroke: colours.grid, width: 1 },
    ticks: { stroke: colours.grid, width: 1 },
  });
  const vertical = axis(spec.y, 54);
  if (spec.log) {
    vertical.splits = (_, place, low, high) => logarithmicTicks(low, high);
    vertical.filter = (_, values) => values;
    vertical.values = (_, values) => values.map(probabilityText);
  }
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    legend: { show: false },
    cursor: { sync: spec.sync ? { key: spec.sync, scales: ["x", null] } : undefined, y: false, drag: { x: false, y: false } },
    scales: { x: { time: false }, y: { distr: spec.log ? 3 : 1, range: (_, low, high) => chart.spec.range(low, high) } },
    axes: [axis(spec.x, 32), vertical],
    bands: spec.band ? [{ series: [1, 2], fill: colours.band }] : [],
    series: [{}, ...spec.lines.map(lineOf)],
    hooks: {
      draw: [(plot) => drawMarks(plot, chart.spec.marks ?? [])],
      setCursor: [(plot) => chart.spec.hover?.(plot.cursor.idx)],
    },
  };
}

function lineOf(line) {
  const colour = colourOf(line.place);
  if (line.points) {
    return { label: line.label, stroke: colour, width: 0, paths: () => null, points: { show: true, size: 6, fill: colour, stroke: colour } };
  }
  return {
    label: line.label,
    stroke: line.width === 0 ? "transparent" : colour,
    width: line.width ?? 2,
    dash: DASHES[line.place % DASHES.length],
    points: { show: false },
    spanGaps: false,
  };
}

/** Vertical lines with a label at their upper end. */
function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  const ratio = window.devicePixelRatio || 1;
  ctx.save();
  ctx.font = `${12 * ratio}px system-ui, sans-serif`;
  for (const [i, { x, label, place }] of marks.entries()) {
    const at = plot.valToPos(x, "x", true);
    if (!(at >= bbox.left && at <= bbox.left + bbox.width)) continue;
    ctx.strokeStyle = ctx.fillStyle = colourOf(place);
    ctx.lineWidth = 1.5 * ratio;
    ctx.setLineDash([4 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
    const leftmost = marks.every((other) => x <= other.x);
    const room = at - bbox.left > ctx.measureText(label).width + 8 * ratio;
    const right = room && (leftmost || at > bbox.left + bbox.width / 2);
    ctx.textAlign = right ? "right" : "left";
    ctx.fillText(label, at + (right ? -5 : 5) * ratio, bbox.top + (14 + 16 * i) * ratio);
  }
  ctx.restore();
}

function probabilityText(value) {
  if (value >= 0.01) return `${shown(100 * value, 3)} %`;
  return value.toExponential(0).replace("e-", "·10⁻").replace(/\d+$/, superscript).replace(/^1·/, "");
}

function superscript(digits) {
  return [...digits].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join("");
}

/** Ticks at powers of ten, with those between where there are few. */
function logarithmicTicks(low, high) {
  const span = Math.log10(high / low);
  const every = span > 4 ? 2 : 1;
  const between = span > 2.5 ? [1] : span > 1 ? [1, 3] : [1, 1.5, 2, 3, 4, 5, 7];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    if (power % every === 0) ticks.push(...between.map((step) => step * 10 ** power));
  }
  return ticks.filter((tick) => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
}

/** Ranges of logarithmic probabilities: whole decades, down to one in a million. */
function decades(low, high) {
  const least = Math.max(low || 1e-6, 1e-6);
  return [10 ** Math.floor(Math.log10(least) + 1e-9), Math.max(1, high)];
}

/** A sample of a line, for legends. */
function sampleOf(place, points = false) {
  const colour = colourOf(place);
  const mark = points
    ? `<circle cx="13" cy="6" r="4" fill="${colour}"/>`
    : `<line x1="0" y1="6" x2="26" y2="6" stroke="${colour}" stroke-width="3" stroke-dasharray="${DASHES[place % DASHES.length].join(" ")}"/>`;
  return `<svg width="26" height="12" aria-hidden="true">${mark}</svg>`;
}

/** A chart with its title and lines of text above it, as a PNG. */
async function pngOf(id, lines) {
  const canvas = charts.get(id).plot.ctx.canvas;
  const ratio = window.devicePixelRatio || 1;
  const picture = document.createElement("canvas");
  const head = (14 + 20 * lines.length) * ratio;
  picture.width = canvas.width;
  picture.height = canvas.height + head;
  const ctx = picture.getContext("2d");
  ctx.fillStyle = styleValue("--card");
  ctx.fillRect(0, 0, picture.width, picture.height);
  lines.forEach(({ text, place }, i) => {
    ctx.fillStyle = place === undefined ? styleValue("--text") : colourOf(place);
    ctx.font = `${13 * ratio}px system-ui, sans-serif`;
    ctx.fillText(text, 12 * ratio, (22 + 20 * i) * ratio, picture.width - 24 * ratio);
  });
  ctx.drawImage(canvas, 0, head);
  return new Promise((resolve) => picture.toBlob(resolve, "image/png"));
}

/** Charts follow the size of their elements. */
function watchSizes() {
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const plot = charts.get(target.id)?.plot;
      const [width, height] = [target.clientWidth, target.clientHeight];
      if (plot && (plot.width !== width || plot.height !== height)) plot.setSize({ width, height });
    }
  });
  for (const element of document.querySelectorAll(".chart")) observer.observe(element);
}
