import { definitionOf, kinds } from "@margay/api";
import { controlGet } from "@margay/daemon";
import type { PeerState } from "./bgp.ts";

/** So long a shell waits for the names of peers, ms: bgpd may not answer. */
const patienceMs = 1000;

/**
 * What may stand where a word of the command line is being written: kinds after `get` and `delete`, peers of this node's bgpd
 * after the verbs that want one. Undefined where the command itself knows best. `words` are those before it, without
 * flags: `["bgp", "reset"]`.
 */
export async function candidates(
  words: readonly string[],
  runDir = "/run/margay",
): Promise<readonly string[] | undefined> {
  const [command, verb = ""] = words;
  if (words.length === 1 && (command === "get" || command === "delete")) return kindWords();
  if (words.length === 2 && command === "bgp" && verb in withPeer)
    return [...withPeer[verb]!, ...(await peers(runDir))]; // it is in
  return undefined;
}

/** Verbs of `margay bgp` by the words that may stand for a peer. */
const withPeer: Readonly<Record<string, readonly string[]>> = {
  peers: [],
  refresh: ["all"],
  reset: ["all"],
  shutdown: ["all"],
  start: ["all"],
};

const kindWords = (): string[] =>
  kinds.flatMap((kind) => {
    const definition = definitionOf(kind);
    return definition ? [definition.plural, ...definition.aliases] : [];
  });

/** By name; none where no bgpd answers. */
async function peers(runDir: string): Promise<string[]> {
  const late = new Promise<readonly PeerState[]>((resolve) => setTimeout(resolve, patienceMs, []).unref());
  const asked = controlGet(runDir, "bgpd", "/peers").catch(() => []) as Promise<readonly PeerState[]>;
  return (await Promise.race([asked, late])).map(({ name }) => name);
}
