// Files: measured curves in, curves and Python out. As in ppiscs_jax/io/library.py.

"use strict";

const MOST_ATOMS = 1000;

/**
 * A measured curve from text: {atoms, values}, or an Error that names the line.
 *
 * One value a line, for 1, 2, … atoms, or the number of atoms and a value, separated by spaces,
 * commas, semicolons or tabs. Lines that begin with # or % are comments; a first line may name
 * columns. NaN, #N/A and empty entries are gaps. Of more columns, those named n_atoms and ppiscs…
 * are read, or the first two.
 */
function parseCurve(text) {
  const lines = withoutBlankEnds(
    text
      .replace(/^\uFEFF/, "")
      .split(/\r\n|\r|\n/)
      .map((line, i) => ({ line: line.trim(), number: i + 1 }))
      .filter(({ line }) => !/^[#%]/.test(line)),
  );
  let columns = null;
  const first = splitLine(lines[0].line, separatorOf(lines[0].line));
  if (!/\d/.test(first[0]) && !isGap(first[0])) {
    columns = first.map((name) => name.replace(/["']/g, "").trim());
    lines.splice(0, lines.length, ...withoutBlankEnds(lines.slice(1)));
  }
  const separator = separatorOf(lines.map(({ line }) => line).join("\n"));
  let rows = lines.map(({ line, number }) => numbersOfLine(line, number, separator));
  if (!columns && rows.length === 1 && rows[0].length > 2) rows = rows[0].map((value) => [value]);
  const width = rows[0].length;
  const blank = rows.filter((row) => !row.length).length;
  if (width === 1 && blank && 2 * blank >= rows.length - 1) {
    throw new Error("Every other line is blank; remove blank lines, or write NaN in gaps.");
  }
  // A blank line is a gap between the values of one column, and nothing elsewhere.
  rows = width === 1 ? rows.map((row) => (row.length ? row : [NaN])) : rows.filter((row) => row.length);
  if (rows.some((row) => row.length !== width)) throw new Error("Lines have different numbers of columns.");
  if (separator === "," && !columns && lines.every(({ line }) => /^[\d,]*$/.test(line))) {
    throw new Error("Commas may be decimal ones; separate columns by semicolons or tabs, or name them.");
  }
  const at = columnsOf(columns, width);
  const pairs = rows.map((row, i) => [at.atoms < 0 ? i + 1 : row[at.atoms], row[at.values]]);
  return checkedCurve(pairs);
}

function withoutBlankEnds(lines) {
  const filled = lines.flatMap(({ line }, i) => (line ? [i] : []));
  if (!filled.length) throw new Error("The file holds no values.");
  return lines.slice(filled[0], filled[filled.length - 1] + 1);
}

function numbersOfLine(line, number, separator) {
  if (!line) return [];
  return splitLine(line, separator).map((entry) => {
    const value = toNumber(entry, separator);
    if (Number.isNaN(value) && !isGap(entry)) {
      throw new Error(`Line ${number}: “${entry.slice(0, 40)}” is not a number.`);
    }
    return value;
  });
}

function columnsOf(columns, width) {
  if (width === 1) return { atoms: -1, values: 0 };
  const atoms = columns?.indexOf("n_atoms") ?? -1;
  const values = columns?.findIndex((name) => name.startsWith("ppiscs")) ?? -1;
  return atoms >= 0 && values >= 0 ? { atoms, values } : { atoms: 0, values: 1 };
}

function checkedCurve(pairs) {
  const seen = new Set();
  const kept = [];
  for (const [atoms, value] of pairs) {
    if (atoms === 0 && (value === 0 || Number.isNaN(value))) continue;
    if (!Number.isInteger(atoms) || atoms < 1 || atoms > MOST_ATOMS) {
      throw new Error(`A number of atoms is ${atoms}; it must be whole, 1 to ${MOST_ATOMS}.`);
    }
    if (seen.has(atoms)) throw new Error(`${atoms} atoms are there twice.`);
    seen.add(atoms);
    if (!Number.isNaN(value)) kept.push([atoms, value]);
  }
  if (!kept.length) throw new Error("The file holds no values.");
  kept.sort((a, b) => a[0] - b[0]);
  return { atoms: kept.map(([n]) => n), values: kept.map(([, value]) => value) };
}

function separatorOf(line) {
  return [";", "\t", ","].find((character) => line.includes(character)) ?? /[^\S\n]+/;
}

function splitLine(line, separator) {
  return line.trim().split(separator).map((entry) => entry.trim());
}

function isGap(entry) {
  return ["", "nan", "#n/a"].includes(entry.toLowerCase());
}

/** A number; with semicolons or tabs between columns, or none, decimals may follow a comma. */
function toNumber(entry, separator) {
  const text = separator === ";" || separator === "\t" ? entry.replace(",", ".") : entry;
  return text === "" ? NaN : Number(text);
}

/** How far measured values are from a curve: mean and rms of the relative deviation. */
function deviationOf(measured, curve) {
  const ratios = measured.atoms
    .map((n, i) => measured.values[i] / curve[n - 1] - 1)
    .filter((ratio) => Number.isFinite(ratio));
  const mean = ratios.reduce((sum, r) => sum + r, 0) / ratios.length;
  const rms = Math.sqrt(ratios.reduce((sum, r) => sum + r * r, 0) / ratios.length);
  return { mean, rms, points: ratios.length };
}

/** The curve with its errors, as CSV. */
function csvOf(about, state, curve, errors) {
  const compact = about.compact ? " (compact weights)" : "";
  const lines = [
    `# ppiscs-jax ${about.version}, explorer${compact}`,
    `# ${nameOf(about, state)}`,
    "n_atoms,ppiscs_angstrom2,standard_error_angstrom2",
  ];
  curve.forEach((value, i) => lines.push(`${i + 1},${shown(value, 9)},${shown(errors[i], 4)}`));
  return `${lines.join("\n")}\n`;
}

/** The curve as StatSTEM reads libraries: one value a line, at 1, 2, … atoms. */
function libraryOf(curve) {
  return Array.from(curve, (value) => `${shown(value, 9)}\n`).join("");
}

/** Python that gives the curve. */
function snippetOf(about, state) {
  const vibration = state.byTemperature
    ? `temperature_k=${shown(state.temperature)}`
    : `rmsd_angstrom=${shown(state.rmsd)}`;
  const note = about.compact
    ? `# This page has rounded weights: its curves deviate by up to ${shown(100 * about.largest_rounding_error, 2)} %.\n`
    : "";
  return `${note}from ppiscs_jax import Settings, predict

settings = Settings(
    element="${state.element}",
    zone_axis="${state.zone}",
    voltage_kv=${shown(state.kv)},
    convergence_mrad=${shown(state.aperture)},
    inner_mrad=${shown(state.inner)},
    outer_mrad=${shown(state.outer)},
    ${vibration},
)
curve = predict(settings)
curve.n_atoms  # 1, 2, …
curve.ppiscs, curve.standard_error  # Å²
`;
}

/** A name for a file with the curve. */
function fileNameOf(state, ending) {
  return `${state.element}${state.zone}_${shown(state.kv)}kV_${shown(state.inner)}-${shown(state.outer)}mrad.${ending}`;
}

/** Offer text or a blob as a download. */
function saveFile(name, content, type = "text/plain") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
