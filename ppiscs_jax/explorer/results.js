// What follows from settings: curves with errors, sensitivities, miscounting; and how they are shown.

"use strict";

const NORMAL_95 = 1.959964;

/** Steps by which the sensitivity to each setting is told. */
const STEPS = [
  { name: "kv", label: "E₀ +1 kV", by: 1, probe: 0.5 },
  { name: "aperture", label: "α +1 mrad", by: 1, probe: 0.25 },
  { name: "inner", label: "θ₀ +1 mrad", by: 1, probe: 0.25 },
  { name: "outer", label: "θₑ +1 mrad", by: 1, probe: 0.25 },
  { name: "rmsd", label: "rmsd +0.005 Å", by: 0.005, probe: 0.001 },
];

/** Curve and standard error of a state. */
function resultOf(about, loaded, state) {
  const x = numbersOf(about, state);
  const curve = ppiscs(about, loaded.group, loaded.coefficients, x);
  return { curve, errors: standardError(about, x, curve) };
}

/** Change of the curve [%] for each of STEPS, by central differences inside the trained range. */
function sensitivities(about, loaded, state, curve) {
  const x = numbersOf(about, state);
  return STEPS.map(({ name, by, probe }) => {
    const [low, high] = limitsOf(about, state, name);
    const ends = [Math.max(x[name] - probe, low), Math.min(x[name] + probe, high)];
    const [below, above] = ends.map((value) =>
      ppiscs(about, loaded.group, loaded.coefficients, { ...x, [name]: value }),
    );
    const scale = (100 * by) / (ends[1] - ends[0]);
    return Array.from(curve, (value, i) => (scale * (above[i] - below[i])) / value);
  });
}

function meanOf(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Values for uPlot at 1 … n atoms: gaps beyond the end. */
function spread(values, n) {
  return Array.from({ length: n }, (_, i) => values[i] ?? null);
}

function atomsAxis(n) {
  return Array.from({ length: n }, (_, i) => i + 1);
}

/**
 * The main plot: band, curve, pinned curves, measured values. `shownPins` are {place, curve}.
 *
 * As a difference, all are shown as deviations [%] from the curve of these settings.
 */
function drawCurves(result, shownPins, measured, difference, hover) {
  const curves = [result.curve, ...shownPins.map((pin) => pin.curve)];
  const n = Math.max(...curves.map((curve) => curve.length), ...(measured?.atoms ?? []));
  const half = result.errors.map((error) => NORMAL_95 * error);
  const lines = [
    { label: "upper", place: 0, width: 0 },
    { label: "lower", place: 0, width: 0 },
    { label: "curve", place: 0 },
    ...shownPins.map(({ place }) => ({ label: `pin ${place}`, place })),
  ];
  const rows = [
    spread(result.curve.map((value, i) => value + half[i]), n),
    spread(result.curve.map((value, i) => value - half[i]), n),
    spread(result.curve, n),
    ...shownPins.map(({ curve }) => spread(curve, n)),
  ];
  if (measured) {
    lines.push({ label: "measured", place: MOST_PINS, points: true });
    const values = new Array(n).fill(null);
    measured.atoms.forEach((atoms, i) => (values[atoms - 1] = measured.values[i]));
    rows.push(values);
  }
  const relative = (value, i) =>
    value === null || !(i < result.curve.length) ? null : 100 * (value / result.curve[i] - 1);
  const shownRows = difference ? rows.map((row) => row.map(relative)) : rows;
  const spec = {
    x: "Atoms in the column",
    y: difference ? "Difference [%]" : "PPISCS [Å²]",
    lines,
    band: true,
    sync: "atoms",
    range: difference ? withMargin : (_, high) => [0, (high || 1) * 1.05],
    hover,
  };
  drawChart("curve-chart", spec, [atomsAxis(n), ...shownRows]);
}

/** A range that holds 0, with a margin. */
function withMargin(low, high) {
  const margin = 0.06 * (high - low) || 1;
  return [Math.min(low, 0) - margin, Math.max(high, 0) + margin];
}

function atomsText(n) {
  return n === 1 ? "1 atom" : `${n} atoms`;
}

function readoutText(about, state, result, index) {
  if (index === null || index === undefined || !(index < result.curve.length)) return "";
  const depth = ((index + 1) * repeatLength(about, state.element, state.zone)) / 10;
  return (
    `${atomsText(index + 1)} (${depth.toFixed(1)} nm): ${shown(result.curve[index], 4)} ± ` +
    `${shown(NORMAL_95 * result.errors[index], 2)} Å² (95 %)`
  );
}

/** Chance of miscounting by thickness, of the curve and of pinned ones. */
function drawMiscounts(state, curve, shownPins) {
  const cut = (values) => values.subarray(0, Math.min(state.atoms, values.length));
  const all = [curve, ...shownPins.map((pin) => pin.curve)].map((c) => miscounted(cut(c), state.dose));
  const n = Math.max(...all.map((missed) => missed.length));
  const lines = [{ label: "curve", place: 0 }];
  lines.push(...shownPins.map(({ place }) => ({ label: `pin ${place}`, place })));
  const floor = (values) => Array.from(values, (value) => Math.max(value, 1e-12));
  const data = [atomsAxis(n), ...all.map((missed) => spread(floor(missed), n))];
  drawChart("miscount-chart", { x: "Atoms in the column", y: "Miscounted", log: true, lines, sync: "atoms", range: decades }, data);
  const total = meanOf(Array.from(all[0]));
  const note =
    `${percentText(total)} of all columns are miscounted if 1 to ${state.atoms} atoms are equally ` +
    `probable and counts are Poisson, at ${shown(state.dose)} e⁻/Å².`;
  return { total, missed: all[0], note };
}

function percentText(probability) {
  if (probability < 1e-6) return "Less than 0.0001 %";
  return `${shown(100 * probability, 3)} %`;
}

/** Miscounting against the inner angle; gives the text and the best angle. */
function drawInnerScan(about, loaded, state, total) {
  const scan = scanInnerAngle(about, loaded.group, loaded.coefficients, numbersOf(about, state), state.dose, state.atoms);
  if (!scan.angles.length) {
    return { note: "There is no room for a detector at least 10 mrad wide between the aperture and the outer angle.", best: null };
  }
  const best = scan.angles[scan.best];
  const least = scan.probabilities[scan.best];
  const marks = [{ x: best, label: `best, ${shown(best)} mrad`, place: 2 }];
  marks.push({ x: state.inner, label: `set, ${shown(state.inner)} mrad`, place: 0 });
  const lines = [{ label: "curve", place: 0 }];
  const data = [scan.angles, scan.probabilities.map((p) => Math.max(p, 1e-12))];
  const range = (low, high) => [Math.max(low * 0.8, 1e-7), Math.min(high * 1.15, 1)];
  drawChart("inner-chart", { x: "Inner angle θ₀ [mrad]", y: "Miscounted", log: true, lines, marks, range }, data);
  const note =
    `${percentText(least)} miscounted at ${shown(best)} mrad, ${percentText(total)} at ` +
    `${shown(state.inner)} mrad. Detectors begin outside the aperture and are at least 10 mrad wide.`;
  return { note, best };
}

function drawSensitivities(about, loaded, state, curve) {
  const rows = sensitivities(about, loaded, state, curve);
  const lines = STEPS.map(({ label }, place) => ({ label, place }));
  drawChart("sensitivity-chart", { x: "Atoms in the column", y: "Change [%]", lines, sync: "atoms", range: withMargin }, [
    atomsAxis(curve.length),
    ...rows,
  ]);
  document.getElementById("sensitivity-legend").innerHTML = STEPS.map(
    ({ label }, place) => `<li>${sampleOf(place)}<span>${label}: ${signed(meanOf(rows[place]))} %</span></li>`,
  ).join("");
  return "Means over thickness stand beside the names of the lines.";
}

function signed(value) {
  const text = shown(Math.abs(value), 2);
  return value < 0 ? `−${text}` : `+${text}`;
}

/** The curve in a sentence, for screen readers. */
function summaryOf(about, state, { curve, errors }) {
  const at = (n) => `${shown(curve[n - 1], 3)} Å² at ${atomsText(n)}`;
  const middle = Math.max(1, Math.round(curve.length / 2));
  return (
    `${nameOf(about, state)}: ${at(1)}, ${at(middle)}, ${at(curve.length)}; standard error ` +
    `${shown((100 * errors[middle - 1]) / curve[middle - 1], 2)} % at ${atomsText(middle)}.`
  );
}

function percentOf(probability) {
  return probability < 1e-5 ? "<0.001 %" : `${(100 * probability).toFixed(probability < 0.01 ? 3 : 1)} %`;
}

function fillTable({ curve, errors }, missed) {
  document.getElementById("table").innerHTML = Array.from(curve, (value, i) => {
    const cells = [shown(value, 5), shown(errors[i], 2), i < missed.length ? percentOf(missed[i]) : ""];
    return `<tr><th scope="row">${i + 1}</th>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
  }).join("");
}
