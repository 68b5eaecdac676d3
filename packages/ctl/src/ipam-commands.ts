import { command, exitUnless, group, output, storeFlags, withStore } from "./command.ts";
import { show } from "./ipam.ts";
import { check } from "./ipam-check.ts";
import { configure } from "./ipam-configure.ts";
import { releaseAddresses } from "./ipam-release.ts";
import { split } from "./ipam-split.ts";
import { why } from "./ipam-why.ts";
import { processTerminal as terminal } from "./terminal.ts";

const ipamShow = command({
  command: "show",
  describe: "how full pools and blocks are, or who has an address",
  builder: (yargs) =>
    storeFlags(yargs)
      .options({
        "show-blocks": {
          alias: "blocks",
          type: "boolean",
          default: false,
          describe: "Each block with its node",
        },
        map: { type: "boolean", default: false, describe: "A picture: one character for each block" },
        ip: { type: "string", describe: "Who has this address" },
        node: { type: "string", conflicts: "ip", describe: "Blocks of this node, and addresses it uses" },
        output,
      })
      .example("$0 ipam show --map", "░ to a third full, ▒ to two thirds, ▓ more, █ full, · nobody's"),
  handler: (args) => withStore(args, (store) => show(store, args, terminal)),
});

const ipamCheck = command({
  command: "check",
  describe: "audit pools, blocks, affinities, nodes and endpoints; exit code 1 if anything is wrong",
  builder: (yargs) =>
    storeFlags(yargs)
      .options({ output })
      .epilogue("With -o json it prints a report that margay ipam release --from-report takes."),
  handler: (args) => withStore(args, async (store) => exitUnless(await check(store, args, terminal))),
});

const ipamRelease = command({
  command: "release",
  describe: "free addresses that nobody uses any more",
  builder: (yargs) =>
    storeFlags(yargs)
      .options({
        ip: { type: "string", describe: "This address" },
        node: { type: "string", describe: "All that this node had, which does not exist any more" },
        "from-report": {
          type: "string",
          coerce: (value: string | string[]): string[] => [value].flat(),
          default: [],
          describe: "What this report of margay ipam check calls leaked; repeated: what all of them do",
        },
        force: {
          type: "boolean",
          default: false,
          describe: "Even an endpoint's address, or by a report of another cluster",
        },
        output,
      })
      .example("$0 ipam check -o json > a; sleep 900; $0 ipam check -o json > b", "two reports")
      .example("$0 ipam release --from-report a --from-report b", "what was leaked in both"),
  handler: (args) => withStore(args, (store) => releaseAddresses(store, args, terminal)),
});

const ipamSplit = command({
  command: "split <parts>",
  describe: "make several equal pools of one; addresses in use stay",
  builder: (yargs) =>
    storeFlags(yargs)
      .positional("parts", { type: "number", demandOption: true, describe: "How many; a power of two" })
      .options({
        name: { type: "string", conflicts: "cidr", describe: "The pool, by name" },
        cidr: { type: "string", describe: "The pool, by its range" },
        output,
      }),
  handler: (args) => withStore(args, (store) => split(store, args, terminal)),
});

const ipamWhy = command({
  command: "why <ip>",
  describe: "who holds or last held an address, since when, by which call",
  builder: (yargs) =>
    storeFlags(yargs)
      .positional("ip", { type: "string", demandOption: true, describe: "The address" })
      .options({ output }),
  handler: (args) => withStore(args, (store) => why(store, args, terminal)),
});

const ipamConfigure = command({
  command: "configure",
  describe: "how addresses are given out; without flags, what is set",
  builder: (yargs) =>
    storeFlags(yargs).options({
      "strict-affinity": { type: "boolean", describe: "Never borrow from another node's block" },
      "auto-allocate-blocks": { type: "boolean", describe: "Nodes claim blocks by themselves" },
      "max-blocks-per-host": { type: "number", describe: "Blocks a node may own; 0 means no limit" },
      "ip-cooldown-seconds": { type: "number", describe: "How long a freed address rests" },
      "rack-label": { type: "string", describe: "Nodes with the same value take neighbouring blocks" },
      "host-reserved-first": { type: "number", describe: "The host's, at the beginning of each block" },
      "host-reserved-last": { type: "number", describe: "The host's, at the end of each block" },
      output,
    }),
  handler: (args) => {
    const { strictAffinity, autoAllocateBlocks, maxBlocksPerHost, ipCooldownSeconds, rackLabel } = args;
    const settings = { strictAffinity, autoAllocateBlocks, maxBlocksPerHost, ipCooldownSeconds, rackLabel };
    const { hostReservedFirst, hostReservedLast, output } = args;
    const request = { ...settings, hostReservedFirst, hostReservedLast, output };
    return withStore(args, (store) => configure(store, request, terminal));
  },
});

/** `margay ipam ...` */
export const ipamCommand = group("ipam", "address pools, blocks and who holds what", [
  ...[ipamShow, ipamCheck, ipamWhy],
  ...[ipamRelease, ipamSplit, ipamConfigure],
]);
