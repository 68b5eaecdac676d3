import { once } from "node:events";
import { endpoint, NAMESPACES, namespace, policy } from "./large-cluster.ts";

/**
 * Prints a large cluster, one resource a line, as keys and values; some of its pods are on node n1.
 *
 *     node --conditions=margay-source packages/calc/src/testing/print-cluster.ts <endpoints> <policies> <local>
 */
const [endpoints = 10_000, policies = 1000, local = 100] = process.argv.slice(2).map(Number);
const every = Math.floor(endpoints / local);

function* all() {
  for (let i = 0; i < NAMESPACES; i++) yield namespace(i);
  for (let i = 0; i < policies; i++) yield policy(i);
  for (let i = 0; i < endpoints; i++) yield endpoint(i, i % every === 0 ? "n1" : "n2");
}

for (const update of all())
  if (!process.stdout.write(`${JSON.stringify(update)}\n`)) await once(process.stdout, "drain");
