import { readFileSync } from "node:fs";
import type { Store } from "@margay/datastore";
import { isScalar, LineCounter, parseAllDocuments, stringify } from "yaml";
import { apply } from "./apply.ts";
import { filesOf } from "./documents.ts";
import { CtlError } from "./error.ts";
import { convertCalico, type Found, type Judged } from "./import-calico.ts";
import { dump, type Terminal, table } from "./terminal.ts";

export interface ImportRequest {
  /** yaml: resources to stdout; json: these and the report. Nothing is written then. */
  readonly output: "table" | "yaml" | "json";
  /** Only the report. */
  readonly dryRun: boolean;
}

/**
 * `margay import calico`: converts, reports what has no equivalent, and applies. Throws CtlError `invalid` when an object
 * cannot be taken as it is: nothing is written then.
 */
export async function importCalico(
  found: readonly Found[],
  request: ImportRequest,
  {
    terminal,
    withStore,
  }: { terminal: Terminal; withStore: (act: (store: Store) => Promise<void>) => Promise<void> },
): Promise<void> {
  if (found.length === 0) throw new CtlError("usage", "there is no object of Calico's");
  const { resources, report } = convertCalico(found);
  if (request.output !== "json") terminal.warn(reportText(report, terminal));
  else terminal.print(dump("json", { report, resources: resources.map(({ resource }) => resource) }));
  const refused = report.filter(({ outcome }) => outcome === "refused");
  if (refused.length > 0)
    throw new CtlError(
      "invalid",
      `${refused.length} of ${report.length} objects cannot be imported as they are; nothing was changed`,
    );
  if (request.output === "yaml")
    terminal.print(resources.map(({ resource }) => stringify(resource)).join("---\n"));
  else if (request.output === "table" && !request.dryRun)
    await withStore((store) => apply(store, resources, { output: "table" }, terminal));
}

function reportText(report: readonly Judged[], terminal: Terminal): string {
  const rows = report.map(({ what, outcome, notes }) => [what, outcome, notes.join("; ")]);
  const counts = (["imported", "skipped", "refused"] as const).map(
    (outcome) => `${report.filter((one) => one.outcome === outcome).length} ${outcome}`,
  );
  return `${table(terminal, ["OBJECT", "OUTCOME", "NO EQUIVALENT, OR WHY"], rows)}\n${counts.join(", ")}`;
}

/** All documents of files, directories or "-", items of Lists one by one. Throws CtlError. */
export function documentsIn(paths: readonly string[]): Found[] {
  return paths.flatMap(filesOf).flatMap((file) => {
    const lines = new LineCounter();
    const documents = parseAllDocuments(text(file), { lineCounter: lines, prettyErrors: false });
    if (!Array.isArray(documents)) return [];
    return documents.flatMap((document): Found[] => {
      const origin = `${file === "-" ? "(stdin)" : file}:${lines.linePos(document.contents?.range?.[0] ?? 0).line}`;
      const [fault] = document.errors;
      if (fault) throw new CtlError("invalid", `${origin}: no YAML: ${fault.message}`);
      if (document.contents === null || isScalar(document.contents)) return [];
      const value = document.toJS() as { kind?: unknown; items?: unknown };
      const items = Array.isArray(value.items) ? value.items : [value];
      return items.map((one) => ({ origin, document: one }));
    });
  });
}

function text(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw new CtlError("unreadable", `cannot read ${file}: ${(error as Error).message}`, error);
  }
}
