import { add, addIpam } from "./add.ts";
import { del, delIpam } from "./del.ts";
import type { CniDeps } from "./deps.ts";
import { CniError, cniError } from "./errors.ts";
import type { Reply } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import { podOf } from "./pod.ts";
import { DONE, formatError } from "./result.ts";

/** A call served: for logs and metrics. */
export interface Served {
  readonly invocation: Invocation;
  readonly ms: number;
  readonly error?: CniError;
}

/** Answers invocations; never throws. Calls about one pod run one after another, all others at once. */
export function cniHandler(deps: CniDeps, onServed?: (served: Served) => void) {
  const lines = new Map<string, Promise<unknown>>();

  return async function handle(invocation: Invocation): Promise<Reply> {
    const { endpoint, namespace } = podOf(invocation, { node: deps.node, interfacePrefix: "" });
    const key = `${namespace}/${endpoint}`;
    const before = lines.get(key) ?? Promise.resolve();
    const reply = before.then(() => serve(deps, invocation, onServed));
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
  const ms = () => deps.now().getTime() - start;
  try {
    const reply = await act(deps, invocation);
    onServed?.({ invocation, ms: ms() });
    return reply;
  } catch (thrown) {
    const error = cniError(thrown);
    onServed?.({ invocation, ms: ms(), error });
    return formatError(invocation.cniVersion, error);
  }
}

async function act(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  const { command, plugin } = invocation;
  const why = deps.notReady?.();
  if (why && command !== "STATUS") throw new CniError("try-again-later", why);
  switch (command) {
    case "ADD":
      return plugin === "ipam" ? addIpam(deps, invocation) : add(deps, invocation);
    case "DEL":
      return plugin === "ipam" ? delIpam(deps, invocation) : del(deps, invocation);
    case "STATUS":
      if (why) throw new CniError("plugin-unavailable", why);
      return DONE;
    case "CHECK":
    case "GC":
      throw new CniError("not-supported", `${command} is not supported`);
  }
}
