import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { exec } from "@margay/lab";
import type { Cluster } from "./cluster.ts";
import { CHART } from "./release.ts";

const PAGES = fileURLToPath(new URL("../../../docs/guide", import.meta.url));
/** Where a reader stands: the chart and values.yaml are here. */
export const DESK = "/run/desk";

/** The indented commands of a section of docs/guide, as they stand. */
export function commands(page: string, heading: string): string {
  const [, section] = readFileSync(join(PAGES, page), "utf8").split(new RegExp(`^#+ ${heading}$`, "m"));
  const lines = section?.split(/^#/m)[0]?.match(/^ {4}.*$/gm) ?? [];
  if (lines.length === 0) throw new Error(`no commands below "${heading}" of ${page}`);
  return lines.map((line) => line.slice(4)).join("\n");
}

/** What a reader of the guide has: the chart, the values that the guide calls values.yaml, and the margay executable. */
export function desk(values: object): void {
  mkdirSync(join(DESK, "bin"), { recursive: true });
  const program = fileURLToPath(new URL("../../../packages/margay/dist/margay.mjs", import.meta.url));
  const script = `#!/bin/sh\nexec ${process.execPath} ${program} "$@"\n`;
  writeFileSync(join(DESK, "bin/margay"), script, { mode: 0o755 });
  cpSync(CHART, join(DESK, "charts/margay"), { recursive: true });
  writeFileSync(join(DESK, "values.yaml"), JSON.stringify(values));
}

/** Runs them one after the other, as a reader's shell would; throws what the first that fails says. @returns what they say */
export async function follow(
  cluster: Cluster,
  script: string,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { code, stdout, stderr } = await exec(["sh", "-exc", `cd ${DESK}\n${script}`], {
    env: { ...cluster.environment, PATH: `${DESK}/bin:${cluster.environment.PATH}`, ...env },
    timeoutMs: 600_000,
  });
  if (code !== 0) throw new Error(`exit ${code}\n${stdout}${stderr}`);
  return `${stdout}${stderr}`;
}
