// One node of the soak, as a process of its own: worker.ts <node> <etcd> <log file> <seed> <watch|list>
import { openSync, writeSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { etcdStore } from "@margay/datastore";
import { Ipam, IpamError } from "@margay/ipam";
import { type Family, formatAddress } from "@margay/net";
import { follow } from "./cluster.ts";
import { formatLine, type Kind } from "./history.ts";
import { random } from "./random.ts";

/** Calls at once; each has handles of its own, as a container runtime calls once at a time for a container. */
const LANES = 12;
const HANDLES = 2;
/** Operations between two messages to the parent. */
const REPORT = 20;

process.on("disconnect", () => process.exit()); // the parent has gone, or all is done
if (!process.connected) process.exit();

const [node = "", endpoint = "", path = "", seed = "0", view = "watch"] = process.argv.slice(2);
const draw = random(Number(seed));
const log = openSync(path, "a");
const store = etcdStore({ endpoints: [endpoint] });
const followed = await follow(store, node);
const { pools, config, reservations, blocks } = followed;
const ipam = new Ipam({
  ...{ store, node, pools, config, labels: () => ({}), now: () => new Date() },
  ...(reservations && { reservations }),
  ...(view === "watch" && { blocks }),
});
let stopping = false;
let done = 0;
process.on("SIGTERM", () => {
  stopping = true;
});

const write = (kind: Kind, handle: string, addresses: readonly string[] = []) =>
  void writeSync(log, formatLine({ at: process.hrtime.bigint(), kind, handle, addresses }));

async function assign(handle: string, families: Family[]): Promise<void> {
  write("assign", handle);
  try {
    const held = await ipam.assign({ handle, families, attributes: { node, containerID: handle } });
    write(
      "assigned",
      handle,
      held.map(({ address }) => formatAddress(address)),
    );
  } catch (error) {
    if (!(error instanceof IpamError)) throw error; // a fault of the program: the round fails
    write("assign-failed", handle);
  }
}

async function release(handle: string): Promise<void> {
  write("release", handle);
  try {
    await ipam.release({ handle });
    write("released", handle);
  } catch (error) {
    if (!(error instanceof IpamError)) throw error;
    write("release-failed", handle);
  }
}

async function lane(number: number): Promise<void> {
  while (!stopping) {
    const index = Math.floor(draw() * HANDLES);
    const handle = `${node}.${number}-${index}`;
    if (draw() < 0.5) await release(handle);
    else await assign(handle, index % 2 === 0 ? [4] : [4, 6]); // always the same families for a handle
    done++;
    await turn(); // what fails for lack of addresses does so without waiting for anything: let the watch have its turn
    if (done % REPORT === 0) process.send?.(REPORT);
    if (draw() < 0.02) await ipam.tidy().catch(() => undefined); // what fails is done the next time
  }
}

await Promise.all(Array.from({ length: LANES }, (_, number) => lane(number)));
await followed.stop();
await store.close();
process.disconnect?.();
