export { catalogue } from "./catalogue.ts";
export { run } from "./run.ts";
