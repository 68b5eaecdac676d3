import { IptablesError } from "@margay/iptables";
import type { Family } from "@margay/net";
import { NetlinkError } from "@margay/netlink";

/** What a packet filter said no to, as far as its error tells. */
export type Refusal =
  /** iptables: the renderer's name of the chain, and the line as it was given to the tool. */
  | { readonly kind: "line"; readonly chain: string; readonly text: string }
  /** nftables: the chain's name there, and the rule's hash: that of a policy that is closed for it may have the same id. */
  | { readonly kind: "rule"; readonly family: Family; readonly chain: string; readonly rule: string }
  /** ipset: without a member, the set as such. */
  | { readonly kind: "member"; readonly set: string; readonly member: string | undefined };

/** What the kernel answers about a rule itself; all else (ENOMEM, ENOBUFS, EINTR) says that it could not, and may at the next try. */
const JUDGEMENTS: ReadonlySet<string> = new Set([
  ...["EINVAL", "ENOENT", "ERANGE", "E2BIG", "EOVERFLOW", "EDOM", "ENXIO", "EMLINK", "ELOOP", "ENAMETOOLONG"],
  ...["EOPNOTSUPP", "EPROTONOSUPPORT", "EAFNOSUPPORT"],
]);

/** Undefined where nothing was judged, or the error names nothing. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof IptablesError) return error.code === "rejected" ? ofLine(error.facts.text) : undefined;
  if (!(error instanceof NetlinkError) || !JUDGEMENTS.has(error.code)) return undefined;
  const [, rule, chain, family] =
    /^add rule (\S+)(?: .+)? to chain (\S+) \(IPv([46])\)$/.exec(error.request) ?? [];
  if (rule === undefined || chain === undefined) return undefined;
  return { kind: "rule", family: family === "4" ? 4 : 6, chain, rule };
}

function ofLine(text = ""): Refusal | undefined {
  const [, chain] = /^-[AI] (\S+) /.exec(text) ?? [];
  if (chain !== undefined) return { kind: "line", chain, text };
  const [, set, member] = /^(?:add|create) (\S+) (\S+)/.exec(text) ?? [];
  if (set === undefined) return undefined;
  return { kind: "member", set, member: text.startsWith("add ") ? member : undefined };
}

/** Whether the kernel or a tool said no, or nothing: not the renderer. */
export const isOfKernel = (error: unknown): boolean =>
  error instanceof IptablesError || error instanceof NetlinkError;
