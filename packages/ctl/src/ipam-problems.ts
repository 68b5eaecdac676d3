import type { Problem } from "@margay/ipam";

/** What is wrong, in one sentence. */
export function sentenceOf(p: Problem): string {
  switch (p.code) {
    case "pools-overlap":
      return `pools ${p.pool} and ${p.other} overlap: the same address may be given twice`;
    case "blocks-overlap":
      return `blocks ${p.cidr} and ${p.other} overlap: the same address may be given twice`;
    case "block-outside-pools":
      return `block ${p.cidr} (${p.inUse} in use) lies in no pool: its addresses work, but no new one is given`;
    case "block-of-other-size":
      return `block ${p.cidr} is not of the size of its pool ${p.pool}: its addresses work`;
    case "block-inconsistent":
      return `block ${p.cidr} contradicts itself: ${p.why}`;
    case "affinity-unsettled":
      return `node ${p.node} has the block ${p.cidr} only as ${p.state}`;
    case "affinity-without-block":
      return `node ${p.node} claims ${p.cidr}, but the block does not say so`;
    case "block-without-affinity":
      return `block ${p.cidr} says it is ${p.node}'s, but there is no affinity`;
    case "node-gone":
      return `node ${p.node} does not exist, but has ${p.blocks} blocks and ${p.addresses} addresses`;
    case "leaked":
      return `${p.address} is held by ${p.handle} on ${p.attributes.node ?? "no known node"}, but no endpoint has it`;
    case "held-twice":
      return `${p.handle} holds ${p.addresses.length} addresses of one family: ${p.addresses.join(", ")}`;
    case "unallocated-in-use":
      return `${p.address} is used by ${p.endpoint}, but was never assigned: another pod may get it too`;
    case "used-twice":
      return `${p.address} is used by ${p.endpoints.length} endpoints: ${p.endpoints.join(", ")}`;
  }
}

/** What to do about it: a command where there is one. */
export function remedyOf(p: Problem): string {
  switch (p.code) {
    case "pools-overlap":
      return `margay delete ippool ${p.other}`;
    case "blocks-overlap":
      return `restart the pods in one of them (margay get ipamblock ${named(p.other)} -o yaml), then: margay delete ipamblock ${named(p.other)}`;
    case "block-outside-pools":
      return p.inUse > 0
        ? "none is needed: it goes with its last address; or margay apply a pool that contains it"
        : `margay delete ipamblock ${named(p.cidr)}`;
    case "block-of-other-size":
      return "none is needed: it goes when it is empty";
    case "block-inconsistent":
      return `restart the pods in it (margay get ipamblock ${named(p.cidr)} -o yaml), then: margay delete ipamblock ${named(p.cidr)}`;
    case "affinity-unsettled":
    case "affinity-without-block":
    case "block-without-affinity":
      return `none is needed while the agent of ${p.node} runs: it settles that at its next assignment`;
    case "node-gone":
      return `margay ipam release --node ${p.node}`;
    case "leaked":
      return `margay ipam release --ip ${p.address}`;
    case "held-twice":
      return `margay ipam release --ip ${p.addresses.at(-1)}, if no pod has it`;
    case "unallocated-in-use":
      return p.podCidr
        ? `set disabled: true on IPPool ${p.pool}: ${p.podCidr} is a node's own range, for another plugin`
        : `restart the pod of ${p.endpoint}`;
    case "used-twice":
      return `restart the pods of ${p.endpoints.slice(1).join(", ")}`;
  }
}

const named = (cidr: string): string => cidr.replace("/", "-");
