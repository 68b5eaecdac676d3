import { expect, test } from "@jest/globals";
import { storeError, wasNeverSent } from "./errors.ts";

/** grpc's words, as they came from the library. */
const SENT =
  "9 FAILED_PRECONDITION: DEADLINE_EXCEEDED: Deadline exceeded after 5.346s,name resolution: 0.242s,metadata filters: 0.002s,LB pick: 0.392s,remote_addr=127.0.0.1:46457";
const PICKING =
  "4 DEADLINE_EXCEEDED: Deadline exceeded after 5.002s,name resolution: 0.002s,Waiting for LB pick";
const RESOLVING = "4 DEADLINE_EXCEEDED: Deadline exceeded after 5.002s,waiting for name resolution";
const UNKNOWN = "14 UNAVAILABLE: Name resolution failed for target dns:etcd.example:2379";
const DROPPED = "9 FAILED_PRECONDITION: UNAVAILABLE: Connection dropped";
const NOT_YET = "14 UNAVAILABLE: No connection established. Last error: null. Resolution note: ";
const REFUSED = "14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED 127.0.0.1:2379";
const CLOSED =
  "14 UNAVAILABLE: No connection established. Last error: Error: Client network socket disconnected before secure TLS connection was established";

test.each<[why: string, message: string, neverSent: boolean, says: string]>([
  ["an answer that did not come: etcd may have written", SENT, false, "is it overloaded, or a firewall"],
  ["no connection to send it on", PICKING, true, "is it overloaded, or a firewall"],
  ["a name server that does not answer", RESOLVING, true, "the host name does not resolve"],
  ["a name that does not exist", UNKNOWN, true, "the host name does not resolve"],
  ["it ended under us: etcd may have written", DROPPED, false, "is etcd running there?"],
  ["the next attempt has not begun", NOT_YET, true, "is etcd running there?"],
  ["what listens there takes connections and closes them", CLOSED, true, "is etcd running there?"],
  ["nobody listens", REFUSED, true, "connection refused"],
])("%s", (_why, message, neverSent, says) => {
  const error = new Error(message);
  expect(wasNeverSent(error)).toBe(neverSent);
  expect(storeError(error, { endpoint: "e", timeoutMs: 5000 })).toMatchObject({
    ...{ code: "unavailable", message: expect.stringContaining(says) },
  });
});

test("a certificate that is not trusted is another trouble than no answer: it is told although that was told before", () => {
  const words =
    "14 UNAVAILABLE: No connection established. Last error: Error: unable to verify the first certificate";
  expect(storeError(new Error(words), { endpoint: "e", timeoutMs: 5000 })).toMatchObject({
    ...{ code: "unauthorized", message: expect.stringContaining("TLS fails: check --etcd-ca") },
  });
});
