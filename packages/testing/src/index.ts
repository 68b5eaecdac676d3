export { unshared, unsharedWithUsers } from "./unshared.ts";
