// The page of a worker. Everything that comes from a document is set as text, never as HTML: the policy of the
// server (Trusted Types) refuses the other way. Offsets come in UTF-16 units, which is how strings count here.

const SHOWN = 40; // samples of each list in the document
const POINTS = 240; // of the chart
const RETRY_MS = 3000;

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; children that are strings become text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Text of unknown direction, kept from turning what is around it. */
const foreign = (text) => element("bdi", {}, text);

/** Milliseconds in a unit that is easily read; nothing is known yet where they are undefined. */
function duration(ms) {
  if (ms === undefined) return "–";
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A count with its noun. */
const counted = (count, noun, nouns) => `${number.format(count)} ${count === 1 ? noun : nouns}`;

const number = new Intl.NumberFormat("en");

// ---- the server ----------------------------------------------------------------------------------------------

/** Ask the server; throws an error with its words for whatever is not an answer. */
async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const answer = await fetch(path, options);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const error = new Error(content.error ?? `the worker answered ${answer.status}`);
    error.status = answer.status;
    throw error;
  }
  return content;
}

/** Run a form's work at its submission: one at a time, with errors shown in the form. */
function onSubmit(form, work) {
  const problem = form.querySelector(".problem");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    if (problem) problem.textContent = "";
    try {
      await work();
    } catch (error) {
      if (problem) problem.textContent = error.message;
      else announce(error.message);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
}

function announce(text) {
  byId("announcement").textContent = text;
}

// ---- entities in a text --------------------------------------------------------------------------------------

let knownLabels = [];

/** A label's colour class: those of the model differ, others have one by their characters. */
function colour(label) {
  const known = knownLabels.indexOf(label);
  if (known >= 0) return `l${known % 8}`;
  let hash = 0;
  for (const character of label) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return `l${hash % 8}`;
}

/**
 * A text with its entities marked, each followed by its label.
 * Spans are [start, end, label, score] and may overlap: the shortest shows.
 */
function highlighted(text, spans) {
  const pieces = document.createDocumentFragment();
  const edges = new Set([0, text.length]);
  for (const [start, end] of spans) edges.add(start).add(end);
  const ordered = [...edges].sort((a, b) => a - b);
  const byLength = [...spans].sort((a, b) => (a[1] - a[0]) - (b[1] - b[0]));
  for (let at = 0; at + 1 < ordered.length; at += 1) {
    const [from, to] = [ordered[at], ordered[at + 1]];
    const piece = text.slice(from, to);
    const shortest = byLength.find(([start, end]) => start <= from && to <= end);
    pieces.append(shortest ? element("mark", { class: colour(shortest[2]) }, piece) : piece);
    for (const [, end, label, score] of byLength) {
      if (end !== to) continue;
      const shown = element("span", { class: `label ${colour(label)}`, dir: "auto" }, label);
      shown.title = `score ${score}`;
      pieces.append(shown);
    }
  }
  return pieces;
}

function textBlocks(texts) {
  return texts.map((one) => {
    const block = element("p", { class: "text", dir: "auto" }, highlighted(one.text, one.entities));
    const rest = one.characters - [...one.text].length;
    if (rest > 0) block.append(element("span", { class: "note", dir: "ltr" }, ` … ${number.format(rest)} more characters`));
    if (one.field === null) return block;
    return element("div", {}, element("code", {}, foreign(one.field)), block);
  });
}

// ---- samples -------------------------------------------------------------------------------------------------

function sampleItem(sample) {
  const head = element("div", { class: "head" },
    element("span", { class: "id" }, foreign(sample.id)),
    element("span", {}, foreign(sample.position)),
    element("span", {}, duration(sample.ms)));
  if (sample.kind === "event") {
    head.append(element("span", {}, counted(sample.count, "entity", "entities")));
    return element("li", {}, head, ...textBlocks(sample.texts));
  }
  head.append(element("span", { class: "reason" }, sample.reason), element("span", {}, `stage ${sample.stage}`));
  const item = element("li", {}, head, element("p", { class: "text", dir: "auto" }, sample.message));
  if (sample.value) {
    const cut = sample.cut_from === null ? "" : `, the beginning of ${number.format(sample.cut_from)} bytes`;
    item.append(element("details", {}, element("summary", {}, `The record${cut}`),
      element("pre", { dir: "auto" }, sample.value)));
  }
  return item;
}

function prepend(list, samples) {
  list.prepend(...samples.slice(-SHOWN).reverse().map(sampleItem));
  while (list.children.length > SHOWN) list.lastElementChild.remove();
}

let paused = false;
let held = [];
let awaited = null; // position of the document sent from here

function showSamples(samples) {
  const found = samples.find((sample) => sample.position === awaited);
  if (found) {
    awaited = null;
    byId("outcome").replaceChildren(sampleItem(found));
    announce(found.kind === "event" ? `Its event: ${counted(found.count, "entity", "entities")}` : `A dead letter: ${found.reason}`);
  }
  if (paused) {
    held = held.concat(samples).slice(-SHOWN);
    return;
  }
  prepend(byId("samples"), samples.filter((sample) => sample.kind === "event"));
  prepend(byId("letters"), samples.filter((sample) => sample.kind === "dead_letter"));
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  const missed = held;
  held = [];
  if (!paused) showSamples(missed);
});

onSubmit(byId("search-form"), async () => {
  const wanted = byId("wanted").value.trim();
  if (!wanted) return;
  const answer = await ask(`/api/documents?id=${encodeURIComponent(wanted)}`);
  byId("found").hidden = false;
  byId("found-title").textContent = answer.found.length
    ? `Found ${answer.found.length} for ${wanted}`
    : `Nothing for ${wanted} among the ${number.format(answer.kept)} documents that are kept`;
  byId("found-list").replaceChildren(...answer.found.map(sampleItem));
  byId("found-title").focus();
});

byId("close-found").addEventListener("click", () => {
  byId("found").hidden = true;
  byId("wanted").focus();
});

// ---- figures -------------------------------------------------------------------------------------------------

const rates = [];

function tallies(list, counts) {
  const entries = Object.entries(counts).filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]);
  list.replaceChildren(...entries.map(([name, count]) =>
    element("li", {}, `${name} `, element("b", {}, number.format(count)))));
  return entries.length;
}

function showParts(parts) {
  const before = byId("parts").textContent;
  byId("parts").replaceChildren(...Object.entries(parts).map(([part, cause]) =>
    element("li", { class: cause === null ? "up" : "down" }, `${part} ${cause === null ? "up" : "down"}`)));
  const after = byId("parts").textContent;
  if (before && before !== after) announce(after);
}

function showFigures(figures) {
  showParts(figures.parts);
  const trouble = Object.entries(figures.parts).filter(([, cause]) => cause !== null)
    .map(([part, cause]) => `${part}: ${cause}`).concat(figures.causes, figures.stage ?? []).join("; ");
  if (byId("trouble").textContent !== trouble) byId("trouble").textContent = trouble;

  const lag = Object.values(figures.lag).reduce((sum, records) => sum + records, 0);
  const shown = {
    "Documents a second": figures.per_second,
    "Latency, half under": duration(figures.milliseconds.p50),
    "Latency, 99 in 100 under": duration(figures.milliseconds.p99),
    "Lag, records": number.format(lag),
    "In flight": `${figures.in_flight} of ${figures.room}`,
    "Events": number.format(figures.outcomes.event ?? 0),
    "Dead letters": number.format(figures.outcomes.dead_letter ?? 0),
    "No document": number.format(figures.outcomes.no_document ?? 0),
  };
  const list = byId("figures");
  if (!list.children.length) {
    list.append(...Object.keys(shown).map((name) => element("div", {}, element("dt", {}, name), element("dd"))));
  }
  Object.values(shown).forEach((value, at) => {
    list.children[at].lastElementChild.textContent = value;
  });
  tallies(byId("entities"), figures.entities);
  byId("no-letters").hidden = tallies(byId("reasons"), figures.reasons) > 0;
  byId("sampled").textContent = `Shown: ${number.format(figures.sampled)} samples of ` +
    `${number.format(figures.finished)} records since the worker started. The last ${number.format(figures.kept)} can be searched.`;
  chart(figures.per_second);
}

function chart(rate) {
  rates.push(rate);
  if (rates.length > POINTS) rates.shift();
  const highest = Math.max(1, ...rates);
  const points = rates.map((one, at) =>
    `${((POINTS - rates.length + at) * 600 / (POINTS - 1)).toFixed(1)},${(78 - 74 * one / highest).toFixed(1)}`);
  document.querySelector("#chart polyline").setAttribute("points", points.join(" "));
  byId("chart-caption").textContent =
    `Documents a second, the last two minutes: now ${rate}, at most ${highest.toFixed(1)}`;
}

// ---- a text --------------------------------------------------------------------------------------------------

onSubmit(byId("try-form"), async () => {
  const labels = byId("labels").value.split(",").map((label) => label.trim()).filter(Boolean);
  const told = await ask("/api/try", { text: byId("text").value, labels });
  byId("told").hidden = false;
  byId("told-text").replaceChildren(highlighted(told.text.text, told.text.entities));
  byId("told-title").textContent = counted(told.entities.length, "entity", "entities");
  byId("rounds").replaceChildren(...told.rounds.map(roundItem));
  byId("passes").replaceChildren(...(told.passes ?? []).map(passItem));
  byId("told-title").focus();
});

function roundItem(round) {
  const what = round.name === "count" ? "How many of each label" : "All mentions at once";
  const item = element("li", {}, element("h3", {}, `${what}: ${counted(round.answers.length, "prompt", "prompts")}, ${duration(round.ms)}`));
  if (!round.answers.length) return item;
  const names = round.name === "count" ? ["Label", "Count"] : ["Label", "Mention", "Score", ""];
  const rows = round.answers.map((one) => element("tr", {}, ...[
    one.label, one.answer, ...(round.name === "count" ? [] : [String(one.score), one.dropped ?? ""]),
  ].map((cell) => element("td", { dir: "auto" }, cell))));
  item.append(table(`Answers of the ${round.name} round`, names, rows));
  return item;
}

function table(caption, names, rows) {
  const head = element("tr", {}, ...names.map((name) =>
    name ? element("th", { scope: "col" }, name) : element("td")));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...rows)));
}

function passItem(pass) {
  const answers = pass.answering.map((one) => element("li", {},
    element("code", {}, foreign(one.question)), " ", element("code", {}, foreign(one.earlier)),
    element("code", { class: "chosen" }, foreign(one.chosen)), one.finished ? " ■" : " …",
    ...one.candidates.map((draft) => element("div", { class: "note" }, `${draft.source}: `,
      element("code", { class: "accepted" }, foreign(draft.accepted)),
      element("code", { class: "rejected" }, foreign(draft.rejected))))));
  const spent = Object.entries(pass.milliseconds).map(([part, ms]) => `${part} ${ms.toFixed(1)}`).join(", ");
  return element("section", {},
    element("h3", {}, `Pass ${pass.number}: ${pass.tokens} tokens after ${pass.past} cached, ` +
      `${pass.drafted} drafted, ${pass.accepted} of them accepted; ms: ${spent}`),
    element("ul", {}, ...answers));
}

// ---- the contract --------------------------------------------------------------------------------------------

let contractShown = false;

async function showContract() {
  if (contractShown) return;
  contractShown = true;
  let contract;
  try {
    contract = await ask("/api/contract");
  } catch (error) {
    contractShown = false;
    byId("contract-about").textContent = error.message;
    return;
  }
  const { info, operations, components } = contract;
  byId("contract-about").textContent = `${info.title}, AsyncAPI ${contract.asyncapi}, version ${info.version}. ${info.description}`;
  byId("contract").replaceChildren(...Object.values(operations).flatMap((operation) => {
    const channel = resolve(contract, operation.channel);
    return operation.messages.map((reference) => {
      const message = resolve(contract, resolve(contract, reference));
      return messageSection(operation.action, channel, message);
    });
  }));
  const example = components.messages.document?.examples?.[0]?.payload;
  if (example && !byId("value").value) {
    byId("key").value = example.id ?? "";
    byId("value").value = JSON.stringify(example, null, 2);
  }
}

function resolve(contract, value) {
  if (value?.$ref === undefined) return value;
  return value.$ref.replace(/^#\//, "").split("/").reduce((inner, name) => inner?.[name], contract);
}

function messageSection(action, channel, message) {
  const schema = message.payload?.schema;
  const tables = [["Payload", schema], ...Object.entries(schema?.$defs ?? {}), ["Headers", message.headers]]
    .filter(([, one]) => one?.properties)
    .map(([name, one]) => fieldsTable(`${message.title}: ${name}`, one));
  const examples = (message.examples ?? []).map((one) => element("details", {},
    element("summary", {}, one.summary ?? "Example"),
    element("pre", { tabindex: "0" }, JSON.stringify(one.payload, null, 2))));
  return element("section", {},
    element("h3", {}, `${message.title}: the worker ${action === "receive" ? "receives" : "sends"} it, topic ${channel.address}`),
    element("p", {}, message.description ?? channel.description ?? ""), ...tables, ...examples);
}

function fieldsTable(caption, schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties).map(([name, field]) => element("tr", {},
    element("th", { scope: "row" }, element("code", {}, name)),
    element("td", {}, typeOf(field)),
    element("td", {}, required.has(name) ? "required" : ""),
    element("td", {}, field.description ?? "")));
  return table(caption, ["Field", "Type", "Presence", "Meaning"], rows);
}

function typeOf(field) {
  if (field.$ref) return field.$ref.split("/").at(-1);
  if (field.const !== undefined) return JSON.stringify(field.const);
  if (field.enum) return field.enum.map((one) => JSON.stringify(one)).join(" or ");
  const several = field.anyOf ?? field.oneOf ?? field.allOf;
  if (several) return several.map(typeOf).join(" or ");
  if (field.type === "array") return field.items ? `list of ${typeOf(field.items)}` : "list";
  return Array.isArray(field.type) ? field.type.join(" or ") : field.type ?? "any";
}

onSubmit(byId("send-form"), async () => {
  byId("sent").textContent = "";
  byId("outcome").replaceChildren();
  const key = byId("key").value;
  // Its outcome may be here before the answer: hold samples meanwhile, and look at them then.
  const early = [];
  listeners.add(early);
  try {
    const { position } = await ask("/api/documents", { key: key || null, value: byId("value").value });
    awaited = position;
    byId("sent").textContent = `Sent: ${position}. Its outcome shows here if this worker has the partition.`;
    const found = early.filter((sample) => sample.position === position);
    if (found.length) {
      awaited = null;
      byId("outcome").replaceChildren(sampleItem(found[0]));
    }
  } finally {
    listeners.delete(early);
  }
});

// ---- views and the stream ------------------------------------------------------------------------------------

const VIEWS = ["stream", "try", "contract"];
let loggedIn = false;

function showView() {
  const asked = location.hash.slice(1);
  const view = VIEWS.includes(asked) ? asked : "stream";
  byId("login").hidden = loggedIn;
  for (const name of VIEWS) {
    byId(`view-${name}`).hidden = !loggedIn || name !== view;
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (loggedIn && view === "contract") showContract();
}

addEventListener("hashchange", showView);

const listeners = new Set();

function follow() {
  const source = new EventSource("/api/stream");
  source.addEventListener("figures", (event) => showFigures(JSON.parse(event.data)));
  source.addEventListener("samples", (event) => {
    const samples = JSON.parse(event.data);
    for (const early of listeners) early.push(...samples);
    showSamples(samples);
  });
  source.addEventListener("error", () => {
    byId("trouble").textContent = "the worker does not answer this page; it asks again";
    if (source.readyState === EventSource.CLOSED) setTimeout(open, RETRY_MS);
  });
}

/** Begin, or begin again after the stream was refused. */
async function open() {
  try {
    const about = await ask("/api/about");
    knownLabels = about.labels;
    loggedIn = true;
    showView();
    follow();
  } catch (error) {
    loggedIn = error.status !== 401;
    showView();
    if (loggedIn) {
      byId("trouble").textContent = error.message;
      setTimeout(open, RETRY_MS);
    } else {
      byId("token").focus();
    }
  }
}

onSubmit(byId("login-form"), async () => {
  await ask("/api/login", { token: byId("token").value });
  byId("token").value = "";
  await open();
});

open();
