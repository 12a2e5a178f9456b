// Probability of miscounting the atoms of a column, as in ppiscs_jax/inverse/error_probability.py:
// a column of n atoms gives Poisson counts of mean dose · V_n, and the likeliest n is chosen.

"use strict";

const LEAST_COUNTS = 1e-300;

/** Counts up to here use the series and the continued fraction, larger ones Temme's expansion. */
const MANY_COUNTS = 2000;

/** log Γ(a), by Stirling's series after shifting a beyond 12. */
function logGamma(a) {
  let shift = 0;
  while (a < 12) {
    shift += Math.log(a);
    a += 1;
  }
  const r = 1 / (a * a);
  const series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / a;
  return (a - 0.5) * Math.log(a) - a + 0.5 * Math.log(2 * Math.PI) + series - shift;
}

/**
 * Incomplete gamma functions [P(a, x), Q(a, x)]: for whole a, the chances that Poisson counts of
 * mean x are at least a, and below a.
 */
function gammaTails(a, x) {
  if (a <= 0) return [1, 0];
  if (a === Infinity) return [0, 1];
  if (x <= 0) return [0, 1];
  if (a > MANY_COUNTS && Math.abs(x - a) < 0.3 * a) return temmeTails(a, x);
  const front = Math.exp(a * Math.log(x) - x - logGamma(a));
  if (x < a + 1) {
    let term = 1 / a;
    let sum = term;
    for (let i = 1; i < 10000 && term > sum * 1e-16; i++) {
      term *= x / (a + i);
      sum += term;
    }
    return [front * sum, 1 - front * sum];
  }
  // Lentz's method for the continued fraction.
  let b = x + 1 - a;
  let c = 1e300;
  let d = 1 / b;
  let fraction = d;
  for (let i = 1; i < 10000; i++) {
    const numerator = -i * (i - a);
    b += 2;
    d = 1 / nonZero(numerator * d + b);
    c = nonZero(b + numerator / c);
    fraction *= c * d;
    if (Math.abs(c * d - 1) < 1e-15) break;
  }
  return [1 - front * fraction, front * fraction];
}

function nonZero(x) {
  return Math.abs(x) < 1e-300 ? 1e-300 : x;
}

/** `gammaTails` for large a: Temme's uniform expansion (SIAM J. Math. Anal. 10 (1979) 757). */
function temmeTails(a, x) {
  const mu = x / a - 1;
  const eta = Math.sign(mu) * Math.sqrt(2 * Math.max(logExcess(mu), 0));
  let c0 = 1 / mu - 1 / eta;
  let c1 = 1 / eta ** 3 - 1 / mu ** 3 - 1 / mu ** 2 - 1 / (12 * mu);
  if (Math.abs(eta) < 0.03) {
    c0 = -1 / 3 + eta * (1 / 12 - eta * (2 / 135 - eta * (1 / 864 + eta / 2835)));
    c1 = -1 / 540 - eta * (1 / 288 - eta / 378);
  }
  const rest = (Math.exp((-a * eta * eta) / 2) / Math.sqrt(2 * Math.PI * a)) * (c0 + c1 / a);
  const z = Math.abs(eta) * Math.sqrt(a / 2);
  const far = z > 0 ? gammaTails(0.5, z * z)[1] / 2 : 0.5;
  const above = eta > 0 ? far + rest : 1 - far + rest;
  return eta > 0 ? [1 - far - rest, above] : [far - rest, above];
}

/** μ − log(1 + μ), without cancellation near 0. */
function logExcess(mu) {
  if (Math.abs(mu) > 0.02) return mu - Math.log1p(mu);
  let power = mu * mu;
  let sum = 0;
  for (let i = 2; i < 14; i++) {
    sum += ((i % 2 ? -1 : 1) * power) / i;
    power *= mu;
  }
  return sum;
}

/**
 * Chance that a column of n atoms is miscounted, for each n, with equal priors.
 *
 * Hypotheses' log-likelihoods are straight lines in the counts, so each one that can win does so
 * on one interval of counts: the upper envelope of the lines.
 */
function miscounted(curve, dose) {
  const rates = Array.from(curve, (value) => Math.max(dose * value, LEAST_COUNTS));
  const slopes = rates.map(Math.log);
  const order = rates.map((_, n) => n).sort((a, b) => slopes[a] - slopes[b] || rates[b] - rates[a]);
  const winners = [];
  const starts = [];
  for (const line of order) {
    let start = -Infinity;
    while (winners.length) {
      const last = winners[winners.length - 1];
      const rise = slopes[line] - slopes[last];
      start = rise > 0 ? (rates[line] - rates[last]) / rise : -Infinity;
      if (start > starts[starts.length - 1]) break;
      winners.pop();
      starts.pop();
    }
    winners.push(line);
    starts.push(start);
  }
  const missed = new Float64Array(rates.length).fill(1);
  winners.forEach((n, i) => {
    const first = Math.max(Math.ceil(starts[i]), 0);
    const after = i + 1 < winners.length ? Math.max(Math.ceil(starts[i + 1]), 0) : Infinity;
    missed[n] = Math.min(1, gammaTails(first, rates[n])[1] + gammaTails(after, rates[n])[0]);
  });
  return missed;
}

/** Probability of error over all numbers of atoms of a curve, equally probable. */
function errorProbability(curve, dose) {
  const missed = miscounted(curve, dose);
  return missed.reduce((sum, value) => sum + value, 0) / missed.length;
}

/**
 * Probability of error against the inner angle, all else as it is, and the angle with the least.
 *
 * Detectors are at least `leastWidth` wide [mrad]. Angles inside the aperture are left out.
 */
function scanInnerAngle(about, group, coefficients, x, dose, atoms, leastWidth = 10) {
  const from = Math.max(x.aperture, about.limits.inner_mrad[0]);
  const to = x.outer - leastWidth;
  const angles = [];
  for (let angle = Math.ceil(from); angle <= to; angle += 1) angles.push(angle);
  const rows = beyondAngles(about, group, coefficients, x, [...angles, x.outer]);
  const outer = rows.pop();
  const probabilities = rows.map((row) =>
    errorProbability(row.subarray(0, atoms).map((value, i) => value - outer[i]), dose),
  );
  const best = probabilities.indexOf(Math.min(...probabilities));
  return { angles, probabilities, best };
}
