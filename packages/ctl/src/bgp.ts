import { controlGet } from "@margay/daemon";
import { formatPrefix, NetError, parsePrefix } from "@margay/net";
import { CtlError } from "./error.ts";
import { json, type Terminal, table } from "./terminal.ts";

/** One session, as bgpd's control socket answers to GET /peers. */
export interface PeerState {
  readonly name: string;
  readonly address: string;
  readonly as: number;
  readonly state: string;
  /** ISO time of the last change of state. */
  readonly since?: string;
  readonly received: number;
  readonly sent: number;
  /** Why it is not established. */
  readonly lastError?: string;
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
  readonly localPref?: number;
  readonly med?: number;
  /** Why it is not the best. */
  readonly lost?: string;
  /** Whether bgpd has written the prefix to the kernel. */
  readonly kernel: string;
}

interface Request {
  readonly runDir: string;
  readonly output: "table" | "json";
}

/** `margay bgp peers`. Throws ControlError when bgpd cannot be asked. */
export async function peers({ runDir, output }: Request, terminal: Terminal): Promise<void> {
  const answer = (await controlGet(runDir, "bgpd", "/peers")) as readonly PeerState[];
  if (output === "json") return terminal.print(json(answer));
  if (answer.length === 0)
    return terminal.warn(
      "no BGP peer: the mesh is off or there is no other node, and no BGPPeer names this node",
    );
  const head = ["PEER", "ADDRESS", "AS", "STATE", "SINCE", "RECEIVED", "SENT", "LAST ERROR"];
  terminal.print(
    table(
      terminal,
      head,
      answer.map(({ name, address, as, state, since, received, sent, lastError }) => [
        ...[name, address, as, stateText(state, terminal), since],
        ...[received, sent, lastError],
      ]),
    ),
  );
}

const stateText = (state: string, { colours }: Terminal): string =>
  state === "Established" ? colours.green(state) : colours.red(state);

/** `margay bgp routes [prefix]`. Throws ControlError when bgpd cannot be asked, CtlError `usage` for no prefix. */
export async function routes(
  { runDir, output, prefix }: Request & { readonly prefix?: string | undefined },
  terminal: Terminal,
): Promise<void> {
  const path = prefix === undefined ? "/routes" : `/routes?prefix=${encodeURIComponent(canonical(prefix))}`;
  const answer = (await controlGet(runDir, "bgpd", path)) as readonly RouteState[];
  if (output === "json") return terminal.print(json(answer));
  if (answer.length === 0) return terminal.warn(prefix === undefined ? "no route" : `no route to ${prefix}`);
  const head = ["", "PREFIX", "NEXT HOP", "FROM", "AS PATH", "LOCAL PREF", "MED", "KERNEL", "WHY NOT BEST"];
  const rows = answer.map(
    ({ best, multipath, prefix, nextHop, from, asPath, localPref, med, kernel, lost }) => [
      ...[best ? "*" : multipath ? "=" : "", prefix, nextHop ?? "(here)", from, asPath],
      ...[localPref, med, kernel, best || multipath ? "" : lost],
    ],
  );
  terminal.print(table(terminal, head, rows));
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
