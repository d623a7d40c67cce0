// The page in a real browser, as a person uses it: sign in, mend a Dockerfile, build, follow, fail, delete. By keyboard where it can be.
import assert from "node:assert/strict";
import puppeteer from "puppeteer-core";

const { SERVER, KEY, PICTURES } = process.env;
const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage();
const faults = [];
page.on("pageerror", (error) => faults.push(String(error)));
page.on("request", (request) => {
  const address = new URL(request.url());
  if (address.protocol !== "data:" && address.origin !== SERVER) faults.push(`asked ${address} for something`);
});
page.on("dialog", (dialog) => dialog.accept());
await page.setViewport({ width: 1200, height: 1000 });

const scheme = (value) => page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
const picture = async (name) => {
  if (!PICTURES) return;
  for (const value of ["light", "dark"]) {
    await scheme(value);
    await page.screenshot({ path: `${PICTURES}/${name}-${value}.png`, fullPage: true });
  }
};
const text = (selector) => page.$eval(selector, (element) => element.textContent);
const until = (what, ...args) => page.waitForFunction(what, { timeout: 60000, polling: 50 }, ...args);
const shows = (selector, part) => until((selector, part) => {
  const element = document.querySelector(selector);
  return element && element.checkVisibility() && element.textContent.includes(part);
}, selector, part);
const fill = async (selector, value) => {
  await page.$eval(selector, (element) => (element.value = ""));
  await page.type(selector, value);
};

await page.goto(`${SERVER}/`);
await until(() => document.activeElement.id === "key");
await page.keyboard.type("ddk_wrong");
await page.keyboard.press("Enter");
await shows("#notice", "API key");
await fill("#key", KEY);
await page.keyboard.press("Enter");
await shows("#list-empty", "none yet");

// Problems are shown as one types, and a problem leads to its place.
await page.click("#nav-new");
await fill("#new-name", "my-env");
await fill("#new-dockerfile", "FROM nodeops/sandbox:debian\nCOPY a /b\nRUN --mount=type=secret,id=x true\n");
await shows("#new-verdict", "2 problems");
await shows("#new-problems", "Line 2, error");
await picture("problems");
await page.click("#new-problems button");
const selected = await page.$eval("#new-dockerfile", (area) => area.value.slice(area.selectionStart, area.selectionEnd));
assert.match(selected, /^COPY/);
await fill("#new-name", "Not A Name");
await fill("#new-dockerfile", "FROM nodeops/sandbox:debian\nENV A=1\nRUN echo hello; sleep 1; echo done\n");
await fill("#new-name", "my-env");
await shows("#new-verdict", "accepted");
await shows("#new-plan", "runs: this instruction has not run yet");
await picture("accepted");

// The build is followed to its end.
await page.focus("#new-name");
await page.keyboard.press("Enter");
await shows("#template-title", "my-env");
await shows("#log", "Step 3/3");
await picture("building");
await shows("#log-state", "The build is done");
await shows("#template-state", "ready");
await shows("#template-facts", "my-env@1");
assert.match(await text("#log"), /hello/);
assert.equal(await page.$$eval("#log details[open]", (open) => open.length), 0);
await picture("ready");

// One that fails shows why.
await page.click("#nav-new");
await shows("#new-title", "New template");
await fill("#new-dockerfile", "FROM nodeops/sandbox:debian\nRUN echo looking; no-such-command --now\n");
await shows("#new-verdict", "accepted");
await page.click("#new-form > button");
await shows("#card-title", "exit status 127");
await shows("#card-where", "Step 2 of 2, line 2");
await shows("#card-tail", "looking");
await shows("#card-hint", "was not found");
await picture("failed");

await page.click("#nav-list");
await shows("#list", "my-env");
assert.equal(await page.$$eval("#list tbody tr", (rows) => rows.length), 2);
await picture("list");
await page.click("#list tbody a");
await shows("#template-state", "failed");
await page.click("#template-delete");
await shows("#list-title", "Your templates");
await until(() => document.querySelectorAll("#list tbody tr").length === 1);

// Everything that acts can be reached by keyboard and has a name.
const nameless = await page.$$eval("button, a, input, textarea", (all) => all.filter((one) => one.checkVisibility() && !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map((one) => one.outerHTML));
assert.deepEqual(nameless, []);
await page.setViewport({ width: 380, height: 800 });
const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
assert.ok(overflow <= 0, `the page is ${overflow} pixels wider than a telephone`);
await page.click("#sign-out");
await shows("#key-title", "Your API key");
assert.equal(await page.evaluate(() => sessionStorage.length), 0);
assert.deepEqual(faults, []);
await browser.close();
console.log("all is as a person expects");
