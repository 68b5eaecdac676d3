#!/usr/bin/env node
// Margay in the slot for another speaker of the BGP comparison bench: reads the bench's peer description, writes
// our file beside it and becomes `margay bgpd --config-file`.
//
//     ./run --daemons bird,frr,margay --other 'margay=node adapter.mjs {config}' --suite quick --repeats 1
//
// MARGAY names another executable than the one built in packages/margay; NODE_OPTIONS reaches it (--cpu-prof).
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const { local, families, hold_time, neighbors } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const dir = dirname(process.argv[2]);
const root = fileURLToPath(new URL("../../../", import.meta.url));
const file = join(dir, "margay.yaml");
const ours = {
  local: {
    as: local.as,
    "router-id": local.router_id,
    "cluster-id": local.cluster_id,
    "listen-addresses": [local.address],
    "listen-port": local.port,
    addresses: [`${local.address}/32`, "fd77::ffff/128"],
  },
  families,
  "hold-time": hold_time,
  "ebgp-policy": "accept-all",
  kernel: { install: false },
  neighbors: neighbors.map(({ address, as, rr_client, passive }) => ({
    ...{ address, as, passive },
    "rr-client": rr_client,
  })),
};
writeFileSync(file, JSON.stringify(ours)); // JSON is YAML

const program = process.env.MARGAY ?? join(root, "packages/margay/dist/margay.mjs");
const flags = ["bgpd", "--config-file", file, "--run-dir", dir, "--health-port", "0", "--log-level", "warn"];
// exec, so that the bench samples the speaker itself.
const node = join(root, "node_modules/.bin/node");
if (process.execve) process.execve(node, [node, program, ...flags], process.env);
const child = spawn(node, [program, ...flags], { stdio: "inherit" });
process.on("SIGTERM", () => child.kill("SIGTERM"));
child.on("exit", (code) => process.exit(code ?? 1));
