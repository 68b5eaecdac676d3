import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseAddress } from "@margay/net";
import type { Addresses } from "./learnt.ts";

/** One address of a domain, and until when it is good, in ms since 1970. */
type Line = readonly [domain: string, address: string, until: number];

/**
 * What was learnt, for the agent after this one: in the run directory, one line for each address. A line is there before the asker has the answer, so
 * that an agent that is killed forgets nothing that somebody goes by.
 */
export class DomainJournal {
  readonly #path: string;

  constructor(runDir: string) {
    this.#path = join(runDir, "domains.jsonl");
  }

  /** Later lines win; what a crash left of one is nothing. */
  read(): readonly Line[] {
    if (!existsSync(this.#path)) return [];
    return readFileSync(this.#path, "utf8").split("\n").flatMap(lineIn);
  }

  append(lines: readonly Line[]): void {
    mkdirSync(dirname(this.#path), { recursive: true });
    appendFileSync(this.#path, lines.map(textOf).join(""));
  }

  /** In place of all that is there. */
  rewrite(all: ReadonlyMap<string, Addresses>): void {
    const lines = [...all].flatMap(([domain, its]) =>
      [...its].map(([address, until]): Line => [domain, address, until]),
    );
    mkdirSync(dirname(this.#path), { recursive: true });
    writeFileSync(`${this.#path}.new`, lines.map(textOf).join(""));
    renameSync(`${this.#path}.new`, this.#path);
  }
}

const textOf = (line: Line): string => `${JSON.stringify(line)}\n`;

function lineIn(text: string): readonly Line[] {
  try {
    const [domain, address, until] = JSON.parse(text) as readonly unknown[];
    if (typeof domain !== "string" || typeof address !== "string" || typeof until !== "number") return [];
    parseAddress(address);
    return [[domain, address, until]];
  } catch {
    return []; // half a line
  }
}
