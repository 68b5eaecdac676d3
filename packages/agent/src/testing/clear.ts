import { noLinks, noNamespaces, noRoutes, noRules, noSets } from "@margay/testing";

/** What an agent that has stopped and its pods leave in this network namespace goes, and the interfaces `links` (an extended regular expression). */
export async function clear(links = "cali.*"): Promise<void> {
  await noNamespaces();
  await noLinks(links);
  await noRules();
  await noSets();
  await noRoutes("142");
}
