// One node of the soak, as a process of its own: worker.ts <node> <etcd> <log file> <seed> <watch|list>
import { openSync, writeSync } from "node:fs";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { etcdStore, StoreError } from "@margay/datastore";
import { type Assignment, Ipam, IpamError } from "@margay/ipam";
import { type Family, formatAddress, parseAddress } from "@margay/net";
import { ENDPOINTS, follow, RACKS } from "./cluster.ts";
import { formatLine, type Kind } from "./history.ts";
import { isAway } from "./patience.ts";
import { random } from "./random.ts";

/** Calls at once; each has handles of its own, as a container runtime calls once at a time for a container. */
const LANES = 12;
const HANDLES = 3;
/** Operations between two messages to the parent. */
const REPORT = 20;
/** Until the next call where etcd did not answer one, as a runtime waits: what fails at once would be most of what is tried. */
const AWAY_MS = 100;

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
  racks: () => RACKS,
  ...(view === "watch" && { blocks }),
});
let stopping = false;
let done = 0;
process.on("SIGTERM", () => {
  stopping = true;
});

const write = (kind: Kind, handle: string, addresses: readonly string[] = []) =>
  void writeSync(log, formatLine({ at: process.hrtime.bigint(), kind, handle, addresses }));

/** A killed one's last words may be of others. */
let known: string | undefined;
/** What the node goes by now, if that is other than was written last. */
function writeReserved(): void {
  const cidrs = followed.reservations?.().flatMap(({ spec }) => spec.reservedCIDRs) ?? [];
  if (cidrs.join() !== known) write("reserved", node, cidrs);
  known = cidrs.join();
}

const textOf = (held: readonly Assignment[]) => held.map(({ address }) => formatAddress(address));

/** How a call ended; it counts if it was done. */
type End = "done" | "refused" | "unanswered";

/** With what is like an endpoint, as CNI ADD: in the same write, or by itself. `wanted`: this very address. */
async function assign(handle: string, families: Family[], wanted: string | undefined): Promise<End> {
  writeReserved();
  write("assign", handle, wanted === undefined ? [] : [wanted]);
  const key = ENDPOINTS + handle;
  const request = {
    ...{ handle, families, attributes: { node, containerID: handle } },
    ...(wanted && { addresses: [parseAddress(wanted)] }),
  };
  try {
    const { held, wroteAlong } = await ipam.assignWith(request, (chosen) => [
      { type: "create", key, value: textOf(chosen).join() },
    ]);
    writeReserved();
    write("assigned", handle, textOf(held));
    if (!wroteAlong) await store.put(key, textOf(held).join());
    return "done";
  } catch (error) {
    write("assign-failed", handle);
    return endOf(error);
  }
}

/** As CNI DEL: the endpoint first, and no address while it may be there. */
async function release(handle: string, asGarbage: boolean): Promise<End> {
  write("release", handle);
  try {
    await store.delete(ENDPOINTS + handle);
    if (asGarbage) await ipam.collect(await ipam.garbage({ goneContainers: new Set([handle]) }));
    else await ipam.release({ handle });
    if (!asGarbage) write("released", handle); // garbage is what the view shows: it may be late
    return "done";
  } catch (error) {
    write("release-failed", handle);
    return endOf(error);
  }
}

/** Throws a fault of the program: the round fails. */
function endOf(error: unknown): End {
  if (isAway(error)) return "unanswered";
  if (error instanceof IpamError || error instanceof StoreError) return "refused";
  throw error;
}

async function lane(number: number): Promise<void> {
  while (!stopping) {
    const index = Math.floor(draw() * HANDLES);
    const handle = `${node}.${number}-${index}`;
    const end = await operation(number, handle, index);
    if (end === "done" && ++done % REPORT === 0) process.send?.(REPORT);
    if (end === "unanswered") await delay(AWAY_MS);
    await turn(); // what fails for lack of addresses does so without waiting for anything: let the watch have its turn
    if (draw() < 0.02) await ipam.tidy().catch(() => undefined); // what fails is done the next time
  }
}

function operation(number: number, handle: string, index: number): Promise<End> {
  if (draw() < 0.5) return release(handle, draw() < 0.2);
  if (index === 2) return assign(handle, [4], `10.0.0.${number}`); // of all nodes, the same twelve
  return assign(handle, index === 0 ? [4] : [4, 6], undefined); // always the same families for a handle
}

await Promise.all(Array.from({ length: LANES }, (_, number) => lane(number)));
await followed.stop();
await store.close();
process.disconnect?.();
