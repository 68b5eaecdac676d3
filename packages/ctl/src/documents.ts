import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type AnyResource, type RuleLines, readDocuments } from "@margay/api";
import { CtlError } from "./error.ts";
import type { Terminal } from "./terminal.ts";

/** A resource and the place it was read from, "file.yaml:12". */
export interface Located {
  readonly origin: string;
  readonly resource: AnyResource;
  /** Of its rules; absent for what was not read from a file. */
  readonly lines?: RuleLines;
}

/**
 * Everything that files, directories and "-" (standard input) hold, in order; warnings are shown. Throws CtlError: `unreadable`, or
 * `invalid` with every fault of every document.
 */
export function readResources(paths: readonly string[], terminal: Terminal): Located[] {
  const outcomes = paths
    .flatMap(filesOf)
    .flatMap((file) => readDocuments(read(file), file === "-" ? STDIN_NAME : file));
  const faults = outcomes.flatMap((outcome) => (outcome.ok ? [] : [outcome.error.message]));
  if (faults.length > 0) {
    const count = `${faults.length} of ${outcomes.length} documents ${faults.length === 1 ? "is" : "are"} invalid`;
    throw new CtlError("invalid", `${count}; nothing was changed:\n${faults.join("\n")}`);
  }
  if (outcomes.length === 0) throw new CtlError("usage", `no resource in ${paths.join(", ")}`);
  return outcomes.flatMap((outcome) => {
    if (!outcome.ok) return [];
    const { resource, warnings } = outcome.parsed;
    for (const warning of warnings) terminal.warn(`${outcome.origin}: ${warning}`);
    const isFile = !outcome.origin.startsWith(`${STDIN_NAME}:`);
    return [{ origin: outcome.origin, resource, ...(isFile && { lines: outcome.lines }) }];
  });
}

const IS_RESOURCE_FILE = /\.(ya?ml|json)$/;

/** The file itself, or the YAML and JSON files directly in a directory, by name. */
export function filesOf(path: string): string[] {
  if (path === "-") return [path];
  return attempt(path, () => {
    if (!statSync(path).isDirectory()) return [path];
    const files = readdirSync(path).filter((name) => IS_RESOURCE_FILE.test(name));
    if (files.length === 0) throw new CtlError("usage", `no .yaml, .yml or .json file in directory ${path}`);
    return files.sort().map((name) => join(path, name));
  });
}

const STDIN = 0;
const STDIN_NAME = "(stdin)";

const read = (file: string): string => attempt(file, () => readFileSync(file === "-" ? STDIN : file, "utf8"));

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof CtlError) throw error;
    throw new CtlError(
      "unreadable",
      `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`,
      error,
    );
  }
}
