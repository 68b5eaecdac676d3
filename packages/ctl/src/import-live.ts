import { type ApiServer, accessTo, apiServer, KubernetesError } from "@margay/kubernetes";
import { CtlError } from "./error.ts";
import type { Found } from "./import-calico.ts";

/** Its API server, or else the CRDs behind it. */
const GROUPS = ["projectcalico.org/v3", "crd.projectcalico.org/v1"] as const;

/** Of both, what people write, and what tells them that it was not forgotten. */
const PLURALS = [
  ...["tiers", "ippools", "ipreservations", "bgpconfigurations", "bgppeers", "bgpfilters"],
  ...["felixconfigurations", "globalnetworksets", "networksets", "hostendpoints"],
  ...["globalnetworkpolicies", "networkpolicies", "stagedglobalnetworkpolicies", "stagednetworkpolicies"],
  ...["stagedkubernetesnetworkpolicies", "profiles"],
  ...["ipamconfigurations", "ipamconfigs", "kubecontrollersconfigurations", "clusterinformations"],
  "qospolicies",
];

/** Every object of Calico's in a cluster. Throws KubernetesError, CtlError `not-found` when there is no Calico. */
export async function liveObjects(kubeconfig: string | undefined): Promise<Found[]> {
  const server = apiServer(await accessTo({ kubeconfig }));
  try {
    for (const group of GROUPS) {
      if (!(await exists(server, `/apis/${group}`))) continue;
      const lists = [];
      for (const plural of PLURALS) lists.push(await list(server, group, plural));
      return lists.flat();
    }
  } finally {
    server.close();
  }
  throw new CtlError("not-found", `the cluster has no Calico: neither ${GROUPS.join(" nor ")} is served`);
}

async function exists(server: ApiServer, path: string): Promise<boolean> {
  return (await orMissing(server.call({ path }))) !== undefined;
}

async function list(server: ApiServer, apiVersion: string, plural: string): Promise<Found[]> {
  const path = `/apis/${apiVersion}/${plural}`;
  const found: Found[] = [];
  let token: string | undefined;
  do {
    const query = { limit: "500", ...(token && { continue: token }) };
    const page = (await orMissing(server.call({ path, query }))) as
      | { kind?: string; items?: object[]; metadata?: { continue?: string } }
      | undefined;
    const kind = page?.kind?.replace(/List$/, ""); // items of a list do not repeat it
    for (const item of page?.items ?? [])
      found.push({ origin: path, document: { apiVersion, kind, ...item } });
    token = page?.metadata?.continue || undefined;
  } while (token !== undefined);
  return found;
}

async function orMissing(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof KubernetesError && error.code === "not-found") return undefined;
    throw error;
  }
}
