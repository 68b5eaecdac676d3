import { createSocket } from "node:dgram";
import { parseAddress } from "@margay/net";
import { answer, asked, type TestRecord } from "./wire.ts";

/**
 * Run in the network namespace of a host outside: DNS servers on some addresses, which all say the same of every name, and on others what answers
 * every datagram to port 80. Arguments: their addresses, with a comma between, and then the others'.
 */
const ZONE: Readonly<Record<string, readonly TestRecord[]>> = {
  "www.example.com": [record("192.0.2.1"), record("fd00:2::1")],
  "a.b.wild.example": [
    { owner: "a.b.wild.example", data: "cdn.example.net" },
    record("192.0.2.2", "cdn.example.net"),
  ],
  "wild.example": [record("192.0.2.3")],
  "other.example": [record("192.0.2.3"), record("fd00:2::3")],
};

function record(address: string, owner = ""): TestRecord {
  return { owner, data: parseAddress(address) };
}

function respond(message: Uint8Array): Uint8Array {
  const { id, ...question } = asked(message);
  const records = (ZONE[question.domain.toLowerCase()] ?? []).filter(
    ({ data }) => typeof data === "string" || data.family === question.family,
  );
  const whole = records.map((one) => ({ ...one, owner: one.owner || question.domain }));
  const said = answer(question, whole, id);
  return question.domain === "broken.example.com" ? said.subarray(0, 14) : said;
}

function serve(address: string, port: number, reply: (message: Uint8Array) => Uint8Array): Promise<void> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.on("message", (message, peer) => socket.send(reply(message), peer.port, peer.address));
  return new Promise((done) => socket.bind(port, address, done));
}

const [servers = "", others = ""] = process.argv.slice(2);
await Promise.all([
  ...servers.split(",").map((address) => serve(address, 53, respond)),
  ...others.split(",").map((address) => serve(address, 80, (message) => message)),
]);
process.stdout.write("ready\n");
process.stdin.on("end", () => process.exit(0)).resume();
