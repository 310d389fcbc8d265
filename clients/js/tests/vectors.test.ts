/** The conversations in `tests/protocol`, which every language's client has to understand. */

import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Message, Notice } from "../src/notices.js";
import { Session } from "../src/session.js";
import type { Start } from "../src/subscription.js";
import { connected } from "./connected.js";
import { settled } from "./fake-clock.js";

interface Vector {
  readonly name: string;
  readonly request: string;
  readonly answers: readonly Message[];
}

const FOLDER = new URL("../../../tests/protocol/", import.meta.url);
const load = (name: string): unknown => JSON.parse(readFileSync(new URL(name, FOLDER), "utf8"));
const messages = load("messages.json") as { server: Message[]; client: Message[] };
const conversations = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".json") && name !== "messages.json")
  .flatMap((name) => (load(name) as { vectors: Vector[] }).vectors.map((vector) => [name, vector] as const));
const HERE = "k3f9:0=-1,1=-1";

describe("a session understands every message of the server", () => {
  test.each(messages.server.map((message) => [message.type, message] as const))("%s", (_, message) => {
    const session = new Session();
    session.receive(messages.server[0] as Message);
    session.subscribe("task:build-7", { after: HERE });
    expect(() => session.receive(message)).not.toThrow();
  });

  test("the whole greeting", () => {
    const session = new Session();
    const [established, ...begun] = session.receive(messages.server[0] as Message);
    expect(established).toMatchObject({
      kind: "established",
      userId: "ann",
      node: "node-1",
      heartbeatMs: 30_000,
    });
    expect(begun.map((notice) => "channel" in notice && notice.channel)).toEqual(["user:ann", "broadcast"]);
    expect(session.get("user:ann").state).toBe("catching_up");
    expect(session.get("broadcast").state).toBe("live");
  });
});

/** What the vectors leave out of a message, filled in. */
function completed(answers: readonly Message[], ref: unknown): Message[] {
  let offset = 0;
  return answers.map((answer) => {
    if (answer.replay) {
      offset += 1;
      return { channels: answer.replay, partition: 0, offset, ...answer };
    }
    const position = answer.type === "caught_up" ? `k3f9:0=${offset},1=-1` : HERE;
    const earliest = answer.type === "gap" ? { earliest: HERE } : {};
    return { position, ...earliest, subscribed: true, ...answer, ref };
  });
}

describe("a session follows the conversations about subscriptions", () => {
  const starts = conversations.filter(([name]) => name === "replay.json");
  test.each(starts.map(([, vector]) => [vector.name, vector] as const))("%s", (_, { request, answers }) => {
    const { channel, after, since, last } = JSON.parse(request) as { channel: string } & Record<
      string,
      never
    >;
    const session = new Session();
    session.receive(messages.server[0] as Message);
    const start = (after ? { after } : since ? { since } : { last: last ?? 1 }) as Start;
    const { ref } = session.subscribe(channel, start);
    const notices: Notice[] = completed(answers, ref).flatMap((answer) => session.receive(answer));
    const numbers = answers.filter(({ replay }) => replay).map(({ data }) => data);
    const events = notices.filter((notice) => notice.kind === "event");
    expect(events.map(({ event }) => event.data)).toEqual(numbers);
    const isRefused = answers.some(({ type }) => type === "error");
    expect(session.get(channel).state).toBe(isRefused ? "idle" : "live");
    expect(notices.filter(({ kind }) => kind === "gap").length).toBe(
      answers.filter(({ type }) => type === "gap").length,
    );
    expect(notices.some(({ kind }) => kind === "refused")).toBe(isRefused);
  });

  const refusals = conversations.filter(
    ([name, { answers }]) => name === "subscribe.json" && answers[0]?.channel && answers[0].type === "error",
  );
  test.each(refusals.map(([, vector]) => [vector.name, vector] as const))(
    "refused: %s",
    (_, { request, answers }) => {
      const { channel } = JSON.parse(request) as { channel: string };
      const session = new Session();
      const { ref } = session.subscribe(channel);
      expect(session.receive({ ...(answers[0] as Message), ref })).toMatchObject([
        { kind: "refused", code: "access_denied" },
      ]);
      expect(session.get(channel).wanted).toBe(false);
    },
  );
});

describe("a client says what the vectors say", () => {
  const said = (type: string): Message => messages.client.find((message) => message.type === type) as Message;

  test("commands, presence and ack", async () => {
    const { client, socket } = await connected();
    const of = (type: string): Message | undefined => socket.sent.find((message) => message.type === type);
    void client.sendTaskInput("build-7", "y\n", { id: "i-1" });
    void client.cancelTask("build-7", { id: "c" });
    void client.pauseTask("build-7", { id: "p" });
    void client.resumeTask("build-7", { id: "r-1" });
    void client.confirmTask("build-7", "deploy", true, { id: "f" });
    void client.presence("project:shop");
    void client.ack("k3f9:0=1523,1=88");
    await settled();
    for (const type of [
      "task_input",
      "task_cancel",
      "task_pause",
      "task_resume",
      "task_confirm",
      "presence",
      "ack",
    ]) {
      expect(of(type)).toMatchObject(said(type));
    }
  });

  const commands = conversations.filter(([name]) => name === "commands.json");
  test.each(commands.map(([, vector]) => [vector.name, vector] as const))(
    "a refusal rejects: %s",
    async (_, vector) => {
      const { client, socket } = await connected();
      const result = client.sendTaskInput("build-7", "y", { id: "made-up" });
      const [answer] = vector.answers as [Message];
      const { ref, ...asked } = socket.sent.find((message) => message.type === "task_input") as Message;
      socket.receive({ ...asked, ...answer, ref });
      if (answer.type === "error") await expect(result).rejects.toMatchObject({ code: answer.code });
      else expect(await result).toMatchObject({ success: answer.success, state: answer.state });
    },
  );
});
