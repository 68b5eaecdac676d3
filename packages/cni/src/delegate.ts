import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { type PreviousResult, result } from "./configuration.ts";
import { type CniCode, CniError } from "./errors.ts";
import type { Invocation } from "./invocation.ts";

/** Names under which Margay's own IPAM is asked for. */
const OWN: readonly (string | undefined)[] = [undefined, "margay-ipam", "calico-ipam"];

/** The IPAM plugin that the configuration names instead of ours. */
export function delegated({ plugin, conf }: Invocation): string | undefined {
  const type = conf.ipam?.type;
  return plugin === "ipam" || OWN.includes(type) ? undefined : type;
}

/** A plugin that does not come back. */
const TIMEOUT_MS = 60_000;

type Command = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS";

/**
 * Executes another plugin for this call (CNI specification §4): the same environment, the same configuration, except
 * that "usePodCidr" has become the node's. It is looked for where the runtime says, then in the agent's own CNI_PATH: in a container
 * the runtime's folder has another name. Throws CniError with the plugin's own words.
 */
export async function delegate(
  invocation: Invocation,
  { type, command, podCidrs }: { type: string; command: Command; podCidrs: readonly string[] },
): Promise<PreviousResult> {
  const { env, document } = invocation.raw;
  const input = JSON.stringify(withPodCidrs(document, podCidrs));
  const path = find(type, [env.CNI_PATH, process.env.CNI_PATH].filter(Boolean).join(":"));
  const { code, stdout, stderr } = await run(path, { ...env, CNI_COMMAND: command }, input);
  if (code !== 0) throw failure(type, stdout || stderr || `exit code ${code}`);
  const parsed = result.safeParse(stdout.trim() === "" ? {} : decoded(type, stdout));
  if (parsed.success) return parsed.data;
  throw new CniError("no-address", `${type}: its result is none: ${parsed.error.message}`);
}

function find(type: string, path: string): string {
  if (type.includes("/"))
    throw new CniError("invalid-configuration", `ipam.type ${type}: a name, not a path`);
  const found = path
    .split(":")
    .map((folder) => join(folder, type))
    .find(isExecutable);
  if (found) return found;
  throw new CniError(
    "invalid-configuration",
    `ipam.type ${type}: no such plugin in CNI_PATH (${path || "empty"})`,
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // which is the answer
  }
}

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(path: string, env: Readonly<Record<string, string>>, input: string): Promise<Ended> {
  const { PATH = "" } = process.env;
  const child = spawn(path, [], { env: { PATH, ...env }, timeout: TIMEOUT_MS });
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (chunk: string) => {
      text[name] += chunk;
    });
  child.stdin.on("error", () => undefined); // it ended without reading: its exit code says why
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...text }));
  });
}

const decoded = (type: string, stdout: string): unknown => {
  try {
    return JSON.parse(stdout);
  } catch (error) {
    throw new CniError("no-address", `${type}: its result is not JSON`, { cause: error });
  }
};

/** Codes that stay what they are; any other means that there is no address. */
const KEPT: Readonly<Record<number, CniCode>> = { 11: "try-again-later", 51: "limited-connectivity" };

function failure(type: string, output: string): CniError {
  let words: { code?: number; msg?: string; details?: string } = {};
  try {
    words = JSON.parse(output) as typeof words;
  } catch {
    words = { msg: output.trim() }; // a plugin that crashed
  }
  const { code, msg = output, details } = words;
  return new CniError(KEPT[code ?? 0] ?? "no-address", `${type}: ${msg}`, {
    ...(details && { details }),
  });
}

const NAMES: Readonly<Record<string, 4 | 6>> = { usePodCidr: 4, usePodCidrIPv6: 6 };

/** The document with the node's pod CIDRs where its `ipam` says usePodCidr, as Calico's does. Pure. */
export function withPodCidrs(document: object, podCidrs: readonly string[]): object {
  const { ipam } = document as { ipam?: object };
  const cidr = (name: string): string => {
    const family = NAMES[name];
    const found = family && podCidrs.find((one) => one.includes(":") === (family === 6));
    if (found) return found;
    throw new CniError("invalid-configuration", `ipam: ${name}: this node has no IPv${family} pod CIDR`, {
      details: "It comes from the Node's status.podCIDRs.",
    });
  };
  const fill = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(fill);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => {
        const isName = key === "subnet" && typeof inner === "string" && inner in NAMES;
        return [key, isName ? cidr(inner) : fill(inner)];
      }),
    );
  };
  return { ...document, ipam: fill(ipam) };
}
