import type { Argv, CommandModule } from "yargs";
import { type FoundLab, findLab, fromOutside } from "./discover.ts";
import { LabError } from "./errors.ts";
import type { LabelChange } from "./lab.ts";
import { formatMatrix } from "./matrix.ts";
import { ask } from "./methods.ts";
import { type Pod, podKey } from "./pods.ts";
import type { Protocol } from "./probe.ts";
import { table } from "./table.ts";

export interface Named {
  readonly name?: string;
}

/** Which lab; needed only when several run. */
export const lab = (yargs: Argv) =>
  yargs.option("name", { type: "string", describe: "Name of the lab, when several run" });

/** "web" or "shop/web". LabError "invalid". */
export function podId(
  text: string,
  namespace = "default",
): { readonly namespace: string; readonly name: string } {
  const [first = "", second, ...more] = text.split("/");
  if (more.length > 0) throw new LabError("invalid", `"${text}" is no pod: NAME or NAMESPACE/NAME`);
  return second === undefined ? { namespace, name: first } : { namespace: first, name: second };
}

/** "app=web,tier=front" and "tier-" to remove. LabError "invalid". */
export function parseLabels(text: string | readonly string[]): LabelChange {
  const words = [text]
    .flat()
    .flatMap((part) => part.split(","))
    .filter(Boolean);
  return Object.fromEntries(
    words.map((word) => {
      const [, key, value, minus] = /^([^=]+?)(?:=(.*)|(-))$/.exec(word) ?? [];
      if (key === undefined)
        throw new LabError("invalid", `"${word}" is no label: key=value, or key- to remove it`);
      return [key, minus ? null : (value ?? "")];
    }),
  );
}

/** The value may hold anything, "=" too. */
function keyAndValue(text: string): [string, string] {
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (key !== undefined && value !== undefined) return [key, value];
  throw new LabError("invalid", `"${text}" is no annotation: key=value`);
}

interface PodAdd extends Named {
  readonly pod: string;
  readonly namespace: string;
  readonly node: string;
  readonly labels?: string;
  readonly ip?: readonly string[];
  readonly annotation?: readonly string[];
}

const add: CommandModule<object, PodAdd> = {
  command: "add <pod>",
  describe: "make a pod through the CNI plugin; it answers on TCP and UDP ports 80 and 8080",
  builder: (yargs) =>
    lab(yargs)
      .positional("pod", { type: "string", describe: "NAME or NAMESPACE/NAME" })
      .option("namespace", { alias: "n", type: "string", default: "default" })
      .option("node", { type: "string", demandOption: true })
      .option("labels", { alias: "l", type: "string", describe: "key=value,..." })
      .option("ip", {
        type: "string",
        array: true,
        describe: "Address it shall have; repeat for the other family",
      })
      .option("annotation", { type: "string", array: true, describe: "KEY=VALUE; may be repeated" }) as never,
  handler: async ({ name, pod, namespace, node, labels, ip, annotation = [] }) => {
    const given = Object.entries(parseLabels(labels ?? "")).map(([key, value]) => [key, value ?? ""]);
    const request = {
      ...podId(pod, namespace),
      node,
      labels: Object.fromEntries(given),
      ...(ip && { ips: ip }),
      ...(annotation.length > 0 && { annotations: Object.fromEntries(annotation.map(keyAndValue)) }),
    };
    const made = await ask(findLab(name))("addPod", request);
    process.stdout.write(`pod ${podKey(made)} on ${made.node}: ${made.addresses.join(", ")}\n`);
  },
};

const rm: CommandModule<object, Named & { pod: string; namespace: string }> = {
  command: "rm <pod>",
  describe: "end a pod through the CNI plugin",
  builder: (yargs) =>
    lab(yargs).option("namespace", { alias: "n", type: "string", default: "default" }) as never,
  handler: async ({ name, pod, namespace }) => {
    await ask(findLab(name))("removePod", podId(pod, namespace));
  },
};

const label: CommandModule<object, Named & { pod: string; labels: string[]; namespace: string }> = {
  command: "label <pod> <labels..>",
  describe: "change labels: key=value sets, key- removes",
  builder: (yargs) =>
    lab(yargs).option("namespace", { alias: "n", type: "string", default: "default" }) as never,
  handler: async ({ name, pod, labels, namespace }) => {
    await ask(findLab(name))("labelPod", { ...podId(pod, namespace), labels: parseLabels(labels) });
  },
};

const pod: CommandModule = {
  command: "pod",
  describe: "add, rm, label",
  builder: (yargs) =>
    yargs.command([add, rm, label] as CommandModule[]).demandCommand(1, "which pod command?"),
  handler: () => {},
};

const namespace: CommandModule<object, Named & { namespace: string; labels: string[] }> = {
  command: "namespace label <namespace> <labels..>",
  describe: "change labels of a namespace (made if need be): key=value sets, key- removes",
  builder: (yargs) => lab(yargs) as never,
  handler: async ({ name, namespace, labels }) => {
    await ask(findLab(name))("labelNamespace", { namespace, labels: parseLabels(labels) });
  },
};

const pods: CommandModule<object, Named & { output: "table" | "json" }> = {
  command: "pods",
  describe: "pods with node, addresses and the path of their network namespace",
  builder: (yargs) =>
    lab(yargs).option("output", { alias: "o", choices: ["table", "json"], default: "table" }) as never,
  handler: async ({ name, output }) => {
    const found = findLab(name);
    const all = (await ask(found)("pods", undefined)).map((one) => shown(found, one));
    const rows = all.map(({ namespace, name, node, addresses, labels }) => [
      `${namespace}/${name}`,
      node,
      addresses.join("\n"),
      words(labels),
    ]);
    process.stdout.write(
      `${output === "json" ? JSON.stringify(all, null, 2) : table(["pod", "node", "addresses", "labels"], rows)}\n`,
    );
  },
};

const words = (labels: Readonly<Record<string, string>>) =>
  Object.entries(labels)
    .map((pair) => pair.join("="))
    .join("\n");

function shown(found: FoundLab, { name, namespace, node, namespacePath, addresses, labels }: Pod) {
  return {
    ...{ name, namespace, node },
    networkNamespace: fromOutside(found, namespacePath),
    ...{ addresses, labels },
  };
}

interface ProbeArgs extends Named {
  readonly protocol: Protocol;
  readonly port: number;
  readonly output: "table" | "json";
}

const probe: CommandModule<object, ProbeArgs> = {
  command: "probe",
  describe: "real connections between all pods, as a matrix",
  builder: (yargs) =>
    lab(yargs)
      .option("protocol", { choices: ["tcp", "udp"], default: "tcp" })
      .option("port", { type: "number", choices: [80, 8080], default: 80 })
      .option("output", { alias: "o", choices: ["table", "json"], default: "table" }) as never,
  handler: async ({ name, protocol, port, output }) => {
    const matrix = await ask(findLab(name))("probe", { protocol, port, families: [4, 6] });
    process.stdout.write(`${output === "json" ? JSON.stringify(matrix, null, 2) : formatMatrix(matrix)}\n`);
  },
};

export const podCommands = [pod, namespace, pods, probe] as CommandModule[];
