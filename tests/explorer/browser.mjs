// Checks the explorer page in Chromium: `make explorer-check`.
//
// node tests/explorer/browser.mjs PAGE.html FOLDER MODULES
//
// Screenshots go to FOLDER; playwright-core and axe-core are found in the node_modules at MODULES.
// Prints what was measured, and exits with 1 if the page does not keep to the limits below.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import path from "node:path";

const FIRST_PAINT_MS = 1500;
const REDRAWN_MS = 10;
const SLIDERS = ["kv", "aperture", "inner", "outer", "rmsd"];
const PINS = ["el=Pt&zone=110&kv=200&a=25&in=50&out=190&rmsd=0.09", "el=Ag&zone=110&kv=120&a=30&in=40&out=190&t=293"];
const ADDRESS =
  "#el=Au&zone=110&kv=300&a=20&in=60&out=200&rmsd=0.085&dose=10000&n=60" +
  PINS.map((pin) => `&pin=${encodeURIComponent(pin)}`).join("");
const VIEWS = { desktop: { width: 1360, height: 1000 }, phone: { width: 390, height: 844 } };

const [file, folder, modules] = process.argv.slice(2).map((argument) => path.resolve(argument));
const require = createRequire(path.join(modules, "anything.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const problems = [];

function check(good, text) {
  console.log(`${good ? "ok " : "BAD"} ${text}`);
  if (!good) problems.push(text);
}

async function open(view, colorScheme) {
  const context = await browser.newContext({ viewport: VIEWS[view], colorScheme, offline: true });
  const page = await context.newPage();
  const said = [];
  const requests = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(error.message));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(`file://${file}${ADDRESS}`);
  await page.waitForFunction(() => document.getElementById("inner-note").textContent, null, { timeout: 60000 });
  return { page, context, said, requests };
}

/** Milliseconds from a slider's event to the redrawn curve, sixty for each slider. */
function latencies(names) {
  const drawn = async (name) => {
    const slider = document.getElementById(`${name}-slider`);
    const start = Number(slider.value);
    const [low, high] = [Number(slider.min), Number(slider.max)];
    const times = [];
    for (let i = 0; i < 60; i++) {
      slider.value = name === "inner" ? 30 + i : name === "outer" ? 150 + i : low + ((high - low) * (20 + i)) / 100;
      const before = performance.now();
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      // uPlot draws in a microtask.
      await Promise.resolve();
      await Promise.resolve();
      times.push(performance.now() - before);
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    }
    slider.value = start;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    return times;
  };
  return names.reduce(
    async (before, name) => [...(await before), ...(await drawn(name))],
    Promise.resolve([]),
  );
}

for (const view of Object.keys(VIEWS)) {
  for (const scheme of ["light", "dark"]) {
    const { page, context, said, requests } = await open(view, scheme);
    const where = `${view}, ${scheme}:`;
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
    check(paint <= FIRST_PAINT_MS, `${where} first paint ${paint.toFixed(0)} ms`);
    await page.waitForTimeout(1000);
    const times = (await page.evaluate(latencies, SLIDERS)).sort((a, b) => a - b);
    const at = (share) => times[Math.floor(share * (times.length - 1))].toFixed(1);
    check(at(0.5) <= REDRAWN_MS, `${where} slider to curve ${at(0.5)} ms median, ${at(0.9)} ms in 90 %`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    check(wide <= 0, `${where} wider than the window by ${wide} px`);
    await page.evaluate(() => (document.getElementById("snippet-box").open = true));
    await page.evaluate(() => (document.getElementById("table-box").open = true));
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run());
    const bad = found.violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    const names = found.violations.map(({ id, impact }) => `${id} (${impact})`).join(", ") || "none";
    check(!bad.length, `${where} axe: ${names}; ${found.passes.length} rules passed`);
    check(!said.length, `${where} messages on the console: ${said.join("; ") || "none"}`);
    check(requests.length === 1, `${where} requests besides the page: ${requests.length - 1}`);
    await page.screenshot({ path: path.join(folder, `${view}-${scheme}.png`), fullPage: true });
    await context.close();
  }
}
await browser.close();
process.exit(problems.length ? 1 : 0);
