import type { Counter } from "./rule.ts";
import { splitWords } from "./words.ts";

/** One rule of the kernel. `ours` is what its comment says, if it bears our mark. */
export interface SavedRule {
  /** All that follows `-A <chain>`, as iptables-save printed it: fit for `-D`. */
  readonly spec: string;
  readonly ours?: { readonly hash: string; readonly id?: string };
  readonly counter?: Counter;
}

/** A chain of the kernel; `builtin` ones have a policy other than `-`. */
export interface SavedChain {
  readonly builtin: boolean;
  /** `ACCEPT`, `DROP`; `-` for a chain that a user made. */
  readonly policy: string;
  readonly rules: SavedRule[];
}

/** Reads the output of iptables-save, with or without `-c`, into chains by `<table>/<chain>`. */
export function parseSave(text: string, mark: string): Map<string, SavedChain> {
  const chains = new Map<string, SavedChain>();
  let table = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) table = line.slice(1);
    else if (line.startsWith(":")) {
      const [name = "", policy = "-"] = line.slice(1).split(" ");
      chains.set(`${table}/${name}`, { builtin: policy !== "-", policy, rules: [] });
    } else {
      const [, packets, bytes, name, spec] = /^(?:\[(\d+):(\d+)\] )?-A (\S+) ?(.*)$/.exec(line) ?? [];
      if (name === undefined || spec === undefined) continue; // comments, COMMIT, blank
      const counter = packets === undefined ? undefined : { packets: Number(packets), bytes: Number(bytes) };
      chains.get(`${table}/${name}`)?.rules.push({
        spec,
        ...ownership(spec, mark),
        ...(counter && { counter }),
      });
    }
  }
  return chains;
}

function ownership(spec: string, mark: string): Pick<SavedRule, "ours"> {
  if (!spec.includes(mark)) return {};
  const words = splitWords(spec);
  const comment = words[words.indexOf("--comment") + 1];
  if (!words.includes("--comment") || !comment?.startsWith(mark)) return {};
  const body = comment.slice(mark.length);
  const space = body.indexOf(" ");
  return { ours: space < 0 ? { hash: body } : { hash: body.slice(0, space), id: body.slice(space + 1) } };
}
