import { type IPAMConfiguration, parse } from "@margay/api";
import { resources, type Store } from "@margay/datastore";
import { dump, type Form, type Terminal, table } from "./terminal.ts";

/** What to change; what is undefined stays. */
export interface Settings {
  readonly strictAffinity?: boolean | undefined;
  readonly autoAllocateBlocks?: boolean | undefined;
  readonly maxBlocksPerHost?: number | undefined;
  readonly ipCooldownSeconds?: number | undefined;
  readonly rackLabel?: string | undefined;
  readonly hostReservedFirst?: number | undefined;
  readonly hostReservedLast?: number | undefined;
}

/** `margay ipam configure`: changes IPAMConfiguration `default`, and shows it. Throws ApiError `invalid`. */
export async function configure(
  store: Store,
  { output, ...settings }: Settings & { output: Form },
  terminal: Terminal,
): Promise<void> {
  const collection = resources(store, "IPAMConfiguration");
  const before: Partial<IPAMConfiguration["spec"]> = (await collection.get("default"))?.spec ?? {};
  const wanted = configurationOf(changed(before, settings));
  if (Object.values(settings).some((value) => value !== undefined)) await collection.apply(wanted);
  if (output !== "table") return terminal.print(dump(output, wanted.spec));
  const rows = Object.entries(wanted.spec).map(([name, value]) => [
    name,
    typeof value === "object" ? JSON.stringify(value) : value,
  ]);
  terminal.print(table(terminal, ["SETTING", "VALUE"], rows));
}

function changed(before: Partial<IPAMConfiguration["spec"]>, settings: Settings): object {
  const { hostReservedFirst, hostReservedLast, ...plain } = settings;
  const { first = 0, last = 0 } = before.hostReserved ?? {};
  return {
    ...before,
    ...Object.fromEntries(Object.entries(plain).filter(([, value]) => value !== undefined)),
    hostReserved: { first: hostReservedFirst ?? first, last: hostReservedLast ?? last },
  };
}

const configurationOf = (spec: object): IPAMConfiguration =>
  parse({ apiVersion: "margay.dev/v1", kind: "IPAMConfiguration", metadata: { name: "default" }, spec })
    .resource as IPAMConfiguration; // just named so
