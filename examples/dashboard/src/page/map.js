// The drawing of the set: a row for each node, lines of traffic on the left, lines of replication on the right.

const rows = document.getElementById("rows"), lines = document.getElementById("lines");
const places = [];
const color = index => `var(--n${index})`;

function makeRow(index, node) {
  const row = document.createElement("article");
  row.className = "node";
  row.style.setProperty("--node", color(index));
  row.innerHTML = `<div class="badge"></div>
    <div><div class="who"><span class="role"></span><small class="addr"></small><span class="pill health"></span><span class="pill sync"></span><span class="pill warn fault" hidden></span></div>
    <div class="figures"><span><b class="reads"></b> reads/s</span><span><b class="writes"></b> writes/s</span><span><b class="p99"></b> p99</span><span><b class="lag"></b> lag</span></div><p class="why" hidden></p></div>
    <div class="acts"></div>`;
  const part = {};
  for (const name of ["badge", "role", "addr", "health", "sync", "fault", "reads", "writes", "p99", "lag", "acts", "why", "figures"])
    part[name] = row.querySelector("." + name);
  part.badge.textContent = node.name;
  const button = (action, title) => {
    const made = Object.assign(document.createElement("button"), { textContent: action[0].toUpperCase() + action.slice(1), title });
    made.dataset.action = action;
    made.setAttribute("aria-label", `${made.textContent} node ${node.name}`);
    made.onclick = () => act(`${action}/${index}`);
    part.acts.append(made);
    return made;
  };
  part.kill = button("kill", "End the process (SIGKILL)");
  part.stop = button("stop", "Suspend the process (SIGSTOP): it hangs");
  part.slow = button("slow", "Delay each of its replies by 80 ms");
  part.restore = button("restore", "Undo what was done to it");
  rows.append(row);
  return { row, part };
}

function put(element, text, className) {
  if (element.textContent !== text) element.textContent = text;
  if (className !== undefined && element.className !== className) element.className = className;
}

function health(seen) {
  if (!seen) return ["not in the set", "pill"];
  if (seen.ejected) return ["✕ ejected", "pill bad"];
  if (seen.share < 0.995) return [`◔ slow start, ${Math.round(seen.share * 100)} %`, "pill warn"];
  return ["✓ available", "pill good"];
}

function sync(seen) {
  if (!seen || seen.is_master && !seen.claims) return ["", "pill"];
  if (seen.claims) return [`claims: ${seen.claims}`, "pill bad"];
  return [seen.sync_state === "in sync" ? "✓ in sync" : "! " + seen.sync_state, seen.sync_state === "in sync" ? "pill good" : "pill warn"];
}

function bytes(count) {
  if (count === null) return "–";
  return count < 10000 ? `${count} B` : count < 1e6 ? `${Math.round(count / 1000)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

const FAULTS = { killed: "you killed it", stopped: "you stopped it", slowed: "you slowed it", restoring: "restoring …" };

function showNodes(nodes) {
  nodes.forEach((node, index) => {
    if (!places[index]) places[index] = makeRow(index, node);
    const { row, part } = places[index], { seen, condition } = node;
    const isMaster = !!seen && seen.is_master, isEjected = !!seen && seen.ejected;
    row.className = `node${isMaster ? " master" : ""}${isEjected ? " ejected" : ""}`;
    put(part.role, isMaster ? "master" : "replica");
    put(part.addr, node.addr.replace("127.0.0.1", ""));
    put(part.health, ...health(seen).map((text, at) => at ? text + " health" : text));
    const [text, style] = isEjected ? ["", "pill"] : sync(seen);
    put(part.sync, text, style + " sync");
    part.sync.hidden = !text;
    part.fault.hidden = condition === "running";
    // Beside more than two words there is no room for it.
    part.addr.hidden = !part.fault.hidden || !!seen && (!!seen.claims || isEjected || seen.share < 0.995);
    put(part.fault, FAULTS[condition] || "");
    put(part.reads, whole(node.reads));
    put(part.writes, whole(node.writes));
    put(part.p99, time(node.p99));
    put(part.lag, node.lag_ms === null || isMaster ? "–" : node.lag_ms < 1000 ? `${node.lag_ms} ms` : `${(node.lag_ms / 1000).toFixed(1)} s`);
    part.lag.parentNode.title = seen && seen.lag_bytes !== null ? `${bytes(seen.lag_bytes)} of changes not applied yet` : "";
    part.why.hidden = !isEjected;
    part.figures.hidden = isEjected;
    put(part.why, `${seen && seen.reason || "It does not answer in time"}. It gets no calls, only probes.`);
    part.kill.disabled = condition === "killed" || condition === "restoring";
    part.stop.disabled = part.kill.disabled || condition === "stopped";
    part.slow.disabled = condition !== "running";
    part.restore.disabled = condition === "running" || condition === "restoring";
  });
  order(nodes);
  drawLines(nodes);
}

// Puts the master first. Rows move to their new places.
function order(nodes) {
  const sorted = nodes.map((node, index) => [node.seen && node.seen.is_master ? 0 : 1, index]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const wanted = sorted.map(([, index]) => places[index].row);
  if (wanted.every((row, at) => rows.children[at] === row)) return;
  const before = wanted.map(row => row.getBoundingClientRect().top);
  rows.append(...wanted);
  wanted.forEach((row, at) => {
    row.style.transition = "none";
    row.style.transform = `translateY(${before[at] - row.getBoundingClientRect().top}px)`;
  });
  requestAnimationFrame(() => wanted.forEach(row => { row.style.transition = row.style.transform = ""; }));
}

let flows = [];

function drawLines(nodes) {
  const frame = lines.getBoundingClientRect(), app = document.getElementById("app").getBoundingClientRect();
  const isNarrow = innerWidth <= 640;
  const master = nodes.findIndex(node => node.seen && node.seen.is_master);
  const parts = [], dots = [];
  const shape = row => ({ left: row.offsetLeft, right: row.offsetLeft + row.offsetWidth, middle: row.offsetTop + row.offsetHeight / 2, height: row.offsetHeight });
  const flow = (from, to, rate, stroke) => {
    const x1 = app.right - frame.left, x2 = to.left, half = (x2 - x1) * 0.55;
    const d = `M${x1} ${from}C${x1 + half} ${from} ${x2 - half} ${to.y} ${x2} ${to.y}`;
    const width = rate > 0 ? Math.min(isNarrow ? 9 : 15, 2 + Math.sqrt(rate) * 0.42) : 1.5;
    parts.push(svg("path", { d, stroke, "stroke-width": width, opacity: rate > 0 ? 1 : 0.35, "stroke-dasharray": rate > 0 ? "none" : "2 6" }));
    if (rate <= 0) return;
    const dot = svg("path", { d, stroke: "var(--dash)", "stroke-width": Math.max(1.4, width * 0.32), "stroke-dasharray": "0.1 17.9", opacity: 0.85 });
    dots.push({ dot, speed: 3 + Math.min(6, Math.sqrt(rate) / 4) });
  };
  const center = (app.top + app.bottom) / 2 - frame.top, spread = Math.min(app.height * 0.7, 90) / nodes.length;
  const top = at => center + (at - (nodes.length - 1) / 2) * spread;
  [...rows.children].forEach((row, at) => {
    const index = places.findIndex(place => place.row === row), node = nodes[index], to = shape(row);
    if (index === master) flow(top(at) - 9, { left: to.left, y: to.middle - 11 }, node.writes, "var(--write)");
    if (index !== master || node.reads > 0) flow(top(at), { left: to.left, y: to.middle + (index === master ? 11 : 0) }, node.reads, color(index));
    if (index === master || master < 0 || !node.seen) return;
    const from = shape(places[master].row), out = 12 + at * (isNarrow ? 3 : 9), y = from.middle + (at - 2) * 8;
    const isUp = node.condition !== "killed" && node.condition !== "restoring" && node.seen.sync_state === "in sync";
    const x = Math.max(from.right, to.right);
    const d = `M${from.right} ${y}H${x + out - 6}q6 0 6 6V${to.middle - 6}q0 6 -6 6H${to.right + 6}`;
    const stroke = isUp ? "var(--faint)" : "var(--bad)";
    parts.push(svg("path", { d, stroke, "stroke-width": 1.6, "stroke-dasharray": isUp ? "none" : "1 6" }));
    parts.push(svg("path", { d: `M${to.right + 9} ${to.middle - 4}L${to.right + 3} ${to.middle}L${to.right + 9} ${to.middle + 4}`, stroke, "stroke-width": 1.6 }));
  });
  lines.replaceChildren(...parts);
  const left = app.right - frame.left, width = Math.max(1, rows.offsetLeft - left);
  const layer = document.getElementById("dots");
  layer.style.left = left + "px";
  layer.setAttribute("width", width);
  layer.setAttribute("viewBox", `${left} 0 ${width} ${frame.height}`);
  layer.replaceChildren(...dots.map(({ dot }) => dot));
  flows = dots;
  step();
}

// Moves the dots along the lines. A few steps a second are enough, and cost little.
let offset = 0;
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

function step() {
  for (const { dot, speed } of flows) dot.setAttribute("stroke-dashoffset", (-(offset * speed) % 18).toFixed(1));
}

setInterval(() => {
  if (document.hidden || isCalm.matches || !flows.length) return;
  offset += 1;
  step();
}, 250);
