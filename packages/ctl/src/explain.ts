import { ApiError, parseKey, ROOT } from "@margay/api";
import {
  type ExplainStep,
  type Explanation,
  explain,
  PlaceError,
  placeOf,
  survey,
  type Update,
} from "@margay/calc";
import { type Entry, resourceOf, type Store } from "@margay/datastore";
import type { Family } from "@margay/net";
import { CtlError } from "./error.ts";
import { flowText, parseFlow } from "./flow.ts";
import { dump, type Form, type Terminal, table } from "./terminal.ts";

export interface ExplainRequest {
  readonly source: string;
  readonly destination: string;
  /** Such as `tcp:80`. */
  readonly packet: string;
  readonly sourcePort: number;
  /** Of the addresses, where both ends have both. */
  readonly family?: Family | undefined;
  readonly output: Form;
}

/**
 * `margay explain`: what happens to the first packet of a flow, by one reading of the datastore. Resolves to the verdict.
 * Throws CtlError `usage` for words that are no packet, `not-found` and `ambiguous` for places.
 */
export async function explainPacket(
  store: Store,
  request: ExplainRequest,
  terminal: Terminal,
): Promise<Explanation["verdict"]> {
  const { family: only, ...flow } = parseFlow(request.packet);
  if (only && request.family && only !== request.family)
    throw new CtlError("usage", `${request.packet} is IPv${only}`);
  const family = only ?? request.family;
  const { entries } = await store.list(ROOT);
  const resources = entries.filter(({ key }) => parseKey(key)); // not barriers, nor IPAM's journal
  const cluster = survey(resources.map((entry) => updateOf(entry, terminal)));
  const hasPorts = flow.destinationPort !== undefined;
  const found = placed(() =>
    explain(cluster, {
      ...flow,
      ...(family && { family }),
      ...(hasPorts && { sourcePort: request.sourcePort }),
      source: placeOf(request.source, cluster),
      destination: placeOf(request.destination, cluster),
    }),
  );
  terminal.print(request.output === "table" ? render(found, terminal) : dump(request.output, found));
  return found.verdict;
}

/** A value that cannot be read stands for what it was, closed; as in the agent. */
function updateOf(entry: Entry, terminal: Terminal): Update {
  try {
    return { key: entry.key, value: resourceOf(entry) };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code === "corrupt") terminal.warn(`closed: ${error.message}`);
    return { key: entry.key, corrupt: error.message, ...(error.readable && { value: error.readable }) };
  }
}

function placed<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof PlaceError)) throw error;
    throw new CtlError(error.code === "not-found" ? "not-found" : "usage", error.message, error);
  }
}

function render(found: Explanation, terminal: Terminal): string {
  const { colours } = terminal;
  const end = ({ name, address, node }: Explanation["source"]) =>
    [name, `(${address}${node === undefined || node === name ? "" : ` on ${node}`})`].join(" ");
  const title = `${end(found.source)} -> ${end(found.destination)}, ${flowText(found)}`;
  const rows = found.steps.map((step) => [
    "node" in step ? step.node : "",
    stage(step),
    step.text,
    ruleOf(step),
  ]);
  const colour = COLOURS[found.verdict];
  return [
    title,
    ...(rows.length > 0 ? [table(terminal, ["NODE", "STEP", "WHAT HAPPENS", "RULE ID"], rows)] : []),
    ...backendLines(found, terminal),
    ...found.problems.map(
      ({ subject, why, isInForce }) => `${isInForce ? "in force" : "closed"}: ${subject}: ${why}`,
    ),
    `${colours[colour](found.verdict.toUpperCase())}: ${found.because}`,
    ...(found.staged
      ? [`if staged policies were enforced, ${found.staged.verdict.toUpperCase()}: ${found.staged.because}`]
      : []),
  ].join("\n");
}

const COLOURS = { allowed: "green", denied: "red", unreachable: "red", unknown: "yellow" } as const;

/** Of a Service with several behind it, each; the steps above are those of one. */
function backendLines({ backends = [] }: Explanation, terminal: Terminal): string[] {
  if (backends.length < 2) return [];
  const rows = backends.map(({ name, address, verdict, because }) => [address, name, verdict, because]);
  return [table(terminal, ["BACKEND", "POD", "VERDICT", "BECAUSE"], rows)];
}

const stage = (step: ExplainStep): string => (step.kind === "policy" ? step.direction : step.kind);
const ruleOf = (step: ExplainStep): string => ("rule" in step && step.rule !== undefined ? step.rule : "");
