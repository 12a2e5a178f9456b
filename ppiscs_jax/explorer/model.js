// The additive surrogate of ppiscs_jax/surrogate/additive.py, evaluated in double precision.
//
// `about` is the JSON that weights.py and page.py make. A group is an element along a zone axis;
// its coefficients are decoded when it is first looked at.

"use strict";

const ESCAPE = 255;

/** Decompress one group, given in base64, into its coefficients. */
async function decodeGroup(about, group, base64) {
  const binary = atob(base64);
  const packed = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const content = new Uint8Array(await new Response(stream).arrayBuffer());
  return unpackGroup(about, group, content);
}

/**
 * Coefficients of one group from its decompressed stream (see weights.py for the order).
 *
 * `scattered(v)` gives those of one voltage, (apertures, rmsd, angles, k), computed when they are
 * first asked for; `unscattered` is (voltages, rmsd, rings, n).
 */
function unpackGroup(about, group, content) {
  const voltages = axisSize(about.voltage);
  const cells = axisSize(about.aperture) * axisSize(about.rmsd);
  const angles = axisSize(about.angle);
  const k = about.thickness.length;
  const n = about.thickness[0].length;
  const rank = group.components;
  const rings = about.ring_edges_mrad.length - 1;

  let at = rank * cells * voltages * angles;
  const numbers = content.subarray(0, at);
  function take(count, Type) {
    const width = Type.BYTES_PER_ELEMENT;
    const bytes = new Uint8Array(count * width);
    for (let plane = 0; plane < width; plane++) {
      for (let i = 0; i < count; i++) bytes[i * width + plane] = content[at++];
    }
    return new Type(bytes.buffer);
  }
  const half = (count) => Float64Array.from(take(count, Uint16Array), fromHalf);
  const large = take(group.large, Uint32Array);
  const basis = about.step > 1 ? half(voltages * k * rank) : take(voltages * k * rank, Float32Array);
  const angleScale = take(voltages * angles, Float32Array);
  const thicknessScale = take(voltages * k, Float32Array);
  const unscattered = half(voltages * axisSize(about.rmsd) * rings * n);
  const sums = angleSums(numbers, large, angles, about.step);

  const known = new Map();
  function scattered(v) {
    if (!known.has(v)) known.set(v, ofVoltage(v));
    return known.get(v);
  }
  function ofVoltage(v) {
    const columns = new Float64Array(rank * k);
    for (let j = 0; j < k; j++) {
      for (let c = 0; c < rank; c++) {
        columns[c * k + j] = basis[(v * k + j) * rank + c] * thicknessScale[v * k + j];
      }
    }
    const scale = angleScale.subarray(v * angles, (v + 1) * angles);
    const mixed = fromCosines(about, sums, rank, angles, v, voltages);
    return falling(mixed, scale, columns, { cells, rank, angles, k });
  }
  return { scattered, unscattered };
}

/** The stored whole numbers, their differences along the angle undone. */
function angleSums(numbers, large, angles, step) {
  const sums = new Int32Array(numbers.length);
  let next = 0;
  for (let i = 0; i < numbers.length; i += angles) {
    let sum = 0;
    for (let t = i; t < i + angles; t++) {
      const unsigned = numbers[t] === ESCAPE ? large[next++] : numbers[t];
      sum += unsigned & 1 ? -(unsigned >>> 1) - 1 : unsigned >>> 1;
      sums[t] = sum * step;
    }
  }
  return sums;
}

/** Values from cosines of aperture and rmsd at one voltage: (cells, components, angles). */
function fromCosines(about, sums, rank, angles, v, voltages) {
  const apertures = axisSize(about.aperture);
  const rmsd = axisSize(about.rmsd);
  const ofAperture = cosineMatrix(apertures);
  const ofRmsd = cosineMatrix(rmsd);
  const cells = apertures * rmsd;
  const row = rank * angles;
  const half = new Float64Array(cells * row);
  const whole = new Float64Array(cells * row);
  for (let c = 0; c < rank; c++) {
    for (let cell = 0; cell < cells; cell++) {
      const from = ((c * cells + cell) * voltages + v) * angles;
      for (let a = 0; a < apertures; a++) {
        const weight = ofAperture[a * apertures + Math.floor(cell / rmsd)];
        const to = (a * rmsd + (cell % rmsd)) * row + c * angles;
        for (let t = 0; t < angles; t++) half[to + t] += weight * sums[from + t];
      }
    }
  }
  for (let cell = 0; cell < cells; cell++) {
    const start = cell - (cell % rmsd);
    for (let r = 0; r < rmsd; r++) {
      const weight = ofRmsd[r * rmsd + (cell % rmsd)];
      const from = cell * row;
      const to = (start + r) * row;
      for (let i = 0; i < row; i++) whole[to + i] += weight * half[from + i];
    }
  }
  return whole;
}

/** Coefficients (cells, angles, k), never rising with the angle: rounding may have moved them. */
function falling(mixed, scale, columns, { cells, rank, angles, k }) {
  const coefficients = new Float32Array(cells * angles * k);
  const values = new Float64Array(k);
  for (let cell = 0; cell < cells; cell++) {
    const from = cell * rank * angles;
    const beyond = new Float64Array(k);
    for (let t = angles - 1; t >= 0; t--) {
      values.fill(0);
      for (let c = 0; c < rank; c++) {
        const amount = mixed[from + c * angles + t] * scale[t];
        const column = c * k;
        for (let j = 0; j < k; j++) values[j] += amount * columns[column + j];
      }
      const to = (cell * angles + t) * k;
      for (let j = 0; j < k; j++) {
        if (values[j] > beyond[j]) beyond[j] = values[j];
        coefficients[to + j] = beyond[j];
      }
    }
  }
  return coefficients;
}

/** A half-precision number from its sixteen bits. */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

/** The orthonormal cosine transform back to values: one cosine a column. */
function cosineMatrix(size) {
  const matrix = new Float64Array(size * size);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const cosine = Math.cos(((row + 0.5) * column * Math.PI) / size);
      matrix[row * size + column] = cosine * Math.sqrt((column ? 2 : 1) / size);
    }
  }
  return matrix;
}

function axisSize(axis) {
  return axis.knots.length - axis.degree - 1;
}

/** First coefficient that counts at x, and the weights from there on (Cox–de Boor). */
function near(axis, x) {
  const { knots, degree } = axis;
  let span = -1;
  for (const knot of knots) if (knot <= x) span++;
  span = Math.min(Math.max(span, degree), axisSize(axis) - 1);
  let weights = [1];
  for (let p = 1; p <= degree; p++) {
    const next = new Array(p + 1).fill(0);
    for (let i = 0; i < p; i++) {
      const low = knots[span - p + 1 + i];
      const share = (x - low) / (knots[span + 1 + i] - low);
      next[i] += weights[i] * (1 - share);
      next[i + 1] += weights[i] * share;
    }
    weights = next;
  }
  return { first: span - degree, weights };
}

function wavelength(about, kv) {
  return about.planck_times_c / Math.sqrt(kv * (kv + 2 * about.rest_energy_kev));
}

function smoothStep(x) {
  const inside = Math.min(Math.max(x, 0), 1);
  return inside * inside * (3 - 2 * inside);
}

/** Where a voltage is along its axis: −(γλ)² [Å²]. */
function alongVoltage(about, kv) {
  return -(((1 + kv / about.rest_energy_kev) * wavelength(about, kv)) ** 2);
}

/** Length along the beam after which planes repeat [Å]. */
function repeatLength(about, symbol, zone) {
  return about.spacing[zone] * about.elements[symbol].lattice_angstrom;
}

/** Where a collection angle is along its axis [mrad]; `repeat` is that of the planes [Å]. */
function alongAngle(about, angle, kv, aperture, repeat) {
  const c = about.constants;
  if (angle < aperture) return (angle * c.REFERENCE_MRAD) / aperture;
  const length = wavelength(about, kv);
  const ratio = wavelength(about, c.REFERENCE_KV) / length;
  const past = c.PAST_ZONE * 1e3 * Math.sqrt((2 * length) / repeat);
  const fall = smoothStep((angle - past) / Math.min(c.FALL_MRAD, c.LARGEST_MRAD - past));
  const far = angle * (1 + (Math.sqrt(ratio) - 1) * (1 - fall));
  const beside = c.REFERENCE_MRAD + (angle - aperture) * ratio;
  const outside = smoothStep((angle - aperture) / c.REACH_MRAD);
  return beside + (far - beside) * outside;
}

/**
 * Cross-sections [Å²] scattered beyond some angles [mrad], at 1, 2, … atoms: one row an angle.
 *
 * `x` holds kv, aperture [mrad] and rmsd [Å]. Nothing is said about the trained range.
 */
function beyondAngles(about, group, coefficients, x, anglesMrad) {
  const index = group.index;
  const [low, high] = about.rmsd_ends[index];
  const voltage = near(about.voltage, alongVoltage(about, x.kv));
  const aperture = near(about.aperture, x.aperture ** 2);
  const rmsd = near(about.rmsd, (x.rmsd - low) / (high - low));
  const k = about.thickness.length;
  const atoms = about.thickest[index];
  const repeat = repeatLength(about, group.symbol, group.zone);
  return anglesMrad.map((angle) => {
    const along = near(about.angle, alongAngle(about, angle, x.kv, x.aperture, repeat));
    const mixed = new Float64Array(k);
    voltage.weights.forEach((weight, i) => {
      const values = coefficients.scattered(voltage.first + i);
      eachOf([aperture, rmsd, along], [about.rmsd, about.angle], (at, product) => {
        const from = at * k;
        for (let j = 0; j < k; j++) mixed[j] += weight * product * values[from + j];
      });
    });
    // Of few atoms the coefficients are the values themselves.
    const curve = atoms > k ? new Float64Array(atoms) : mixed.slice(0, atoms);
    for (let j = 0; j < k && atoms > k; j++) {
      const row = about.thickness[j];
      for (let i = 0; i < atoms; i++) curve[i] += mixed[j] * row[i];
    }
    addUnscattered(about, coefficients, x, angle, voltage, rmsd, curve);
    return curve.map((value) => Math.min(value, about.column_area[index]));
  });
}

/** Call `visit(index, weight)` for all coefficients that count in a row-major array. */
function eachOf(places, laterAxes, visit, depth = 0, at = 0, weight = 1) {
  const { first, weights } = places[depth];
  for (let i = 0; i < weights.length; i++) {
    const here = at + first + i;
    const product = weight * weights[i];
    if (depth === places.length - 1) visit(here, product);
    else eachOf(places, laterAxes, visit, depth + 1, here * axisSize(laterAxes[depth]), product);
  }
}

/** Add what is left in the unscattered beam, inside the aperture and beyond an angle. */
function addUnscattered(about, coefficients, x, angle, voltage, rmsd, curve) {
  if (angle >= x.aperture) return;
  const edges = about.ring_edges_mrad;
  const rings = edges.length - 1;
  const n = about.thickness[0].length;
  eachOf([voltage, rmsd], [about.rmsd], (at, weight) => {
    for (let ring = 0; ring < rings; ring++) {
      const inner = Math.max(edges[ring] ** 2, angle ** 2);
      const outer = Math.min(edges[ring + 1] ** 2, x.aperture ** 2);
      const area = Math.max(outer - inner, 0) / x.aperture ** 2;
      const from = (at * rings + ring) * n;
      for (let i = 0; i < curve.length && area > 0; i++) {
        curve[i] += weight * area * coefficients.unscattered[from + i];
      }
    }
  });
}

/** PPISCS [Å²] of the detector from x.inner to x.outer [mrad], at 1, 2, … atoms. */
function ppiscs(about, group, coefficients, x) {
  const [inner, outer] = beyondAngles(about, group, coefficients, x, [x.inner, x.outer]);
  return inner.map((value, i) => value - outer[i]);
}

/** Standard error of a curve of `ppiscs` [Å²], with that of compact weights. */
function standardError(about, x, curve) {
  const error = about.error;
  const largest = Math.max(...curve);
  const level =
    error.level *
    ((x.outer - x.inner) / error.reference_width_mrad) ** error.width_power *
    (x.aperture / error.reference_aperture_mrad) ** error.aperture_power *
    largest;
  const between = betweenVoltages(about, x.kv);
  return curve.map((value) =>
    Math.hypot(
      level * (Math.max(value, 0) / largest) ** error.curve_power,
      between * value,
      about.rounding_error * largest,
    ),
  );
}

/** Relative error of interpolating between the voltages that were simulated. */
function betweenVoltages(about, kv) {
  const nodes = about.voltages_kv;
  let after = nodes.findIndex((node) => node >= kv);
  after = Math.min(Math.max(after < 0 ? nodes.length : after, 1), nodes.length - 1);
  const gap = Math.log(nodes[after] / nodes[after - 1]);
  const way = Math.log(kv / nodes[after - 1]) / gap;
  return about.constants.VOLTAGE_GAP * gap ** 3 * 4 * Math.abs(way * (1 - way));
}
