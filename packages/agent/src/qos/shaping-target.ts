import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { deleteLink, linkByName, listLinks, type Netlink } from "@margay/netlink";
import type { Target } from "@margay/reconcile";
import { type Bucket, ifbOf, type Shaping } from "./wanted.ts";

/** Our mark on a queue: its handle. Who wants an interface's queue for himself gives it another. */
const HANDLE = "4d:";

/**
 * The limits of pods' traffic, by host interface:
 *
 *     to the pod     its host interface's own queue: tbf
 *     from the pod   host interface, ingress ── u32, mirred ──► ifb-<pod>: tbf ──► goes on as if it had just come in
 */
export const shapingTarget = (nl: Netlink): Target<Shaping> => ({
  name: "shaping",
  list: () => list(nl),
  put: (wanted) => forEach(wanted, ([name, shaping]) => put(nl, name, shaping)),
  remove: (names) => forEach(names, (name) => put(nl, name, {})),
  same: (a, b) => sameBucket(a.receive, b.receive) && sameBucket(a.send, b.send),
});

/** One pod's limit that is refused keeps no other's from being set or taken away. */
async function forEach<T>(all: Iterable<T>, act: (one: T) => Promise<void>): Promise<void> {
  const failed: unknown[] = [];
  for (const one of all) await act(one).catch((error) => failed.push(error));
  if (failed.length > 1) throw new AggregateError(failed, failed.map(String).join("; "));
  if (failed.length === 1) throw failed[0];
}

interface Qdisc {
  readonly kind: string;
  readonly handle: string;
  readonly dev: string;
  readonly root?: boolean;
  /** Of a peak only `minburst`. */
  readonly options?: { readonly rate?: number; readonly burst?: number; readonly minburst?: number };
}

async function list(nl: Netlink): Promise<Map<string, Shaping>> {
  const queues = JSON.parse(await tc(["-j", "qdisc", "show"])) as Qdisc[];
  const ours = new Map(queues.filter(isOurs).map((queue) => [queue.dev, bucketIn(queue)]));
  const hasPeaks = queues.some((queue) => isOurs(queue) && queue.options?.minburst !== undefined);
  const peaks = hasPeaks ? peaksIn(await tc(["qdisc", "show"])) : [];
  for (const [dev, rate] of peaks) {
    const bucket = ours.get(dev);
    if (bucket) ours.set(dev, { ...bucket, peak: { rate, burst: 0 } });
  }
  const links = await listLinks(nl);
  const names = new Set(links.filter(({ kind }) => kind !== "ifb").map(({ name }) => ifbOf(name)));
  const found = links.flatMap(({ name, kind }): [string, Shaping][] => {
    const [receive, send] = [ours.get(name), ours.get(ifbOf(name))];
    if (kind === "ifb" && name === ifbOf(name) && !names.has(name)) return [[name, {}]]; // its pod has gone
    if (kind === "ifb" || (!receive && !send)) return [];
    return [[name, { ...(receive && { receive }), ...(send && { send }) }]];
  });
  return new Map(found);
}

/** Whether any pod's sending is, or was, limited here. */
export const hasIfb = async (nl: Netlink): Promise<boolean> =>
  (await listLinks(nl)).some(({ name, kind }) => kind === "ifb" && name === ifbOf(name));

const isOurs = ({ kind, handle, root }: Qdisc): boolean =>
  kind === "tbf" && handle === HANDLE && root === true;

/** tc tells bytes per second. */
const bucketIn = ({ options = {} }: Qdisc): Bucket => ({
  rate: (options.rate ?? 0) * 8,
  burst: options.burst ?? 0,
});

const UNITS = ["", "K", "M", "G", "T"];
/** Bits per second of bursts, by device: tc tells them to people only. */
const peaksIn = (text: string): [string, number][] =>
  [...text.matchAll(/^qdisc tbf 4d: dev (\S+) root .* peakrate (\d+)([KMGT]?)bit /gm)].map(
    ([, dev = "", digits, unit = ""]) => [dev, Number(digits) * 1000 ** UNITS.indexOf(unit)],
  );

/** The kernel keeps a burst as time: it reads back a little smaller. */
function sameBucket(a: Bucket | undefined, b: Bucket | undefined): boolean {
  if (!a || !b) return a === b;
  const near = (x: number, y: number) => Math.abs(x - y) <= Math.max(8, 0.02 * Math.max(x, y));
  return near(a.rate, b.rate) && near(a.burst, b.burst) && near(a.peak?.rate ?? 0, b.peak?.rate ?? 0);
}

async function put(nl: Netlink, name: string, { receive, send }: Shaping): Promise<void> {
  const ifb = ifbOf(name);
  const link = await linkByName(nl, name);
  if (!link) {
    await deleteLink(nl, ifb); // the pod has gone, and with its interface all but this
    return;
  }
  if (receive) await tc(["qdisc", "replace", "dev", name, "root", "handle", HANDLE, ...words(receive)]);
  else await unlessNone(() => tc(["qdisc", "del", "dev", name, "root", "handle", HANDLE]));
  if (send) await shapeSending({ nl, name, ifb, mtu: link.mtu }, send);
  else if (await deleteLink(nl, ifb)) await unlessNone(() => tc(["qdisc", "del", "dev", name, "ingress"]));
}

interface Beside {
  readonly nl: Netlink;
  readonly name: string;
  readonly ifb: string;
  readonly mtu: number;
}

/** The queue first, then packets into it. */
async function shapeSending({ nl, name, ifb, mtu }: Beside, bucket: Bucket): Promise<void> {
  if (!(await linkByName(nl, ifb))) await run("ip", ["link", "add", ifb, "mtu", `${mtu}`, "type", "ifb"]);
  await run("ip", ["link", "set", ifb, "up"]);
  await tc(["qdisc", "replace", "dev", ifb, "root", "handle", HANDLE, ...words(bucket)]);
  await unlessNone(() => tc(["qdisc", "add", "dev", name, "handle", "ffff:", "ingress"]));
  const redirect = ["action", "mirred", "egress", "redirect", "dev", ifb];
  const all = ["u32", "match", "u32", "0", "0"];
  await tc([
    "filter",
    "replace",
    "dev",
    name,
    "parent",
    "ffff:",
    "protocol",
    "all",
    "prio",
    "77",
    "handle",
    "800::800",
    ...all,
    ...redirect,
  ]);
}

const words = ({ rate, burst, peak }: Bucket): string[] => [
  ...["tbf", "rate", `${rate}bit`, "burst", `${burst}b`, "latency", "25ms"],
  ...(peak ? ["peakrate", `${peak.rate}bit`, "minburst", `${peak.burst}b`] : []),
];

/** There already, or gone already. */
async function unlessNone(act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!/File exists|Cannot find|No such file|Invalid handle|Exclusivity flag/.test(String(error)))
      throw error;
  }
}

const tc = (rest: readonly string[]): Promise<string> => run("tc", rest);

async function run(program: string, rest: readonly string[]): Promise<string> {
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", "pipe"] });
  const [[code], out, err] = await Promise.all([
    once(child, "close"),
    text(child.stdout),
    text(child.stderr),
  ]);
  if (code !== 0) throw new Error(`${program} ${rest.join(" ")}: ${err.trim() || `exit code ${code}`}`);
  return out;
}
