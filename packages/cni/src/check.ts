import { keyOf } from "@margay/api";
import { type Address, formatPrefix, hostPrefix } from "@margay/net";
import { addressSource, parsedAddresses, podIn } from "./addresses.ts";
import type { PreviousResult } from "./configuration.ts";
import { hostInterfaceOf } from "./del.ts";
import type { CniDeps } from "./deps.ts";
import { CniError } from "./errors.ts";
import { cniError } from "./failure.ts";
import type { Reply } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import type { Pod } from "./pod.ts";
import { previous, verdict } from "./verdict.ts";

/**
 * CNI CHECK: whether all that ADD made is still there. The answer to no is one error that names each missing thing.
 * Nothing is repaired here; rules and routes the agent repairs by itself as soon as it knows. Throws CniError.
 */
export async function check(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  try {
    const addresses = ownAddresses(previous(invocation), invocation);
    const named = podIn(deps, invocation);
    const pod = { ...named, hostInterface: hostInterfaceOf(deps, named) };
    const problems = [
      ...(await addressSource(deps, invocation, pod).problems(addresses)),
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

/** Of the interface that this call is about; a plugin before us may have others. */
function ownAddresses({ interfaces, ips }: PreviousResult, { ifname, netns }: Invocation): Address[] {
  const index = interfaces.findIndex(({ name, sandbox }) => name === ifname && sandbox === netns);
  if (index < 0)
    throw new CniError(
      "invalid-configuration",
      `network configuration: prevResult: no interface ${ifname} in ${netns}`,
    );
  return parsedAddresses({ ips: ips.filter((one) => one.interface === index) });
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
