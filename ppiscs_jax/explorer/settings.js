// The settings of one curve: what can be set, what is allowed, and how it stands in the address.

"use strict";

/** Fields with a number, in the order of the page. `about` limits are the trained range. */
const FIELDS = [
  { name: "kv", label: "Voltage", symbol: "E₀", unit: "kV", limit: "voltage_kv", step: 1 },
  { name: "aperture", label: "Convergence semi-angle α", symbol: "α", unit: "mrad", limit: "convergence_mrad", step: 0.1 },
  { name: "inner", label: "Inner angle θ₀", symbol: "θ₀", unit: "mrad", limit: "inner_mrad", step: 0.5 },
  { name: "outer", label: "Outer angle θₑ", symbol: "θₑ", unit: "mrad", limit: "outer_mrad", step: 0.5 },
  { name: "rmsd", label: "Thermal rms displacement", symbol: "rmsd", unit: "Å", limit: "rmsd_angstrom", step: 0.0005 },
  { name: "temperature", label: "Temperature", symbol: "T", unit: "K", step: 1 },
  { name: "dose", label: "Dose", symbol: "dose", unit: "e⁻/Å²", log: true },
  { name: "atoms", label: "Most atoms in a column", symbol: "atoms", unit: "atoms", step: 1, whole: true },
];

const ROUNDING = 1e-6;

function findGroup(about, state) {
  return about.groups.findIndex((g) => g.symbol === state.element && g.zone === state.zone);
}

function mostAtoms(about, state) {
  const place = findGroup(about, state);
  return place < 0 ? 1 : about.thickest[about.groups[place].index];
}

/** Lowest and highest value on the slider of a field: the trained range, where there is one. */
function limitsOf(about, state, name) {
  const place = Math.max(findGroup(about, state), 0);
  if (name === "rmsd") return about.rmsd_ends[about.groups[place].index];
  if (name === "temperature") return [1, Math.floor(about.elements[state.element].hottest_k)];
  if (name === "dose") return [1e2, 1e7];
  if (name === "atoms") return [2, mostAtoms(about, state)];
  return about.limits[FIELDS.find((field) => field.name === name).limit];
}

/** Rms displacement [Å] at a temperature [K]: √(B / 8π²), B(T) of Gao & Peng (1999). */
function rmsdAt(about, element, kelvin) {
  const e = about.elements[element];
  const coefficients = kelvin > 80 ? e.debye_waller_high : e.debye_waller_low;
  const b = coefficients.reduceRight((sum, c) => sum * kelvin + c, 0);
  return Math.sqrt(b / (8 * Math.PI ** 2));
}

function rmsdOf(about, state) {
  return state.byTemperature ? rmsdAt(about, state.element, state.temperature) : state.rmsd;
}

/** The numbers that `ppiscs` takes. */
function numbersOf(about, state) {
  const { kv, aperture, inner, outer } = state;
  return { kv, aperture, inner, outer, rmsd: rmsdOf(about, state) };
}

function defaultState(about) {
  const gold = about.groups.filter((g) => g.symbol === "Au");
  const group = gold.find((g) => g.zone === "110") ?? gold[0] ?? about.groups[0];
  const state = {
    element: group.symbol,
    zone: group.zone,
    kv: 300,
    aperture: 20,
    inner: 60,
    outer: 200,
    rmsd: 0.085,
    temperature: 293,
    byTemperature: false,
    dose: 1e4,
  };
  state.atoms = mostAtoms(about, state);
  for (const name of ["kv", "aperture", "inner", "outer", "rmsd"]) {
    const [low, high] = limitsOf(about, state, name);
    state[name] = Math.min(Math.max(state[name], low), high);
  }
  return state;
}

/** A number as text, without the digits that binary fractions leave. */
function shown(value, digits = 6) {
  return String(Number(value.toPrecision(digits)));
}

function rangeText(about, state, name) {
  const { unit } = FIELDS.find((field) => field.name === name);
  const [low, high] = limitsOf(about, state, name);
  if (name === "dose") return `slider ${low} to ${high / 1e6} million ${unit}`;
  return `${shown(low)} to ${shown(high)} ${unit}`;
}

/** What is wrong with a state: {field, text} for each problem. */
function problemsOf(about, state) {
  const problems = [];
  const say = (field, text) => problems.push({ field, text });
  if (findGroup(about, state) < 0) say("zone", `${state.element} [${state.zone}] is not in this page.`);
  const outside = (value, [low, high]) =>
    !(value >= low - ROUNDING * Math.abs(low) && value <= high + ROUNDING * Math.abs(high));
  for (const { name, label, unit, symbol } of FIELDS) {
    if (name === "dose" || name === "atoms" || name === (state.byTemperature ? "rmsd" : "temperature")) continue;
    const value = state[name];
    if (!outside(value, limitsOf(about, state, name))) continue;
    const given = Number.isFinite(value) ? `${symbol} = ${shown(value)} ${unit}` : `${label} is missing; it`;
    const range = name === "temperature" ? "the range of the Debye–Waller factors" : "the trained range";
    say(name, `${given} is outside ${range}, ${rangeText(about, state, name)}.`);
  }
  const rmsd = rmsdOf(about, state);
  if (state.byTemperature && !problems.length && outside(rmsd, limitsOf(about, state, "rmsd"))) {
    const range = rangeText(about, state, "rmsd");
    say("temperature", `At ${shown(state.temperature)} K the rms displacement is ${shown(rmsd, 3)} Å, outside the trained range, ${range}.`);
  }
  if (state.inner >= state.outer) say("inner", "The inner angle must be below the outer angle.");
  if (!(state.dose > 0 && state.dose <= about.most_dose)) {
    say("dose", `The dose must be above 0 and up to ${shown(about.most_dose)} e⁻/Å².`);
  }
  const atoms = limitsOf(about, state, "atoms");
  if (!Number.isInteger(state.atoms) || outside(state.atoms, atoms)) {
    say("atoms", `The most atoms in a column must be a whole number, ${atoms[0]} to ${atoms[1]}.`);
  }
  return problems;
}

/** One line that names a state. */
function nameOf(about, state) {
  const vibration = state.byTemperature ? `${shown(state.temperature)} K` : `rmsd ${shown(state.rmsd)} Å`;
  return (
    `${state.element} [${state.zone}], ${shown(state.kv)} kV, α ${shown(state.aperture)} mrad, ` +
    `${shown(state.inner)}–${shown(state.outer)} mrad, ${vibration}`
  );
}

const SHORT = { element: "el", zone: "zone", kv: "kv", aperture: "a", inner: "in", outer: "out", dose: "dose", atoms: "n" };

function stateToText(state) {
  const words = Object.entries(SHORT).map(([name, short]) => [short, textOf(state[name])]);
  words.push(state.byTemperature ? ["t", textOf(state.temperature)] : ["rmsd", textOf(state.rmsd)]);
  return new URLSearchParams(words).toString();
}

function textOf(value) {
  return typeof value === "number" ? shown(value) : value;
}

/** A state from the address; what it does not say, or says wrongly, is as in `base`. */
function stateFromText(about, text, base) {
  const words = new URLSearchParams(text);
  const state = { ...base };
  for (const [name, short] of Object.entries(SHORT)) {
    if (!words.has(short)) continue;
    const given = words.get(short);
    if (name === "element" || name === "zone") {
      const known = about.groups.some((g) => given === (name === "element" ? g.symbol : g.zone));
      if (known) state[name] = given;
    } else if (given.trim() !== "" && Number.isFinite(Number(given))) state[name] = Number(given);
  }
  for (const [name, short] of [["temperature", "t"], ["rmsd", "rmsd"]]) {
    if (words.get(short)?.trim() && Number.isFinite(Number(words.get(short)))) {
      state[name] = Number(words.get(short));
      state.byTemperature = name === "temperature";
    }
  }
  if (!words.has("n")) state.atoms = mostAtoms(about, state);
  return state;
}

/** The address's fragment of a state and of pinned ones. */
function toFragment(state, pins) {
  const pinned = pins.map((pin) => `&pin=${encodeURIComponent(stateToText(pin))}`);
  return stateToText(state) + pinned.join("");
}

function fromFragment(about, fragment, base) {
  const text = fragment.replace(/^#/, "");
  const pins = new URLSearchParams(text).getAll("pin").slice(0, MOST_PINS);
  return {
    state: stateFromText(about, text, base),
    pins: pins.map((pin) => stateFromText(about, pin, base)),
  };
}

const MOST_PINS = 6;
