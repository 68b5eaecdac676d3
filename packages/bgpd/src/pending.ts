/** What bgpd has not done yet, in words: for `margay wait`, readiness and people. */
import type { Family } from "@margay/net";
import { formatPrefix } from "@margay/net";
import type { Engine } from "./engine.ts";
import type { RemoteBlock } from "./intake.ts";
import type { Peer } from "./peer.ts";
import { keyOf } from "./settings.ts";

/** How many reasons are spelt out. */
const shown = 3;

/** So long a peer that is not Established is waited for, in ms: a first attempt to connect lasts no longer. */
const attemptMs = 10_000;

/** The sessions that have been down for so long that nobody waits for them any more: a peer gone for good must not hold up `margay wait`. */
export const longDown = ({ speaker }: Pick<Engine, "speaker">, nowMs = performance.now()): Peer[] =>
  [...speaker.peers.values()].filter(
    ({ session, downSinceMs }) => session.state !== "Established" && nowMs - downSinceMs >= attemptMs,
  );

/** Why not all that the datastore says has been applied, by what those peers could tell that answer; undefined when it has. */
export function pendingOf(engine: Engine, remote: readonly RemoteBlock[]): string | undefined {
  const lost = new Set(longDown(engine));
  const expected = remote.filter(({ node }) => ![...lost].some(({ wanted }) => wanted.name === node));
  return listed([...faults(engine, lost), ...missing(engine, expected), ...unsettled(engine)]);
}

/** The peers that `pendingOf` waits for no longer; undefined when there is none. */
export const absentOf = (engine: Engine): string | undefined => listed(longDown(engine).map(sessionText));

function listed(reasons: readonly string[]): string | undefined {
  if (reasons.length === 0) return undefined;
  const more = reasons.length > shown ? [`and ${reasons.length - shown} more`] : [];
  return [...reasons.slice(0, shown), ...more].join("; ");
}

function faults({ speaker, listenFault }: Engine, lost: ReadonlySet<Peer>): string[] {
  const down = [...speaker.peers.values()].filter(
    (peer) => peer.session.state !== "Established" && !lost.has(peer),
  );
  const text = down.map(sessionText);
  return listenFault ? [`cannot listen: ${listenFault}`, ...text] : text;
}

/** `"session to 172.20.0.13 (n3) is Active: connection refused"`. */
export function sessionText(peer: Peer): string {
  const { wanted, session } = peer;
  const why = wanted.problem ?? lastFault(peer);
  const head = `session to ${keyOf(wanted)} (${wanted.name}) is ${session.state}`;
  return why ? `${head}: ${why}` : head;
}

/** The latest fault, in words that say whose it was. */
export function lastFault({ faults: { sent, received, connection } }: Peer): string | undefined {
  const all = [
    sent && { at: sent.at, words: `we sent ${sent.words}` },
    received && { at: received.at, words: `received ${received.words}` },
    connection,
  ].flatMap((f) => (f ? [f] : []));
  return all.toSorted((a, b) => b.at - a.at)[0]?.words;
}

/** Blocks of other nodes without a route, with the reason as far as it is known. */
function missing(engine: Engine, remote: readonly RemoteBlock[]): string[] {
  return remote.flatMap((block) => {
    const why = whyMissing(engine, block);
    return why ? [`${formatPrefix(block.cidr)} of ${block.node} ${why}`] : [];
  });
}

function whyMissing({ speaker, kernel }: Engine, { cidr, node }: RemoteBlock): string | undefined {
  const rib = speaker.ribs[cidr.family as Family];
  const id = rib.prefixes.find(cidr);
  const paths = id === undefined ? [] : rib.paths(id);
  const best = id === undefined ? undefined : rib.best(id);
  if (!best) {
    const [path] = paths;
    if (path?.refused) return `refused: ${path.refused}`;
    if (path?.lost === "next-hop") return "not reachable: no route to its next hop";
    const peer = [...speaker.peers.values()].find((p) => p.wanted.name === node);
    if (peer && peer.session.state !== "Established") return `not learned: ${sessionText(peer)}`;
    return `not learned${peer ? "" : ` from any of ${speaker.peers.size} peers`}`;
  }
  const key = formatPrefix(cidr);
  const refusal = kernel.refusal(key);
  return refusal ? `not in the kernel: ${refusal}` : undefined;
}

function unsettled(engine: Engine): string[] {
  if (!engine.speaker.isSettled) return ["announcements are being sent"];
  return engine.isSettled ? [] : ["routes are being written to the kernel"];
}
