import { ListWatch, type WatchStatus } from "@margay/kubernetes";
import type { Followed, Surroundings } from "./parts.ts";

/** Why what is known of a kind is not all there is; `from` is the kind, for people. */
export const unread = ({ synced }: { readonly synced: boolean }, from: string): string | undefined =>
  synced ? undefined : `${from} has not been read from the API server yet`;

/** A list-watch whose trouble is told for as long as it lasts. A kind that the cluster need not have is waited for in silence. */
export function follow<T>(
  {
    server,
    sleep,
    random,
    log,
    troubles,
  }: Pick<Surroundings, "server" | "sleep" | "random" | "log" | "troubles">,
  { optional, onMissing, ...followed }: Followed<T>,
): ListWatch<T> {
  const { path } = followed;
  let isToldMissing = false;
  const tellMissing = () => {
    if (!isToldMissing)
      log.info({ event: "kind-missing", path }, `the cluster has no ${path}: not followed until it has`);
    isToldMissing = true;
    troubles.end(path); // the API server has answered
    onMissing?.();
  };
  const onStatus = (status: WatchStatus) => {
    if (status.kind === "connected") return troubles.end(path);
    const { error, retryInMs } = status;
    if (optional && error.code === "not-found") return tellMissing();
    if (!troubles.begin(path, error))
      log.warn({ event: "not-followed", path, err: error, retryInMs }, error.message);
  };
  return new ListWatch<T>({ ...followed, server, sleep, random, onStatus, now: () => performance.now() });
}
