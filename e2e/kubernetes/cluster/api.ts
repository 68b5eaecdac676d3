import { type ApiServer, KubernetesError } from "@margay/kubernetes";

/** GET of a list's items. */
export async function items<T>(server: ApiServer, path: string): Promise<T[]> {
  const { items = [] } = (await server.call({ path })) as { items?: T[] }; // a list, by the path
  return items;
}

/** The object, or undefined when there is none. */
export const get = <T>(server: ApiServer, path: string): Promise<T | undefined> =>
  server.call({ path }).then((object) => object as T, unless("not-found"));

/** Creates it; one that is there already is success. */
export async function ensure(server: ApiServer, path: string, body: object): Promise<void> {
  await server.call({ method: "POST", path, body }).catch(unless("exists"));
}

/** Deletes it at once; one that is gone already is success. */
export async function remove(server: ApiServer, path: string): Promise<void> {
  const body = { apiVersion: "v1", kind: "DeleteOptions", gracePeriodSeconds: 0 };
  await server.call({ method: "DELETE", path, body }).catch(unless("not-found"));
}

export const patchStatus = (server: ApiServer, path: string, status: object): Promise<unknown> =>
  server.call({ method: "PATCH", path: `${path}/status`, body: { status } }).catch(unless("not-found"));

const unless =
  (code: KubernetesError["code"]) =>
  (error: unknown): undefined => {
    if (!(error instanceof KubernetesError) || error.code !== code) throw error;
  };
