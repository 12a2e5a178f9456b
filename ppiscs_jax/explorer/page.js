// The page: fields, what happens when they change, pins, files, theme.

"use strict";

const byId = (id) => document.getElementById(id);
const about = JSON.parse(byId("about").textContent);
const base = defaultState(about);
let { state, pins } = fromFragment(about, location.hash, base);
let measured = null;
let difference = false;
let result = null;
let extras = null;

const LOADED_GROUPS = 6;
const loadedGroups = new Map();

/** The group of a state with its coefficients, a promise; the last few are kept. */
function load(wanted) {
  const place = findGroup(about, wanted);
  if (place < 0) return Promise.resolve(null);
  const known =
    loadedGroups.get(place) ??
    decodeGroup(about, about.groups[place], byId(`weights-${place}`).textContent).then((coefficients) => ({
      place,
      group: about.groups[place],
      coefficients,
    }));
  loadedGroups.delete(place);
  loadedGroups.set(place, known);
  if (loadedGroups.size > LOADED_GROUPS + MOST_PINS) loadedGroups.delete(loadedGroups.keys().next().value);
  return known;
}

let current = null;
let pinned = [];

/** Draw all that depends on the settings: the curve at once, the rest when the page is idle. */
function update() {
  showFields();
  const problems = problemsOf(about, state);
  showProblem(problems.map((problem) => problem.text).join(" "));
  for (const field of document.querySelectorAll(".field")) {
    const bad = problems.some((problem) => problem.field === field.dataset.name);
    field.classList.toggle("outside", bad);
    const note = field.querySelector(".range-note");
    note.textContent = `${bad ? "outside: " : ""}${note.textContent.replace("outside: ", "")}`;
    field.querySelector("input[type=number]").setAttribute("aria-invalid", bad);
  }
  for (const chart of document.querySelectorAll(".chart")) chart.classList.toggle("empty", problems.length > 0);
  for (const id of ["pin", "save-csv", "save-library", "save-png"]) byId(id).disabled = problems.length > 0;
  if (problems.length) {
    later(() => history.replaceState(null, "", `#${toFragment(state, pins)}`));
    return;
  }
  if (current?.place !== findGroup(about, state)) {
    reload();
    return;
  }
  result = resultOf(about, current, state);
  drawCurves(result, pinned, measured, difference, hover);
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(drawOthers);
  later(settle);
}

function showProblem(text) {
  byId("problem").hidden = !text;
  // Screen readers would read the same text again.
  if (byId("problem").textContent !== text) byId("problem").textContent = text;
}

let frame = 0;
let timer = 0;

/** Run once, when settings have rested for a moment. */
function later(action) {
  clearTimeout(timer);
  timer = setTimeout(action, 120);
}

async function reload() {
  const [forState, forPins] = [state, pins];
  let groups;
  try {
    groups = await Promise.all([state, ...pins].map(load));
  } catch (error) {
    showProblem(`The weights in this page cannot be read: ${error.message}`);
    return;
  }
  if (forState !== state || forPins !== pins) return; // a later call does it
  current = groups[0];
  pinned = pins
    .map((pin, i) => ({ place: 1 + (i % MOST_PINS), state: pin, loaded: groups[i + 1] }))
    .filter((pin) => pin.loaded && !problemsOf(about, pin.state).length)
    .map((pin) => ({ ...pin, curve: resultOf(about, pin.loaded, pin.state).curve }));
  showLegend();
  update();
}

function drawOthers() {
  extras = drawMiscounts(state, result.curve, pinned);
  byId("miscount-note").textContent = extras.note;
  byId("sensitivity-note").textContent = drawSensitivities(about, current, state, result.curve);
}

/** What need not follow a slider while it moves. */
function settle() {
  if (!extras) drawOthers();
  const scan = drawInnerScan(about, current, state, extras.total);
  byId("inner-note").textContent = scan.note;
  byId("inner-chart").classList.toggle("empty", scan.best === null);
  byId("use-inner").hidden = scan.best === null || scan.best === state.inner;
  byId("use-inner").onclick = () => change({ inner: scan.best });
  byId("summary").textContent = summaryOf(about, state, result);
  byId("snippet").textContent = snippetOf(about, state);
  if (byId("table-box").open) fillTable(result, extras.missed);
  showMeasured();
  history.replaceState(null, "", `#${toFragment(state, pins)}`);
  // The neighbouring voltages are decoded ahead, so that the slider does not wait for them.
  const { coefficients } = current;
  (window.requestIdleCallback ?? setTimeout)(() => {
    for (let v = 0; v < axisSize(about.voltage); v++) coefficients.scattered(v);
  });
}

function hover(index) {
  byId("readout").textContent = (result && readoutText(about, state, result, index)) || "\u00a0";
}

function change(changes) {
  const before = mostAtoms(about, state);
  state = { ...state, ...changes };
  // As many atoms as were simulated stay so when the specimen changes.
  const most = mostAtoms(about, state);
  if (!("atoms" in changes) && (state.atoms === before || state.atoms > most)) state.atoms = most;
  update();
}

// --- Fields -------------------------------------------------------------------------------------

function makeFields() {
  const zones = [...new Set(about.groups.map((g) => g.zone))].sort();
  const symbols = [...new Set(about.groups.map((g) => g.symbol))].sort();
  byId("element").innerHTML = symbols.map((s) => `<option>${s}</option>`).join("");
  byId("zone").innerHTML = zones.map((z) => `<option value="${z}">[${z}]</option>`).join("");
  byId("element").onchange = (event) => change({ element: event.target.value });
  byId("zone").onchange = (event) => change({ zone: event.target.value });
  byId("fields").innerHTML = FIELDS.map(fieldHtml).join("");
  for (const field of FIELDS) {
    const { slider, number } = inputsOf(field.name);
    slider.oninput = () => change({ [field.name]: fromSlider(field, Number(slider.value)) });
    number.onchange = () => change({ [field.name]: number.value === "" ? NaN : Number(number.value) });
  }
  for (const choice of document.querySelectorAll("input[name=view]")) {
    choice.onchange = () => {
      difference = choice.value === "difference";
      update();
    };
  }
  for (const choice of document.querySelectorAll("input[name=vibration]")) {
    choice.onchange = () => change({ byTemperature: choice.value === "temperature", rmsd: shortRmsd() });
  }
  byId("controls").onsubmit = (event) => event.preventDefault();
}

function shortRmsd() {
  return Number(rmsdOf(about, state).toFixed(4));
}

function fieldHtml({ name, label, unit }) {
  const toggle =
    name === "rmsd"
      ? `<fieldset class="toggle"><legend class="visually-hidden">Thermal vibration given by</legend>
         <label><input type="radio" name="vibration" value="rmsd"> rms displacement</label>
         <label><input type="radio" name="vibration" value="temperature"> temperature</label></fieldset>`
      : "";
  return `<div class="field" data-name="${name}">${name === "rmsd" ? toggle : ""}
    <div class="field-head"><label for="${name}">${label}</label>
    <span><input type="number" id="${name}" step="any" inputmode="decimal" aria-describedby="${name}-range">
    <span class="unit">${unit}</span></span></div>
    <input type="range" id="${name}-slider" aria-label="${label}" aria-describedby="${name}-range">
    <p class="range-note" id="${name}-range"></p></div>`;
}

function inputsOf(name) {
  return { slider: byId(`${name}-slider`), number: byId(name), note: byId(`${name}-range`) };
}

function fromSlider(field, value) {
  if (field.log) return Number((10 ** value).toPrecision(2));
  return Number(value.toPrecision(8));
}

/** Put the state into the fields; the one that is typed in is left alone. */
function showFields() {
  byId("element").value = state.element;
  byId("zone").value = state.zone;
  for (const field of FIELDS) {
    const { slider, number, note } = inputsOf(field.name);
    const [low, high] = limitsOf(about, state, field.name);
    const scale = field.log ? Math.log10 : (value) => value;
    Object.assign(slider, { min: scale(low), max: scale(high), step: field.log ? 0.01 : field.step });
    const value = state[field.name];
    if (Number.isFinite(value)) {
      slider.value = scale(value);
      if (Number(number.value) !== value || number.value === "") number.value = shown(value);
    }
    slider.setAttribute("aria-valuetext", `${shown(value)} ${field.unit}`);
    const trained = field.limit ? "trained range " : "";
    const text = `${trained}${rangeText(about, state, field.name)}`;
    if (!note.textContent.endsWith(text)) note.textContent = text;
  }
  document.querySelector('[data-name="temperature"]').hidden = !state.byTemperature;
  for (const input of document.querySelectorAll("input[name=vibration]")) {
    input.checked = (input.value === "temperature") === state.byTemperature;
  }
  const { slider, number } = inputsOf("rmsd");
  slider.disabled = number.disabled = state.byTemperature;
  if (state.byTemperature) {
    const rmsd = shortRmsd();
    number.value = Number.isFinite(rmsd) ? rmsd : "";
    slider.value = rmsd;
  }
}

// --- Pins, files, theme -------------------------------------------------------------------------

function showLegend() {
  const items = [{ place: 0, text: "these settings" }];
  items.push(...pinned.map((pin) => ({ place: pin.place, text: nameOf(about, pin.state), pin: pin.state })));
  const list = byId("curve-legend");
  list.innerHTML = items.map(({ place, text }) => `<li>${sampleOf(place)}<span>${text}</span></li>`).join("");
  items.forEach(({ text, pin }, i) => {
    if (!pin) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Remove";
    button.setAttribute("aria-label", `Remove the pin ${text}`);
    button.onclick = () => setPins(pins.filter((other) => other !== pin));
    list.children[i].append(button);
  });
  if (measured) list.insertAdjacentHTML("beforeend", `<li>${sampleOf(MOST_PINS, true)}<span>measured</span></li>`);
  byId("unpin").hidden = !pins.length;
}

function setPins(next) {
  pins = next.slice(-MOST_PINS);
  reload();
}

function showMeasured() {
  if (!measured) return;
  const { mean, rms, points } = deviationOf(measured, result.curve);
  const deviation = points
    ? `On average ${signed(100 * mean)} % from these settings’ curve, rms ${shown(100 * rms, 3)} %.`
    : "It has no thickness in common with the curve.";
  byId("measured-note").textContent = `${measured.name}: ${measured.atoms.length} values. ${deviation}`;
}

async function readMeasured(file) {
  try {
    if (file.size > 1e6) throw new Error("The file is larger than 1 MB.");
    measured = { name: file.name, ...parseCurve(await file.text()) };
  } catch (error) {
    byId("measured-note").textContent = `${file.name}: ${error.message}`;
    return;
  }
  byId("unmeasure").hidden = false;
  showLegend();
  update();
}

function say(text) {
  byId("status").textContent = text;
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied.`);
  } catch {
    say(`The browser does not allow copying here. ${what}: ${text}`);
  }
}

function connectActions() {
  byId("pin").onclick = () => setPins([...pins, { ...state }]);
  byId("unpin").onclick = () => setPins([]);
  byId("file").onchange = (event) => event.target.files.length && readMeasured(event.target.files[0]);
  byId("unmeasure").onclick = () => {
    measured = null;
    byId("file").value = "";
    byId("measured-note").textContent = "";
    byId("unmeasure").hidden = true;
    showLegend();
    update();
  };
  byId("save-csv").onclick = () =>
    saveFile(fileNameOf(state, "csv"), csvOf(about, state, result.curve, result.errors), "text/csv");
  byId("save-library").onclick = () => saveFile(fileNameOf(state, "txt"), libraryOf(result.curve));
  byId("save-png").onclick = async () => {
    const lines = [{ text: nameOf(about, state), place: 0 }];
    lines.push(...pinned.map((pin) => ({ text: nameOf(about, pin.state), place: pin.place })));
    saveFile(fileNameOf(state, "png"), await pngOf("curve-chart", lines));
  };
  byId("copy-link").onclick = () => copy(location.href, "Link");
  byId("copy-snippet").onclick = () => copy(byId("snippet").textContent, "Python");
  byId("table-box").ontoggle = () => extras && fillTable(result, extras.missed);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) readMeasured(event.dataTransfer.files[0]);
  });
  window.addEventListener("hashchange", () => {
    ({ state, pins } = fromFragment(about, location.hash, base));
    reload();
  });
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").setAttribute("aria-pressed", name === "dark");
}

function connectTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    setTheme(system.matches ? "dark" : "light");
    if (current) reload();
  };
  system.addEventListener("change", follow);
  byId("theme").onclick = () => {
    setTheme(themeName() === "dark" ? "light" : "dark");
    reload();
  };
  follow();
}

connectTheme();
makeFields();
connectActions();
watchSizes();
byId("about-version").textContent = `ppiscs-jax ${about.version}.`;
byId("weights-note").textContent = about.compact
  ? `Compact page: its weights are rounded, and 95 % of curves stay within ${shown(100 * about.largest_rounding_error, 2)} % of their maximum. The band includes this.`
  : "";
if ("DecompressionStream" in window) reload();
else showProblem("This browser is too old for this page: it needs one of 2023 or later.");
