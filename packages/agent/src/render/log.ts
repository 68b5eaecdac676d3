import type { CompiledPolicy } from "@margay/calc";
import type { RenderConfig } from "./config.ts";

const SYSLOG_NOTICE = "5";
const END = ": ";

type Logged = Pick<CompiledPolicy, "id" | "tier">;

/** What a Log rule of a policy or profile does: FelixConfiguration's logPrefix, in as many bytes as the backend takes. */
export function logTarget(policy: Logged, { felix, logPrefixAtMost }: RenderConfig): readonly string[] {
  const prefix = cut(expanded(felix.logPrefix, policy), logPrefixAtMost - END.length) + END;
  return ["-j", "LOG", "--log-prefix", prefix, "--log-level", SYSLOG_NOTICE];
}

/**
 * Calico's specifiers: %t the tier, %k the kind as `np`, `gnp` or `profile`, %n the name, %p the name with its namespace, if any.
 * Others are what they are.
 */
function expanded(text: string, { id, tier = "profile" }: Logged): string {
  const [kind = "", ...path] = id.split("/");
  const means: Readonly<Record<string, string>> = {
    ...{ t: tier, k: kind, n: path.at(-1) ?? "", p: path.join("/") },
  };
  return text.replaceAll(/%([tknp])/g, (_, letter: string) => means[letter] ?? "");
}

/** The characters that are no more than `bytes` together. */
function cut(text: string, bytes: number): string {
  let kept = text;
  while (Buffer.byteLength(kept) > bytes) kept = [...kept].slice(0, -1).join("");
  return kept;
}
