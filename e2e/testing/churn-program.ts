// Runs in a lab's namespaces: pods on n1 by the relay's path; `keep` of them stay, `churn` more come and go.
import { call, end, margay, podNamespace } from "../bench/plugin.ts";

const [relay = "", keep = "", churn = ""] = process.argv.slice(2);
const plugin = margay(relay, "n1");
for (let i = 0; i < Number(keep); i++) await call(plugin, podNamespace(`kept-${i}`), "ADD");
for (let i = 0; i < Number(churn); i++) {
  const pod = podNamespace(`churn-${i}`);
  await call(plugin, pod, "ADD");
  await end(plugin, pod);
}
