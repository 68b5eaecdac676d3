import { controlGet, controlPost } from "@margay/daemon";
import { formatPrefix, NetError, parsePrefix } from "@margay/net";
import { CtlError } from "./error.ts";
import { type Cell, dump, type Terminal, table } from "./terminal.ts";

export const formats = ["table", "wide", "json", "yaml"] as const;
export type Format = (typeof formats)[number];

/** One session, as bgpd's control socket answers to GET /peers. */
export interface PeerState {
  readonly name: string;
  readonly address: string;
  readonly as: number;
  readonly state: string;
  /** ISO time of the last change of state. */
  readonly since?: string;
  /** Prefixes in, accepted by import policy, chosen as best, and out. */
  readonly received: number;
  readonly accepted?: number;
  readonly best?: number;
  readonly sent: number;
  /** Why it is not established. */
  readonly lastError?: string;
  /** The last NOTIFICATION of either direction, and the last fault of TCP, in words with their times. */
  readonly lastSent?: string;
  readonly lastReceived?: string;
  readonly lastConnection?: string;
  readonly type?: string;
  readonly localAs?: number;
  readonly timers?: { readonly holdTimeSeconds: number; readonly keepaliveSeconds: number };
  readonly counts?: { readonly flaps: number };
  readonly capabilities?: { readonly ours: readonly string[]; readonly theirs: readonly string[] };
  readonly warnings?: readonly string[];
}

/** One path to a prefix, as bgpd's control socket answers to GET /routes. */
export interface RouteState {
  readonly prefix: string;
  readonly nextHop?: string;
  readonly from: string;
  readonly best: boolean;
  /** As good as the best: the kernel gets both. */
  readonly multipath: boolean;
  readonly asPath: string;
  readonly origin?: string;
  readonly localPref?: number;
  readonly med?: number;
  readonly communities?: readonly string[];
  readonly extendedCommunities?: readonly string[];
  readonly largeCommunities?: readonly string[];
  /** RFC 9234: the AS that said it goes to customers only. */
  readonly onlyToCustomer?: number;
  /** As received, where the session has path identifiers (RFC 7911). */
  readonly pathId?: number;
  readonly originatorId?: number;
  readonly clusterList?: readonly number[];
  /** Kept from a peer that restarts. */
  readonly stale?: boolean;
  /** Why it is not the best. */
  readonly lost?: string;
  /** Whether bgpd has written the prefix to the kernel. */
  readonly kernel: string;
}

interface Request {
  readonly runDir: string;
  readonly output: Format;
}

/** `margay bgp peers [peer]`. Throws ControlError when bgpd cannot be asked, CtlError `not-found` for no such peer. */
export async function peers(
  { runDir, output, peer }: Request & { readonly peer?: string | undefined },
  terminal: Terminal,
): Promise<void> {
  const all = (await controlGet(runDir, "bgpd", "/peers")) as readonly PeerState[];
  const answer = peer === undefined ? all : all.filter((p) => p.name === peer || p.address === peer);
  if (peer !== undefined && answer.length === 0)
    throw new CtlError(
      "not-found",
      `no BGP peer is called ${peer}; there are ${all.map((p) => p.name).join(", ") || "none"}`,
    );
  if (output === "json" || output === "yaml") return terminal.print(dump(output, answer));
  if (answer.length === 0)
    return terminal.warn(
      "no BGP peer: the mesh is off or there is no other node, and no BGPPeer names this node",
    );
  if (peer !== undefined && output === "table")
    return terminal.print(answer.map((p) => list(peerFacts(p, terminal))).join("\n\n"));
  const wide = output === "wide";
  const head = ["PEER", "ADDRESS", "AS", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "BEST", "SENT"];
  const more = wide
    ? ["TYPE", "HOLD", "KEEPALIVE", "FLAPS", "LAST SENT", "LAST RECEIVED", "LAST OF TCP"]
    : [];
  const rows = answer.map((p): Cell[] => [
    ...[p.name, p.address, p.as, stateText(p.state, terminal), p.since],
    ...[p.received, p.accepted, p.best, p.sent],
    ...(wide ? wideCells(p) : [p.lastError]),
  ]);
  terminal.print(table(terminal, [...head, ...(wide ? more : ["LAST ERROR"])], rows));
}

const wideCells = ({ type, timers, counts, ...last }: PeerState): Cell[] => [
  ...[type, timers?.holdTimeSeconds, timers?.keepaliveSeconds, counts?.flaps],
  ...[last.lastSent, last.lastReceived, last.lastConnection],
];

/** All about one session, by name. */
function peerFacts(p: PeerState, terminal: Terminal): [string, Cell][] {
  return [
    ["peer", `${p.name} (${p.address}), AS ${p.as}`],
    ["state", `${stateText(p.state, terminal)}${p.since ? ` since ${p.since}` : ""}`],
    ["why not up", p.lastError],
    ["prefixes", `${p.received} in, ${p.accepted ?? "-"} accepted, ${p.best ?? "-"} best, ${p.sent} out`],
    ["last error sent", p.lastSent],
    ["last error received", p.lastReceived],
    ["last fault of TCP", p.lastConnection],
    ["flaps", p.counts?.flaps],
    ["timers", p.timers && `hold ${p.timers.holdTimeSeconds} s, keepalive ${p.timers.keepaliveSeconds} s`],
    ["our capabilities", p.capabilities?.ours.join(", ")],
    ["its capabilities", p.capabilities?.theirs.join(", ")],
    ["warnings", p.warnings?.join("; ")],
  ];
}

/** Facts on a line each; those that are not there are left out. */
function list(facts: readonly (readonly [string, Cell])[]): string {
  const shown = facts.filter(([, value]) => value !== undefined && value !== "");
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n");
}

const stateText = (state: string, { colours }: Terminal): string =>
  state === "Established" ? colours.green(state) : colours.red(state);

interface RoutesRequest extends Request {
  readonly prefix?: string | undefined;
  readonly peer?: string | undefined;
  readonly why?: boolean | undefined;
  /** No more paths than this. */
  readonly limit?: number;
}

/** Paths shown unless told otherwise. */
export const defaultLimit = 10_000;

/** `margay bgp routes [prefix]`. Throws ControlError when bgpd cannot be asked, CtlError `usage` for no prefix. */
export async function routes(request: RoutesRequest, terminal: Terminal): Promise<void> {
  const { runDir, output, prefix, why, limit = defaultLimit } = request;
  const answer = (await controlGet(runDir, "bgpd", `/routes${queryOf(request)}`)) as readonly RouteState[];
  if (answer.length === limit)
    terminal.warn(`only the first ${limit} paths are shown: name a prefix or a peer, or see --limit`);
  if (output === "json" || output === "yaml") return terminal.print(dump(output, answer));
  if (answer.length === 0) return terminal.warn(prefix === undefined ? "no route" : `no route to ${prefix}`);
  if (why) return terminal.print(answer.map((path) => list(pathFacts(path))).join("\n\n"));
  const wide = output === "wide";
  const head = ["", "PREFIX", "NEXT HOP", "FROM", "AS PATH", "LOCAL PREF", "MED", "KERNEL", "WHY NOT BEST"];
  const rows = answer.map((path): Cell[] => {
    const { prefix, nextHop, from, asPath, localPref, med, kernel } = path;
    return [
      ...[markOf(path), prefix, nextHop ?? "(here)", from, asPath],
      ...[localPref, med, kernel, path.best || path.multipath ? "" : path.lost],
      ...(wide ? [path.origin, path.communities?.join(" "), path.stale ? "yes" : ""] : []),
    ];
  });
  terminal.print(table(terminal, wide ? [...head, "ORIGIN", "COMMUNITIES", "STALE"] : head, rows));
}

const markOf = ({ best, multipath }: RouteState): string => (best ? "*" : multipath ? "=" : "");

function queryOf({ prefix, peer, limit }: RoutesRequest): string {
  const query = new URLSearchParams();
  if (prefix !== undefined) query.set(prefix.includes("/") ? "prefix" : "match", canonical(prefix));
  if (peer !== undefined) query.set("peer", peer);
  if (limit !== undefined && limit !== defaultLimit) query.set("limit", `${limit}`);
  return query.size === 0 ? "" : `?${query}`;
}

/** One path with all its attributes. */
function pathFacts(path: RouteState): [string, Cell][] {
  const rank = path.best
    ? "the best"
    : path.multipath
      ? "as good as the best: the kernel gets both"
      : "not the best";
  return [
    ["path", `${path.prefix} by ${path.nextHop ?? "this node itself"}, from ${path.from}`],
    ["is", `${rank}${path.stale ? ", stale: its peer is away" : ""}`],
    ["lost at", path.best || path.multipath ? undefined : path.lost],
    ["AS path", path.asPath],
    ["origin", path.origin],
    ["local pref", path.localPref],
    ["MED", path.med],
    ["communities", path.communities?.join(" ")],
    ["extended communities", path.extendedCommunities?.join(" ")],
    ["large communities", path.largeCommunities?.join(" ")],
    ["only to customer", path.onlyToCustomer],
    ["path identifier", path.pathId],
    ["originator", path.originatorId === undefined ? undefined : dotted(path.originatorId)],
    ["cluster list", path.clusterList?.map(dotted).join(" ")],
    ["kernel", path.kernel],
  ];
}

/** A BGP Identifier as operators know it. */
const dotted = (id: number): string => [24, 16, 8, 0].map((shift) => (id >>> shift) & 255).join(".");

interface OperateRequest {
  readonly runDir: string;
  readonly peer: string;
  readonly message?: string | undefined;
  readonly direction?: "in" | "out" | undefined;
}

/** `margay bgp refresh|reset|shutdown|start PEER`: prints what was done. Throws ControlError, also for no such peer. */
export async function operate(
  action: "refresh" | "reset" | "shutdown" | "start",
  { runDir, peer, message, direction }: OperateRequest,
  terminal: Terminal,
): Promise<void> {
  const query = new URLSearchParams({
    peer,
    ...(message === undefined ? {} : { message }),
    ...(direction === undefined ? {} : { direction }),
  });
  const done = (await controlPost(runDir, "bgpd", `/${action}?${query}`)) as readonly string[];
  for (const line of done) terminal.print(line);
}

/** As bgpd names it; an address is its /32 or /128. */
function canonical(prefix: string): string {
  try {
    return formatPrefix(parsePrefix(prefix));
  } catch (error) {
    if (error instanceof NetError) throw new CtlError("usage", error.message, error);
    throw error;
  }
}
