import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "@margay/api";
import pc from "picocolors";
import type { Located } from "../documents.ts";
import type { Terminal } from "../terminal.ts";

/** A terminal that remembers, without colours. */
export function recorder(): Terminal & { readonly printed: string[]; readonly warned: string[] } {
  const printed: string[] = [];
  const warned: string[] = [];
  return {
    ...{ printed, warned, colours: pc.createColors(false) },
    print: (text) => void printed.push(text),
    warn: (text) => void warned.push(text),
  };
}

/** Documents as `readResources` gives them, from origins "f:1", "f:2", ... */
export const located = (...documents: readonly object[]): Located[] =>
  documents.map((document, i) => {
    const origin = `f:${i + 1}`;
    return { origin, resource: parse({ apiVersion: "margay.dev/v1", ...document }, origin).resource };
  });

/** A directory that vanishes with the test. */
export async function inDirectory<T>(action: (directory: string) => Promise<T> | T): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "margay-ctl-"));
  try {
    return await action(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Listens where the daemon would and gives the answers, by path with query; 404 otherwise. */
export async function withDaemon<T>(
  { daemon, runDir, answers }: { daemon: string; runDir: string; answers: Readonly<Record<string, unknown>> },
  action: () => Promise<T>,
): Promise<T> {
  const server = createServer((request, response) => {
    const known = request.url !== undefined && request.url in answers;
    response
      .writeHead(known ? 200 : 404)
      .end(JSON.stringify(known ? answers[request.url ?? ""] : { error: `no ${request.url}` }));
  });
  await new Promise<void>((listening) => server.listen(join(runDir, `${daemon}.sock`), listening));
  try {
    return await action();
  } finally {
    await new Promise((closed) => server.close(closed));
  }
}
