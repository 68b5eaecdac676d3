import { command, filename, group, storeFlags, withStore } from "./command.ts";
import { documentsIn, importCalico } from "./import.ts";
import { processTerminal as terminal } from "./terminal.ts";

const calico = command({
  command: "calico",
  describe: "take over Calico's objects, with a report of what has no equivalent",
  builder: (yargs) =>
    storeFlags(yargs)
      .options({
        filename: { ...filename, default: [], describe: "Calico's YAML or JSON: a file, a directory, or -" },
        kubeconfig: {
          type: "string",
          describe: "Without files: the cluster to read from; in a pod its service account if absent",
        },
        "dry-run": { type: "boolean", default: false, describe: "Only report" },
        output: {
          alias: "o",
          choices: ["table", "yaml", "json"] as const,
          default: "table" as const,
          describe:
            "yaml prints the resources, for kubectl apply or margay apply; json these and the report. Neither writes anything",
        },
      })
      .example(
        "$0 import calico --kubeconfig ~/.kube/config --dry-run",
        "what would become of a running cluster's",
      )
      .example("$0 import calico -f calico.yaml -o yaml > margay.yaml", "to look at it first"),
  handler: async (args) => {
    const found =
      args.filename.length > 0
        ? documentsIn(args.filename)
        : await (await import("./import-live.ts")).liveObjects(args.kubeconfig);
    await importCalico(found, args, { terminal, withStore: (act) => withStore(args, act) });
  },
});

/** `margay import`. */
export const importCommand = group("import", "take over what another network was configured with", [calico]);
