import { createHash } from "node:crypto";
import { type ApiServer, KubernetesError } from "@margay/kubernetes";

/** What an Event is about. */
export interface Regarding {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly uid?: string | undefined;
}

export interface Telling {
  readonly reason: string;
  readonly message: string;
}

const MAX_MESSAGE = 1000;

/**
 * A Warning that `kubectl describe` shows. Its name follows from what it says, so that the same is told once, also by a
 * leader that comes after.
 */
export async function tellWarning(
  server: ApiServer,
  about: Regarding,
  { reason, message, now }: Telling & { now: Date },
): Promise<void> {
  const hash = createHash("sha1").update(`${about.kind} ${about.uid} ${reason} ${message}`).digest("hex");
  const namespace = about.namespace ?? "default";
  const time = now.toISOString().replace(/\.\d+Z$/, "Z");
  const body = {
    ...{ apiVersion: "v1", kind: "Event", type: "Warning", reason, count: 1 },
    metadata: { name: `${about.name.slice(0, 200)}.${hash.slice(0, 16)}`, namespace },
    message: message.slice(0, MAX_MESSAGE),
    involvedObject: about,
    ...{ firstTimestamp: time, lastTimestamp: time },
    ...{ source: { component: "margay-controllers" }, reportingComponent: "margay-controllers" },
  };
  try {
    await server.call({ method: "POST", path: `/api/v1/namespaces/${namespace}/events`, body });
  } catch (error) {
    if (!(error instanceof KubernetesError) || error.code !== "exists") throw error;
  }
}
