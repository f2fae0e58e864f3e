// Asks for what is new once a second, and shows it.

const id = name => document.getElementById(name);
const KEPT = 200;
const seconds = [], marks = [];
let lastEvent = 0, nodes = [], began = 0;

const readsChart = new Chart(id("chart-reads"), second => [
  ...second.reads.map((reads, index) => `${nodes[index].name}  ${whole(reads)} reads/s`), ...failures(second)]);
const timesChart = new Chart(id("chart-times"), second => [
  `reads   p99 ${time(second.read_p99)}, p50 ${time(second.read_p50)}`, `writes  p99 ${time(second.write_p99)}`, ...failures(second)]);

function failures(second) {
  const before = seconds.find(other => other.number === second.number - 1);
  const failed = before ? second.failed - before.failed : 0;
  return failed > 0 ? [`${failed} failed`] : [];
}

async function act(path) {
  try {
    const answer = await fetch("/" + path, { method: "POST" });
    if (!answer.ok) tell(await answer.text());
    setTimeout(refresh, 120);
  } catch {
    tell("The dashboard does not answer. Does it still run?");
  }
}

function tell(text) {
  id("toast").textContent = text;
  id("toast").hidden = false;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { id("toast").hidden = true; }, 4000);
}

// Chooses a node for each of the suggestions.
const suggestions = {
  kill: () => chosen(node => !node.seen.is_master && node.condition === "running", index => act(`kill/${index}`)),
  slow: () => chosen(node => !node.seen.is_master && node.condition === "running", index => act(`slow/${index}`)),
  stop: () => chosen(node => node.seen.is_master && node.condition === "running", index => act(`stop/${index}`)),
  failover: () => act("failover"),
  restore: () => nodes.forEach((node, index) => { if (node.condition !== "running" && node.condition !== "restoring") act(`restore/${index}`); }),
};

function chosen(fits, then) {
  // The busiest one shows most.
  const fitting = nodes.map((node, index) => [node, index]).filter(([node]) => node.seen && !node.seen.ejected && fits(node));
  if (!fitting.length) return tell("There is no such node that runs. Restore one first.");
  then(fitting.sort((a, b) => b[0].reads - a[0].reads)[0][1]);
}

for (const button of document.querySelectorAll("[data-try]")) button.onclick = suggestions[button.dataset.try];

function showTotals({ reads, writes, kept, broken, lost }) {
  const failed = reads.failed + writes.failed;
  id("failed").classList.toggle("some", failed > 0);
  put(id("failed-count"), whole(failed));
  const doubt = writes.in_doubt ? `, ${whole(writes.in_doubt)} in doubt` : "";
  put(id("failed-note"), `of ${whole(reads.done + writes.done + failed)}: ${whole(reads.failed)} reads, ${whole(writes.failed)} writes${doubt}`);
  const last = seconds[seconds.length - 1];
  if (last) {
    const sum = counts => counts.reduce((one, other) => one + other, 0);
    put(id("reads"), whole(sum(last.reads)));
    put(id("writes"), whole(sum(last.writes)));
    put(id("read-p99"), time(last.read_p99));
    put(id("write-p99"), time(last.write_p99));
  }
  put(id("broken"), whole(broken));
  put(id("sessions-note"), `${whole(kept)} own writes seen` + (lost ? `, ${whole(lost)} lost and reported` : ""));
}

const SIGNS = { action: "▸", trouble: "✕", recovery: "✓", failover: "★", failure: "!", change: "·" };

function showEvents(events) {
  for (const event of events) {
    lastEvent = event.number;
    const row = document.createElement("tr");
    row.className = event.kind;
    const cells = [0, 1, 2].map(() => row.appendChild(document.createElement("td")));
    cells[0].textContent = new Date(began + event.at).toTimeString().slice(0, 8);
    if (event.node !== null) {
      const dot = Object.assign(document.createElement("span"), { className: "dot", textContent: nodes[event.node].name });
      dot.style.setProperty("--node", color(event.node));
      cells[1].append(dot);
    }
    cells[2].append(Object.assign(document.createElement("i"), { textContent: SIGNS[event.kind] }), event.text);
    id("events").prepend(row);
    mark(event);
  }
  while (id("events").children.length > KEPT) id("events").lastChild.remove();
}

function mark(event) {
  if (!event.mark) return;
  const second = seconds.find(second => second.at >= event.at);
  const text = event.mark + (event.node !== null ? " " + nodes[event.node].name : "");
  marks.push({ number: second ? second.number : (seconds.length ? seconds[seconds.length - 1].number + 1 : 1), text });
  while (marks.length > 40) marks.shift();
}

function showCharts() {
  const sums = seconds.map(second => second.reads.reduce((one, other) => one + other, 0));
  const top = ceiling(Math.max(100, ...sums) * 1.02);
  readsChart.begin(seconds, marks, [0, top / 2, top].map(value => [value, whole(value)]), value => value / top);
  let lower = seconds.map(() => 0);
  const names = [];
  nodes.forEach((node, index) => {
    const upper = seconds.map((second, at) => lower[at] + second.reads[index]);
    readsChart.area(lower, upper, color(index));
    const last = seconds.length - 1;
    if (last >= 0 && upper[last] - lower[last] > top / 50) names.push({ name: node.name, color: color(index), y: readsChart.y((upper[last] + lower[last]) / 2) });
    lower = upper;
  });
  readsChart.names(names);
  readsChart.end();
  const log = value => (Math.log10(value) + 1) / 5;
  timesChart.begin(seconds, marks, [0.1, 1, 10, 100, 1000, 10000].map(value => [value, value < 1000 ? `${value} ms` : `${value / 1000} s`]), log);
  timesChart.names([
    timesChart.line(seconds.map(second => second.write_p99), "var(--write)", "W"),
    timesChart.line(seconds.map(second => second.read_p99), "var(--n0)", "R")]);
  timesChart.end();
}

let isAsking = false;

async function refresh() {
  if (isAsking || document.hidden) return;
  isAsking = true;
  try {
    const last = seconds.length ? seconds[seconds.length - 1].number : 0;
    const answer = await fetch(`/state?second=${last}&event=${lastEvent}`);
    if (!answer.ok) throw new Error(answer.status);
    const state = await answer.json();
    // Another run of the dashboard answers: begin anew.
    if (began && Math.abs(Date.now() - state.now - began) > 20000) return location.reload();
    began ||= Date.now() - state.now;
    nodes = state.nodes;
    seconds.push(...state.seconds);
    while (seconds.length > SPAN) seconds.shift();
    showNodes(nodes);
    showTotals(state.totals);
    showEvents(state.events);
    if (state.seconds.length || !last) showCharts();
    id("live").className = "live";
    put(id("live").lastChild, "live");
  } catch (error) {
    id("live").className = "live off";
    put(id("live").lastChild, "the dashboard does not answer");
  } finally {
    isAsking = false;
  }
}

refresh();
setInterval(refresh, 1000);
document.addEventListener("visibilitychange", refresh);
addEventListener("resize", () => { if (nodes.length) { showNodes(nodes); showCharts(); } });
