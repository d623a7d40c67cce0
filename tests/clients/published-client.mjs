// What the published client of npm does against a server of ours: create, follow, get, list, delete, errors, waiting.
import assert from "node:assert/strict";
import * as sdk from "@nodeops-createos/sandbox";

const client = (url, key) => new sdk.CreateosSandboxClient({ baseUrl: url, apiKey: key });
const box = client(process.env.SERVER, process.env.KEY);
const dockerfile = (text) => `FROM nodeops/sandbox:debian\nENV A=${text}\n`;

const created = await box.templates.create({ name: "env", dockerfile: dockerfile("first"), base: "nodeops/sandbox:debian" });
assert.match(created.id, /^tpl_[0-9A-Z]{26}$/);
assert.equal(created.status, "pending");

const events = [];
for await (const event of box.templates.followLogs(created.id)) events.push(event);
assert.equal(events[0].line, "Step 1/2 : FROM nodeops/sandbox:debian");
assert.equal(events[0].attempt, 1);
assert.ok(!Number.isNaN(Date.parse(events[0].ts)));
assert.deepEqual([events.at(-1).final, events.at(-1).status], [true, "ready"]);

const ready = await box.templates.get("env", { include: "dockerfile" });
assert.equal(ready.id, created.id);
assert.equal(ready.dockerfile, dockerfile("first"));
assert.equal(ready.ext4_size_bytes, 16777216);
assert.match(await box.templates.logs(created.id), /Successfully built/);

// More than a page.
for (let at = 0; at < 520; at += 40) {
  await Promise.all(Array.from({ length: 40 }, () => box.templates.create({ name: "many", dockerfile: dockerfile("many") })));
}
const all = await box.templates.list();
assert.equal(all.length, 521);
assert.equal(new Set(all.map((template) => template.id)).size, 521);
let seen = 0;
for await (const _ of box.templates.iterate()) seen += 1;
assert.equal(seen, 521);

await box.templates.delete(created.id);
await assert.rejects(box.templates.get(created.id), (error) => error instanceof sdk.CreateosSandboxNotFoundError && error.code === "template_not_found" && Boolean(error.requestId));
await assert.rejects(
  box.templates.create({ name: "env", dockerfile: "FROM nodeops/sandbox:debian\nCOPY a b\n" }),
  (error) => error instanceof sdk.CreateosSandboxValidationError && /line: 2/.test(error.message) && !error.message.includes("[object"),
);
await assert.rejects(client(process.env.SERVER, "wrong").templates.list(), (error) => error instanceof sdk.CreateosSandboxAuthError);

// Too many requests: the client waits as long as it is told to, and then gets its answer.
const slow = client(process.env.SLOW_SERVER, process.env.SLOW_KEY);
for (let number = 0; number < 4; number += 1) assert.deepEqual(await slow.templates.list(), []);

console.log("all is as the client expects");
