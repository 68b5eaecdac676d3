import Table from "cli-table3";
import { pcOut as pc } from "./colours.ts";
import type { Lab } from "./lab.ts";
import { formatMatrix, type Matrix } from "./matrix.ts";
import { bare, TOR } from "./places.ts";
import type { Timing } from "./progress.ts";
import { type Block, blocks } from "./routes.ts";
import { type Session, sessions } from "./sessions.ts";
import { table } from "./table.ts";
import { birdc, birdSessions } from "./tor.ts";

export interface Findings {
  readonly open: Matrix;
  readonly policed: Matrix;
  readonly timings: readonly Timing[];
}

/** All that the demo shows, as text. */
export async function report(lab: Lab, { open, policed, timings }: Findings): Promise<string> {
  const chapters: [string, string][] = [
    ["Nodes and their blocks", nodeTable(lab, await blocks(lab))],
    ["BGP sessions, as each node's bgpd sees them", sessionTable(await sessions(lab))],
    [`The ToR's own view (BIRD, AS ${TOR.as}): sessions`, torTable(await birdc("show protocols all"))],
    ["The ToR's own view: birdc show route primary", routeList(await birdc("show route primary"))],
    ["Who reaches whom before the policy (IPv4 and IPv6; rows connect to columns)", formatMatrix(open)],
    ["... and after NetworkPolicy shop/db: only api pods and namespace ops may", formatMatrix(policed)],
    ["How long it took", timingList(timings)],
  ];
  return chapters.map(([title, body]) => `\n${pc.bold(title)}\n${body}\n`).join("");
}

function nodeTable(lab: Lab, all: readonly Block[]): string {
  const rows = lab.topology.nodes.map(({ name, ipv4, ipv6, reflector }) => {
    const own = all.filter((block) => block.node === name);
    const held = own.map(({ cidr, used }) => `${cidr} (${used})`).join("\n") || "none";
    const here = lab.pods.filter((pod) => pod.node === name).map((pod) => `${pod.namespace}/${pod.name}`);
    return [name, `${bare(ipv4)}\n${bare(ipv6)}`, reflector ? "reflector" : "", held, here.join("\n")];
  });
  return table(["node", "addresses", "role", "blocks (in use)", "pods"], rows);
}

function sessionTable(all: readonly Session[]): string {
  const rows = all.map(({ node, name, as, state, received, sent }) => [
    node,
    name,
    as,
    colourState(state),
    received,
    sent,
  ]);
  return table(["node", "peer", "AS", "state", "prefixes in", "out"], rows);
}

function torTable(text: string): string {
  const rows = birdSessions(text).map(({ name, state, imported, exported }) => [
    name,
    colourState(state),
    imported,
    exported,
  ]);
  return table(["peer", "state", "prefixes in", "out"], rows);
}

const colourState = (state: string): string => (state === "Established" ? pc.green(state) : pc.red(state));

/** BIRD's words, without its greeting. */
const routeList = (text: string): string =>
  text
    .split("\n")
    .filter((line) => line.trim() !== "" && !/^(BIRD .* ready|Access restricted)/.test(line))
    .join("\n");

function timingList(timings: readonly Timing[]): string {
  const total = timings.reduce((sum, { ms }) => sum + ms, 0);
  const rows = [...timings, { name: "total", ms: total }].map(({ name, ms }) => [
    name,
    { content: `${ms} ms`, hAlign: "right" as const },
  ]);
  const made = new Table({ style: { head: [], border: [], compact: true } });
  made.push(...rows);
  return made.toString();
}
