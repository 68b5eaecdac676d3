import type { PreviousResult } from "./configuration.ts";
import { CniError } from "./errors.ts";
import type { Reply } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import { DONE } from "./result.ts";

/** CHECK's answer: success, or one error with each missing thing. */
export function verdict(problems: readonly string[]): Reply {
  if (problems.length === 0) return DONE;
  const count = problems.length === 1 ? "one thing is" : `${problems.length} things are`;
  throw new CniError("not-as-added", `${count} not as ADD left them: ${problems[0]}`, {
    details: problems.join("; "),
  });
}

/** The result of ADD, without which CHECK has nothing to look for. Throws CniError 7. */
export function previous({ conf }: Invocation): PreviousResult {
  if (conf.prevResult) return conf.prevResult;
  throw new CniError(
    "invalid-configuration",
    "network configuration: prevResult: CHECK needs the result of ADD",
  );
}
