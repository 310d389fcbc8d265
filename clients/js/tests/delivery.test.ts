/** Whatever a server may do and wherever the line is cut, each event comes once, in order, and all of them come. */

import fc from "fast-check";
import { describe, test } from "vitest";
import { PARTITIONS, USER } from "./fake-server.js";
import { type Act, World } from "./world.js";

const CHANNELS = [USER, "broadcast", "project:p", "task:t", "task:u"] as const;

const partition = fc.nat(PARTITIONS - 1);
const some = fc.uniqueArray(fc.constantFrom(...CHANNELS), { minLength: 1, maxLength: 3 });

function act<T>(
  name: string,
  values: fc.Arbitrary<T>,
  does: (world: World, value: T) => void | Promise<void>,
): fc.Arbitrary<Act> {
  return values.map((value) =>
    Object.assign((world: World) => does(world, value), {
      [fc.toStringMethod]: () => `${name} ${fc.stringify(value)}`,
    }),
  );
}

const append = act(
  "append",
  fc.tuple(partition, some, fc.nat(3), fc.boolean()),
  ({ server }, [p, channels, skipped, flood]) => server.append(p, channels, skipped, flood),
);
const deliver = act("deliver", fc.integer({ min: 1, max: 12 }), (world, count) => world.deliver(count));
const replay = act(
  "replay",
  fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 5 })),
  ({ server }, [group, steps]) => server.replay(group, steps),
);
const follow = act(
  "follow",
  fc.tuple(
    fc.constantFrom("task:t", "task:u", "project:p", USER),
    fc.constantFrom("handler", "stream"),
    fc.constantFrom("earliest", "now", "had"),
  ),
  (world, [channel, kind, start]) => world.follow(channel, kind as "handler", start as "now"),
);
const accept = act("accept", fc.constant(0), (world) => world.accept());

const acts = fc.oneof(
  { weight: 8, arbitrary: append },
  { weight: 8, arbitrary: deliver },
  { weight: 5, arbitrary: replay },
  { weight: 3, arbitrary: follow },
  { weight: 3, arbitrary: accept },
  { weight: 2, arbitrary: act("take", fc.integer({ min: 1, max: 4 }), (world, count) => world.take(count)) },
  { weight: 2, arbitrary: act("fall behind", some, ({ server }, channels) => server.fallBehind(channels)) },
  { weight: 2, arbitrary: act("ping", fc.constant(0), ({ server }) => server.ping()) },
  { weight: 2, arbitrary: act("double", fc.constant(0), ({ server }) => server.double()) },
  { weight: 2, arbitrary: act("leave", fc.nat(5), (world, which) => world.leave(which)) },
  {
    weight: 2,
    arbitrary: act("cut", fc.constantFrom(1006, 1001, 4408, 1013), (world, code) => world.cut(code)),
  },
  {
    weight: 2,
    arbitrary: act("wait", fc.constantFrom(100, 5_000, 70_000), ({ clock }, ms) => clock.advance(ms)),
  },
  {
    weight: 1,
    arbitrary: act("retain", fc.tuple(partition, fc.nat(20)), ({ server }, [p, upto]) =>
      server.retain(p, upto),
    ),
  },
  {
    weight: 1,
    arbitrary: act("history", fc.boolean(), ({ server }, has) => {
      server.hasHistory = has;
    }),
  },
  {
    weight: 1,
    arbitrary: act("end task", fc.tuple(partition, fc.constantFrom("t", "u")), ({ server }, [p, task]) =>
      server.endTask(p, task),
    ),
  },
  { weight: 1, arbitrary: act("command", fc.constant(0), (world) => world.command()) },
  {
    weight: 1,
    arbitrary: act("new epoch", fc.constant(0), (world) => {
      world.server.beginEpoch();
      world.cut(1006);
    }),
  },
  { weight: 1, arbitrary: act("reload", fc.constant(0), (world) => world.reload()) },
);

function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("a client and a server that keeps the protocol and nothing more", () => {
  test("each event once, in order, and all of them", { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(acts, { maxLength: 80, size: "max" }),
        fc.nat(),
        fc.boolean(),
        async (schedule, seed, withStorage) => {
          const world = new World(randomOf(seed), withStorage);
          await world.play(schedule);
          // And what came to the user while he was away comes to some page of his, sooner or later.
          world.server.hasHistory = true;
          await world.reload();
          await world.settle();
          world.checkTaken();
        },
      ),
      { numRuns: Number(process.env.LASTSEEN_RUNS ?? 500) },
    );
  });
});
