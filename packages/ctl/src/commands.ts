import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { CommandModule } from "yargs";
import { apply } from "./apply.ts";
import { bgpCommand } from "./bgp-commands.ts";
import { command, exitUnless, filename, group, namespace, output, storeFlags, withStore } from "./command.ts";
import { references, remove } from "./delete.ts";
import { readResources } from "./documents.ts";
import { CtlError } from "./error.ts";
import { formats, get } from "./get.ts";
import { importCommand } from "./import-command.ts";
import { ipamCommand } from "./ipam-commands.ts";
import { nodeStatus } from "./node.ts";
import { explainCommand, policyCommand } from "./policy-commands.ts";
import { processTerminal as terminal } from "./terminal.ts";
import { DAEMONS, wait } from "./wait.ts";

const getCommand = command({
  command: "get <kind> [name]",
  describe: "show resources",
  builder: (yargs) =>
    storeFlags(yargs)
      .positional("kind", {
        type: "string",
        demandOption: true,
        describe: "Kind, plural or short name: node, ippools, np, ...",
      })
      .positional("name", { type: "string", describe: "Only this one" })
      .options({
        namespace,
        "all-namespaces": { alias: "A", type: "boolean", default: false, describe: "All namespaces" },
        output: {
          ...output,
          choices: formats,
          describe: "Form of the output; yaml and json can be applied again",
        },
      })
      .example("$0 get ippools -o wide", "all pools with all columns")
      .example("$0 get np web -n shop -o yaml", "one policy"),
  handler: (args) => withStore(args, (store) => get(store, args, terminal)),
});

const applyCommand = command({
  command: "apply",
  describe: "create or change resources from files",
  builder: (yargs) =>
    storeFlags(yargs)
      .options({ filename: { ...filename, demandOption: true }, output })
      .example("$0 apply -f policy.yaml", "also Kubernetes NetworkPolicies and Namespaces")
      .epilogue("All documents of all files are checked before the first is written."),
  handler: async (args) => {
    const documents = readResources(args.filename, terminal);
    await withStore(args, (store) => apply(store, documents, args, terminal));
  },
});

const deleteCommand = command({
  command: "delete [kind] [names..]",
  describe: "delete resources",
  builder: (yargs) =>
    storeFlags(yargs)
      .positional("kind", { type: "string", describe: "Kind, plural or short name" })
      .positional("names", { type: "string", array: true, default: [], describe: "Names" })
      .options({
        filename: {
          ...filename,
          default: [],
          describe: "Delete what the file, directory or - (standard input) holds",
        },
        namespace,
        force: { type: "boolean", default: false, describe: "Even what is in use" },
        "ignore-not-found": {
          type: "boolean",
          default: false,
          describe: "What is not there counts as deleted",
        },
        output,
      })
      .example("$0 delete np web -n shop", "one policy")
      .example("$0 delete -f policy.yaml", "what was applied"),
  handler: async (args) => {
    const targets = targetsOf(args);
    await withStore(args, (store) => remove(store, targets, args, terminal));
  },
});

interface Targets {
  readonly kind?: string | undefined;
  readonly names: readonly string[];
  readonly filename: readonly string[];
  readonly namespace: string;
}

/** What the words name, or what the files hold. */
function targetsOf({ kind, names, filename, namespace }: Targets) {
  if (filename.length > 0 && kind === undefined)
    return readResources(filename, terminal).map(({ resource }) => resource);
  if (filename.length > 0 || kind === undefined || names.length === 0)
    throw new CtlError("usage", "say what to delete: either KIND NAME... or -f FILE");
  return references(kind, names, namespace);
}

const nodeStatusCommand = command({
  command: "status",
  describe: "what agent and bgpd of this node say about themselves; exit code 1 unless both are ready",
  builder: (yargs) => storeFlags(yargs).options({ output }),
  handler: async (args) => exitUnless(await nodeStatus(args, terminal)),
});

const waitCommand = command({
  command: "wait",
  describe: "return once every node enforces all that was written before",
  builder: (yargs) =>
    storeFlags(yargs).options({
      timeout: { type: "number", default: 30, describe: "Seconds to wait at most" },
      node: { type: "string", array: true, default: [], describe: "Only this node; may be repeated" },
      daemon: {
        ...{ array: true, choices: DAEMONS, default: [] as (typeof DAEMONS)[number][] },
        describe: "Only this daemon of it: agent, where no node runs bgpd",
      },
      output,
    }),
  handler: (args) =>
    withStore(args, async (store) => {
      const request = {
        timeoutSeconds: args.timeout,
        nodes: args.node,
        daemons: args.daemon,
        output: args.output,
        id: randomUUID(),
        sleep,
      };
      exitUnless(await wait(store, request, terminal));
    }),
});

/** Resolves after `ms` or when the signal aborts. */
const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  delay(ms, undefined, { signal }).catch(() => undefined);

/** The commands for people. */
export const commands: readonly CommandModule[] = [
  getCommand,
  applyCommand,
  deleteCommand,
  importCommand,
  ipamCommand,
  bgpCommand,
  group("node", "what a node's daemons say about themselves", [nodeStatusCommand]),
  waitCommand,
  explainCommand,
  policyCommand,
];
