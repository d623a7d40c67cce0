// The page of the service: it speaks to the API like any client, and keeps nothing but the key, in this tab.
"use strict";

const $ = (id) => document.getElementById(id);
const PAGE = 100;
const LINES_MAX = 5000; // of one step; what is above is left to the API
const STARTER = "FROM \nRUN apt-get update && apt-get install -y --no-install-recommends python3\n";

let view = 0; // rises with each view: what an older one still awaits is dropped

function element(tag, text, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

class Refusal extends Error {
  constructor(status, answer) {
    super(answer?.data?.message ?? answer?.message ?? `the service answered ${status}`);
    this.status = status;
    this.answer = answer;
  }
}

function send(path, options = {}) {
  const headers = { "X-Api-Key": sessionStorage.getItem("key") ?? "", ...options.headers };
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  return fetch(path, { ...options, headers, body });
}

async function call(path, options) {
  const response = await send(path, options);
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer.data;
}

function notice(text) {
  $("notice").textContent = text ?? "";
  $("notice").hidden = !text;
}

function failed(error) {
  if (error.name === "AbortError") return;
  if (error instanceof Refusal && error.status === 401) {
    sessionStorage.removeItem("key");
    notice(error.message);
    show("key");
    return;
  }
  notice(error instanceof TypeError ? "The service can't be reached." : error.message);
}

function show(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== `view-${name}`;
  $("nav-list").toggleAttribute("aria-current", name === "list");
  $("nav-new").toggleAttribute("aria-current", name === "new");
  $("sign-out").hidden = sessionStorage.getItem("key") === null;
}

function bytes(count) {
  if (!count) return "–";
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (count >= size) return `${(count / size).toFixed(count % size ? 1 : 0)} ${unit}`;
  }
  return `${count} B`;
}

function seconds(from, to) {
  const time = (Date.parse(to) - Date.parse(from)) / 1000;
  return time < 90 ? `${time} s` : `${Math.floor(time / 60)} min ${time % 60} s`;
}

function when(text) {
  return element("time", new Date(text).toLocaleString(), { dateTime: text });
}

function state(template) {
  return element("span", template.status, { className: `state ${template.status}` });
}

// ---- the list ----

async function list(mine) {
  show("list");
  const rows = $("list").tBodies[0];
  rows.replaceChildren();
  const more = async () => {
    const page = await call(`/v1/templates?limit=${PAGE}&offset=${rows.children.length}`);
    if (mine !== view) return;
    for (const template of page.templates) rows.append(row(template));
    $("list").hidden = rows.children.length === 0;
    $("list-empty").hidden = rows.children.length > 0;
    $("list-more").hidden = rows.children.length >= page.pagination.total;
  };
  $("list-more").onclick = () => more().catch(failed);
  await more();
}

function row(template) {
  const cells = [
    element("a", template.name, { href: `#/t/${template.id}` }),
    state(template),
    template.version ? `@${template.version}` : "–",
    bytes(template.ext4_size_bytes),
    template.built_at ? seconds(template.created_at, template.built_at) : "–",
    when(template.created_at),
  ];
  const made = element("tr");
  for (const cell of cells) {
    const td = element("td");
    td.append(cell);
    made.append(td);
  }
  return made;
}

// ---- a new one ----

let checking; // the check under way, to be dropped when the text changes

function edit(mine) {
  show("new");
  $("new-verdict").textContent = "";
  if ($("new-dockerfile").value === "") $("new-dockerfile").value = STARTER;
  if ($("new-name").value) check(mine);
  $("new-name").focus();
}

function request() {
  const size = Number($("new-size").value);
  const body = { name: $("new-name").value || "unnamed", dockerfile: $("new-dockerfile").value, no_cache: $("new-no-cache").checked };
  if (size > 0) body.disk_size_bytes = size * 2 ** 20;
  return body;
}

function check(mine) {
  checking?.abort();
  const mineToo = (checking = new AbortController());
  setTimeout(async () => {
    if (mineToo.signal.aborted || mine !== view) return;
    try {
      const plan = await call("/v1/templates?dry_run=true", { method: "POST", body: request(), signal: mineToo.signal });
      judge(plan.diagnostics, plan);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error instanceof Refusal && error.status < 500 && error.status !== 401 && error.status !== 429) judge(error.answer.diagnostics ?? [], null, error);
      else if (!(error instanceof Refusal && error.status === 429)) failed(error);
    }
  }, 300);
}

function judge(problems, plan, error) {
  const errors = problems.filter((one) => one.severity === "error").length;
  const verdict = $("new-verdict");
  verdict.className = plan ? "good" : "bad";
  verdict.textContent = plan ? "The Dockerfile is accepted." : errors ? `${errors} ${errors === 1 ? "problem" : "problems"} to mend` : error.message;
  $("new-dockerfile").setAttribute("aria-invalid", String(errors > 0));
  $("new-problems").replaceChildren(...problems.map(problem));
  const steps = (plan?.steps ?? []).map((step) => {
    const does = step.cached === null ? "" : step.cached ? " – known from an earlier build" : ` – runs: ${step.reason}`;
    const made = element("li", does);
    made.prepend(element("code", step.text.length > 90 ? `${step.text.slice(0, 90)}…` : step.text));
    return made;
  });
  $("new-plan").replaceChildren(...steps);
}

function problem(one) {
  const item = element("li");
  const button = element("button", `Line ${one.line}, ${one.severity}: ${one.message}`, { type: "button", className: one.severity });
  if (one.help) button.append(element("br"), element("span", one.help, { className: "hint" }));
  button.addEventListener("click", () => {
    const lines = $("new-dockerfile").value.split("\n");
    const start = lines.slice(0, one.line - 1).reduce((sum, line) => sum + line.length + 1, 0) + one.column - 1;
    const end = lines.slice(0, one.end_line - 1).reduce((sum, line) => sum + line.length + 1, 0) + one.end_column - 1;
    $("new-dockerfile").focus();
    $("new-dockerfile").setSelectionRange(start, Math.max(start, end));
  });
  item.append(button);
  return item;
}

async function submit(event) {
  event.preventDefault();
  notice();
  const name = $("new-name");
  if (!name.checkValidity()) {
    name.setAttribute("aria-invalid", "true");
    notice("The name has to be 1 to 63 lower-case letters, digits and dashes.");
    name.focus();
    return;
  }
  name.removeAttribute("aria-invalid");
  try {
    const created = await call("/v1/templates", { method: "POST", body: request(), headers: { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) } });
    location.hash = `#/t/${created.id}`;
  } catch (error) {
    if (error instanceof Refusal && error.answer?.diagnostics) judge(error.answer.diagnostics, null, error);
    failed(error);
  }
}

// ---- one template ----

async function template(mine, id) {
  show("template");
  for (const part of ["log", "commands", "versions", "template-facts"]) $(part).replaceChildren();
  $("card").hidden = true;
  const found = await call(`/v1/templates/${id}?include=dockerfile`);
  if (mine !== view) return;
  $("template-dockerfile").textContent = found.dockerfile;
  facts(found);
  commands(found);
  versions(mine, found).catch(failed);
  await follow(mine, found.id);
  if (mine !== view) return;
  const ended = await call(`/v1/templates/${id}`);
  if (mine !== view) return;
  facts(ended);
  await versions(mine, ended);
}

function facts(found) {
  $("template-title").textContent = found.name;
  $("template-state").replaceChildren(state(found));
  const active = found.status === "pending" || found.status === "building";
  $("template-cancel").hidden = !active;
  $("template-again").hidden = active;
  $("template-again").onclick = (event) => {
    event.preventDefault();
    $("new-name").value = found.name;
    $("new-dockerfile").value = $("template-dockerfile").textContent;
    location.hash = "#/new";
  };
  $("template-again").href = "#/new";
  $("template-cancel").onclick = () => call(`/v1/templates/${found.id}/cancel`, { method: "POST" }).catch(failed);
  $("template-delete").onclick = async () => {
    if (!confirm(`Delete ${found.name}? Sandboxes that run go on; no new one can be made of it.`)) return;
    try {
      await call(`/v1/templates/${found.id}`, { method: "DELETE" });
      location.hash = "#/";
    } catch (error) {
      failed(error);
    }
  };
  const rows = [["Id", found.id], ["Base", found.base], ["Submitted", when(found.created_at)]];
  if (found.status === "ready") {
    rows.push(["Built in", seconds(found.created_at, found.built_at)], ["Size", `${bytes(found.ext4_size_bytes)} (${found.ext4_size_bytes} bytes)`]);
    rows.push(["Version", `${found.name}@${found.version}`], ["SHA-256", found.rootfs_sha256]);
  }
  if (found.attempt > 1) rows.push(["Attempts", found.attempt]);
  $("template-facts").replaceChildren(
    ...rows.flatMap(([name, value]) => {
      const dd = element("dd");
      dd.append(value);
      return [element("dt", name), dd];
    }),
  );
  card(found.failure);
}

function card(failure) {
  $("card").hidden = !failure;
  if (!failure) return;
  $("card-title").textContent = failure.message;
  const where = failure.step ? `Step ${failure.step} of ${failure.steps}, line ${failure.line} of the Dockerfile` : failure.line ? `Line ${failure.line} of the Dockerfile` : "";
  $("card-where").textContent = [where, failure.code].filter(Boolean).join(" · ");
  $("card-tail").hidden = !failure.tail?.length;
  $("card-tail").textContent = (failure.tail ?? []).join("\n");
  $("card-hint").hidden = !failure.hint;
  $("card-hint").textContent = failure.hint ? `What to do: ${failure.hint}.` : "";
  $("card-retry").textContent = failure.retryable ? "Trying again may help." : "Trying again without a change will not help.";
}

function commands(found) {
  const at = location.origin;
  const lines = [
    `curl ${at}/v1/templates/${found.id} -H "X-Api-Key: $CREATEOS_API_KEY"`,
    `curl -N ${at}/v1/templates/${found.id}/logs -H "X-Api-Key: $CREATEOS_API_KEY"`,
    `DRYDOCK_URL=${at} drydock template resolve ${found.name}`,
  ];
  $("commands").replaceChildren(
    ...lines.map((line) => {
      const made = element("div", null, { className: "command" });
      const copy = element("button", "Copy", { type: "button" });
      copy.setAttribute("aria-label", `Copy: ${line}`);
      copy.addEventListener("click", async () => {
        await navigator.clipboard.writeText(line);
        copy.textContent = "Copied";
      });
      made.append(element("pre", line), copy);
      return made;
    }),
  );
}

async function versions(mine, found) {
  const page = await call("/v1/templates?limit=500");
  if (mine !== view) return;
  const same = page.templates.filter((other) => other.name === found.name);
  const latest = same.find((other) => other.status === "ready");
  $("versions").replaceChildren(
    ...same.map((other) => {
      const item = element("li");
      const name = other.version ? `${other.name}@${other.version}` : other.id;
      item.append(other.id === found.id ? element("strong", name) : element("a", name, { href: `#/t/${other.id}` }), " ", state(other), " ", when(other.created_at));
      if (other === latest) item.append(" – the name resolves to this one");
      return item;
    }),
  );
}

// Follows the log to the end of the build, over servers that restart.
async function follow(mine, id) {
  let since = 0;
  const log = new Log();
  while (mine === view) {
    const stop = new AbortController();
    stopped = stop;
    const response = await send(`/v1/templates/${id}/logs?since=${since}`, { signal: stop.signal });
    if (!response.ok) throw new Refusal(response.status, await response.json().catch(() => null));
    $("log-state").textContent = "The log is followed.";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read().catch(() => ({ done: true }));
      if (done || mine !== view) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.filter(Boolean).map((text) => JSON.parse(text))) {
        if (line.final) {
          log.end(line.status === "ready");
          $("log-state").textContent = line.status === "ready" ? "The build is done." : "The build failed.";
          return;
        }
        if (line.seq !== undefined) {
          since = line.seq + 1;
          log.add(line);
        }
      }
      log.flush();
      if (log.begun && $("template-state").textContent === "pending") facts(await call(`/v1/templates/${id}`));
    }
    if (mine !== view) return;
    $("log-state").textContent = "The connection was cut; it is tried again.";
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

let stopped; // ends the stream of a view that is left

class Log {
  constructor() {
    this.begun = false;
    this.waiting = [];
    $("log").replaceChildren();
  }

  add(line) {
    const key = `${line.attempt}/${line.step}`;
    if (key !== this.key) {
      this.flush();
      this.fold(true);
      this.begun = true;
      this.key = key;
      this.from = Date.parse(line.ts);
      this.details = element("details", null, { open: true });
      this.title = line.step ? line.line : line.attempt > 1 ? `Attempt ${line.attempt}` : "Before the first step";
      this.summary = element("summary", this.title);
      this.output = element("pre");
      this.output.tabIndex = 0;
      this.details.append(this.summary, this.output);
      $("log").append(this.details);
      if (line.step) return;
    }
    this.last = Date.parse(line.ts);
    this.waiting.push(element("span", line.stream, { className: line.level === "error" ? "error" : "" }));
  }

  flush() {
    if (!this.waiting.length) return;
    const atEnd = this.output.scrollTop + this.output.clientHeight >= this.output.scrollHeight - 4;
    this.output.append(...this.waiting.splice(0));
    while (this.output.children.length > LINES_MAX) this.output.firstChild.remove();
    if (atEnd) this.output.scrollTop = this.output.scrollHeight;
  }

  fold(well) {
    if (!this.details) return;
    this.details.open = !well;
    const time = ((this.last ?? this.from) - this.from) / 1000;
    this.summary.textContent = `${well ? "✓" : "✗"} ${this.title}  (${time.toFixed(1)} s)`;
  }

  end(well) {
    this.flush();
    this.fold(well);
  }
}

// ---- where we are ----

async function route() {
  const mine = (view += 1);
  stopped?.abort();
  notice();
  if (sessionStorage.getItem("key") === null) {
    show("key");
    $("key").focus();
    return;
  }
  const [, place, id] = location.hash.split("/");
  try {
    if (place === "new") edit(mine);
    else if (place === "t" && id) await template(mine, encodeURIComponent(decodeURIComponent(id)));
    else await list(mine);
  } catch (error) {
    if (mine === view) failed(error);
  }
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value.trim());
  $("key").value = "";
  route();
});
$("sign-out").addEventListener("click", () => {
  sessionStorage.removeItem("key");
  route();
});
$("new-form").addEventListener("submit", submit);
for (const field of ["new-dockerfile", "new-name", "new-size", "new-no-cache"]) $(field).addEventListener("input", () => check(view));
window.addEventListener("hashchange", route);
route();
