import { type Participant, raiseBarrier, resources, type Store } from "@margay/datastore";
import { dump, type Form, type Terminal } from "./terminal.ts";

export interface WaitRequest {
  readonly timeoutSeconds: number;
  /** Only these nodes; all when empty. */
  readonly nodes: readonly string[];
  /** Which daemons of them; both when empty. */
  readonly daemons?: readonly (typeof DAEMONS)[number][];
  readonly output: Form;
  /** A name for the barrier that no other has. */
  readonly id: string;
  /** Resolves after `ms`, or early when the signal aborts. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** What a node runs; bgpd only where routes come by BGP. */
export const DAEMONS = ["agent", "bgpd"] as const;

/**
 * `margay wait`: resolves to true once agent and bgpd of every node have applied to the kernel all that was written before the call, to
 * false when some have not in time; those are printed with what is known of the cause.
 */
export async function wait(store: Store, request: WaitRequest, terminal: Terminal): Promise<boolean> {
  const { id, sleep, timeoutSeconds } = request;
  const expected = await participants(store, request, terminal);
  const { answered, missing } = await raiseBarrier(store, {
    id,
    expected,
    timeoutMs: timeoutSeconds * 1000,
    sleep,
  });
  if (request.output !== "table") terminal.print(dump(request.output, { answered, missing }));
  else if (missing.length === 0) {
    terminal.print(`${expected.length} daemons have applied everything`);
    for (const { node, daemon, note } of answered)
      if (note !== undefined) terminal.print(`but ${node} ${daemon} did not wait: ${note}`);
  } else {
    const lines = missing.map(({ node, daemon, why }) => `${node} ${daemon}: ${why}`);
    terminal.print(
      `${missing.length} of ${expected.length} daemons have not applied everything:\n${lines.join("\n")}`,
    );
  }
  return missing.length === 0;
}

async function participants(
  store: Store,
  { nodes, daemons = [] }: Pick<WaitRequest, "nodes" | "daemons">,
  terminal: Terminal,
): Promise<Participant[]> {
  const known = (
    await resources(store, "Node").list(undefined, (error) => terminal.warn(`skipped: ${error.message}`))
  ).map(({ metadata }) => metadata.name);
  if (known.length === 0) terminal.warn("there is no node: nothing to wait for");
  // A node asked for by name is waited for whether it is known or not: its absence is the answer.
  const chosen = nodes.length > 0 ? nodes : known;
  const who = daemons.length > 0 ? daemons : DAEMONS;
  return chosen.flatMap((node) => who.map((daemon) => ({ node, daemon })));
}
