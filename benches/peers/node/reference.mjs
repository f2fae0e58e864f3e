// Reads a value from replicas with a client for Node.js, for the bench `peers`.
//
// node reference.mjs ioredis|glide CALLERS WARM_UP_MS LENGTH_MS SIZE MASTER_URL REPLICA_URL…
//
// Prints "begin" when the measured time begins, and one line of figures when it has ended; times in microseconds.

import { createHistogram, performance } from "node:perf_hooks";

const [client, ...rest] = process.argv.slice(2);
const [callers, warmUp, length, size] = rest.slice(0, 4).map(Number);
const [master, ...replicas] = rest.slice(4);

/** Returns a function for each caller, which reads the value once. */
async function ioredis() {
  const { Redis } = await import("ioredis");
  const connections = replicas.map((url) => new Redis(url, { enableAutoPipelining: true }));
  await Promise.all(connections.map((connection) => connection.ping()));
  return (caller) => {
    let turn = caller;
    return () => connections[turn++ % connections.length].get("key");
  };
}

async function glide() {
  const { GlideClient } = await import("@valkey/valkey-glide");
  const addresses = [master, ...replicas].map((text) => {
    const url = new URL(text);
    return { host: url.hostname, port: Number(url.port) };
  });
  const readFrom = "preferReplica";
  const routed = await GlideClient.createClient({ addresses, readFrom, requestTimeout: 5000, inflightRequestsLimit: 4096 });
  return () => () => routed.get("key");
}

const reader = await (client === "ioredis" ? ioredis() : glide());
const begin = performance.now() + warmUp;
const end = begin + length;
const latencies = createHistogram({ lowest: 1, highest: 60_000_000_000, figures: 3 });
let calls = 0;
let failed = 0;
let failure = "";

async function run(caller) {
  const read = reader(caller);
  let before = performance.now();
  while (before < end) {
    try {
      const value = await read();
      if (value?.length !== size) throw new Error(`read ${value}`);
      const now = performance.now();
      if (now >= begin && now < end) {
        calls += 1;
        latencies.record(Math.max(1, Math.round((now - before) * 1e6)));
      }
    } catch (error) {
      failed += 1;
      failure = String(error).replaceAll(/\s+/g, "_");
      await new Promise((resume) => setTimeout(resume, 1));
    }
    before = performance.now();
  }
}

let used;
setTimeout(() => {
  used = process.cpuUsage();
  console.log("begin");
}, warmUp);
await Promise.all(Array.from({ length: callers }, (_, caller) => run(caller)));
const { user, system } = process.cpuUsage(used);
const [p50, p99, latest] = [50, 99, 100].map((share) => latencies.percentile(share) / 1000);
console.log(`calls=${calls} failed=${failed} failure=${failure} cpu=${user + system} p50=${p50} p99=${p99} latest=${latest}`);
process.exit(0);
