import { add } from "./add.ts";
import { NO_POOL } from "./addresses.ts";
import { check } from "./check.ts";
import { del } from "./del.ts";
import { delegate, delegated } from "./delegate.ts";
import type { CniDeps } from "./deps.ts";
import { CniError } from "./errors.ts";
import { cniError } from "./failure.ts";
import type { Reply } from "./frame.ts";
import { gc, gcIpam } from "./gc.ts";
import type { Invocation } from "./invocation.ts";
import { addIpam, checkIpam, delIpam } from "./ipam.ts";
import { podOf } from "./pod.ts";
import { DONE, formatError } from "./result.ts";

/** A call served: for logs and metrics. */
export interface Served {
  readonly invocation: Invocation;
  readonly ms: number;
  readonly error?: CniError;
}

/**
 * Answers invocations; never throws. Calls about one pod run one after another, all others at once; GC runs alone, so
 * that it takes nothing away that an ADD has half made.
 */
export function cniHandler(deps: CniDeps, onServed?: (served: Served) => void) {
  const lines = new Map<string, Promise<unknown>>();
  let collection: Promise<unknown> = Promise.resolve();

  return async function handle(invocation: Invocation): Promise<Reply> {
    if (invocation.command === "STATUS") return serve(deps, invocation, onServed);
    if (invocation.command === "GC") {
      const reply = Promise.all([collection, ...lines.values()]).then(() =>
        serve(deps, invocation, onServed),
      );
      collection = reply;
      return reply;
    }
    const { endpoint, namespace } = podOf(invocation, { node: deps.node, interfacePrefix: "" });
    const key = `${namespace}/${endpoint}`;
    const reply = Promise.all([collection, lines.get(key)]).then(() => serve(deps, invocation, onServed));
    lines.set(key, reply);
    try {
      return await reply;
    } finally {
      if (lines.get(key) === reply) lines.delete(key);
    }
  };
}

async function serve(
  deps: CniDeps,
  invocation: Invocation,
  onServed?: (served: Served) => void,
): Promise<Reply> {
  const start = deps.now().getTime();
  const tell = (error?: CniError) => {
    const ms = deps.now().getTime() - start;
    setImmediate(() => onServed?.({ invocation, ms, ...(error && { error }) })); // the caller is answered first
  };
  try {
    const reply = await act(deps, invocation);
    tell();
    return reply;
  } catch (thrown) {
    const error = cniError(thrown);
    tell(error);
    return formatError(invocation.cniVersion, error);
  }
}

async function act(deps: CniDeps, given: Invocation): Promise<Reply> {
  const { command, plugin } = given;
  const why = deps.notReady?.();
  if (why && command !== "STATUS") throw new CniError("try-again-later", why);
  const asksPod = command === "ADD" || command === "CHECK";
  const invocation = asksPod && deps.describe ? await deps.describe(given) : given;
  switch (command) {
    case "ADD":
      return plugin === "ipam" ? addIpam(deps, invocation) : add(deps, invocation);
    case "DEL":
      return plugin === "ipam" ? delIpam(deps, invocation) : del(deps, invocation);
    case "CHECK":
      return plugin === "ipam" ? checkIpam(deps, invocation) : check(deps, invocation);
    case "GC":
      return plugin === "ipam" ? gcIpam(deps, invocation) : gc(deps, invocation);
    case "STATUS":
      return status(deps, invocation);
  }
}

/** CNI STATUS (1.1.0 §2): whether an ADD would succeed, and why not. */
async function status(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  const { notReady, trouble, families, podCidrs } = deps;
  const why = notReady?.();
  if (why) throw new CniError("plugin-unavailable", why);
  const found = trouble?.();
  if (found) throw new CniError(found.limited ? "limited-connectivity" : "plugin-unavailable", found.why);
  const type = delegated(invocation);
  if (type) await delegate(invocation, { type, command: "STATUS", podCidrs: podCidrs() }).catch(unavailable);
  else if (families().length === 0) throw new CniError("plugin-unavailable", NO_POOL.message, NO_POOL);
  return DONE;
}

/** STATUS has two codes: 50 for whatever would make an ADD fail, and 51 where running pods suffer, too. */
function unavailable(thrown: unknown): never {
  const { code, message, details } = cniError(thrown);
  const is51 = code === "limited-connectivity";
  const facts = { cause: thrown, ...(details && { details }) };
  throw new CniError(is51 ? code : "plugin-unavailable", message, facts);
}
