import { keyOf } from "@margay/api";
import { type Address, formatAddress, formatPrefix, hostPrefix, NetError, sameAddress } from "@margay/net";
import { hostOf, type PreviousResult } from "./configuration.ts";
import type { CniDeps } from "./deps.ts";
import { CniError, cniError } from "./errors.ts";
import type { Reply } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import { type Pod, podOf } from "./pod.ts";
import { DONE } from "./result.ts";

/**
 * CNI CHECK: whether all that ADD made is still there. The answer to no is one error that names each missing thing.
 * Nothing is repaired here; rules and routes the agent repairs by itself as soon as it knows. Throws CniError.
 */
export async function check(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  try {
    const addresses = ownAddresses(previous(invocation), invocation);
    const pod = podOf(invocation, { node: deps.node, interfacePrefix: deps.interfacePrefix() });
    const problems = [
      ...notHeld(deps, pod, addresses),
      ...(await endpointProblems(deps, invocation, { pod, addresses })),
      ...(await deps.inspect({
        ...pod,
        netns: invocation.netns ?? "",
        ifname: invocation.ifname,
        addresses,
      })),
      ...(await deps.missing(keyOf("WorkloadEndpoint", pod.endpoint, pod.namespace))),
    ];
    return verdict(problems);
  } catch (error) {
    throw cniError(error);
  }
}

/** CNI CHECK as margay-ipam: whether the container still has the addresses of its interface. Throws CniError. */
export async function checkIpam(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  const pod = podOf(invocation, { node: deps.node, interfacePrefix: deps.interfacePrefix() });
  const given = previous(invocation).ips.map(({ address }) => parsed(address));
  const held = heldBy(deps, pod);
  if (held.length === 0) return verdict([`address: IPAM holds none under ${pod.handle}`]);
  const lost = held.filter((address) => !given.some((one) => sameAddress(one, address)));
  return verdict(lost.map((address) => `address ${formatAddress(address)}: not in the result of ADD`));
}

function verdict(problems: readonly string[]): Reply {
  if (problems.length === 0) return DONE;
  const count = problems.length === 1 ? "one thing is" : `${problems.length} things are`;
  throw new CniError("not-as-added", `${count} not as ADD left them: ${problems[0]}`, {
    details: problems.join("; "),
  });
}

function previous({ conf }: Invocation): PreviousResult {
  if (conf.prevResult) return conf.prevResult;
  throw new CniError(
    "invalid-configuration",
    "network configuration: prevResult: CHECK needs the result of ADD",
  );
}

/** Of the interface that this call is about; a plugin before us may have others. */
function ownAddresses({ interfaces, ips }: PreviousResult, { ifname, netns }: Invocation): Address[] {
  const index = interfaces.findIndex(({ name, sandbox }) => name === ifname && sandbox === netns);
  if (index < 0)
    throw new CniError(
      "invalid-configuration",
      `network configuration: prevResult: no interface ${ifname} in ${netns}`,
    );
  return ips.filter((one) => one.interface === index).map(({ address }) => parsed(address));
}

function parsed(address: string): Address {
  try {
    return hostOf(address);
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
    throw new CniError("invalid-configuration", `network configuration: prevResult: ips: ${error.message}`);
  }
}

const heldBy = (deps: CniDeps, { handle }: Pod): Address[] =>
  [...deps.held()].filter((one) => one.handle === handle).map(({ address }) => address);

function notHeld(deps: CniDeps, pod: Pod, addresses: readonly Address[]): string[] {
  const held = heldBy(deps, pod);
  return addresses
    .filter((address) => !held.some((one) => sameAddress(one, address)))
    .map((address) => `address ${formatAddress(address)}: IPAM does not hold it for ${pod.handle}`);
}

async function endpointProblems(
  { endpoints }: CniDeps,
  { containerId }: Invocation,
  { pod, addresses }: { pod: Pod; addresses: readonly Address[] },
): Promise<string[]> {
  const words = `endpoint ${pod.namespace}/${pod.endpoint}`;
  const found = await endpoints.get(pod.endpoint, pod.namespace);
  if (!found) return [`${words}: gone`];
  if (found.spec.containerID !== containerId) return [`${words}: container ${found.spec.containerID} has it`];
  const networks = addresses.map((address) => formatPrefix(hostPrefix(address)));
  return networks
    .filter((net) => !found.spec.ipNetworks.includes(net))
    .map((net) => `${words}: without ${net}`);
}
