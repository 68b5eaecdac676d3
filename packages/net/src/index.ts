export * from "./address.ts";
export * from "./bytes.ts";
export * from "./lpm.ts";
export * from "./prefix.ts";
