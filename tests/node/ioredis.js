// ioredis on a cluster, plain and in its cluster mode: the arguments are a node's client port, then
// the redirecting ports of all nodes. Prints one line when everything was right.
const assert = require("node:assert");
const Redis = require("ioredis");

const [client, ...redirecting] = process.argv.slice(2).map(Number);

async function plain() {
  const redis = new Redis(client, "127.0.0.1");
  assert.equal(await redis.hset("user:1", { name: "Alice", age: 25 }), 2);
  assert.equal(await redis.hincrby("user:1", "age", 1), 26);
  assert.deepEqual(await redis.hgetall("user:1"), { name: "Alice", age: "26" });
  assert.equal(await redis.set("s", "v", "PX", 100000, "NX"), "OK");
  assert.deepEqual(await redis.mget("s", "none"), ["v", null]);
  const answers = await redis.pipeline().incr("n").hget("user:1", "name").incr("user:1").exec();
  assert.deepEqual(answers.slice(0, 2), [[null, 1], [null, "Alice"]]);
  assert.match(answers[2][0].message, /^WRONGTYPE /);
  const executed = await redis.multi().set("{t}a", 1).incr("{t}a").exec();
  assert.deepEqual(executed, [[null, "OK"], [null, 2]]);
  const found = [];
  for await (const keys of redis.scanStream({ count: 10 })) found.push(...keys);
  assert.deepEqual([...new Set(found)].sort(), ["n", "s", "user:1", "{t}a"]);
  await listens(redis, new Redis(client, "127.0.0.1"));
  assert.equal(await redis.flushall(), "OK");
  redis.disconnect();
}

async function listens(speaker, listener) {
  const heard = new Promise((done) => listener.on("message", (...message) => done(message)));
  assert.equal(await listener.subscribe("news"), 1);
  await speaker.publish("news", "hello");
  assert.deepEqual(await heard, ["news", "hello"]);
  listener.disconnect();
}

async function cluster() {
  const redis = new Redis.Cluster([{ host: "127.0.0.1", port: client }]);
  for (let i = 0; i < 300; i++) await redis.hset(`user:${i}`, "name", "Alice", "age", i);
  for (let i = 0; i < 300; i++) assert.equal(await redis.hget(`user:${i}`, "age"), String(i));
  const ports = redis.nodes("master").map((node) => node.options.port);
  assert.deepEqual(ports.sort(), redirecting.sort(), "it knows every node");
  const counted = await redis.pipeline().incr("{p}a").incr("{p}a").exec();
  assert.deepEqual(counted, [[null, 1], [null, 2]]);
  const executed = await redis.multi().incr("{p}a").get("{p}a").exec();
  assert.deepEqual(executed, [[null, 3], [null, "3"]]);
  const sizes = await Promise.all(redis.nodes("master").map((node) => node.dbsize()));
  assert.equal(sizes.reduce((sum, size) => sum + size), 301);
  redis.disconnect();
}

plain().then(cluster).then(() => console.log("right"), (error) => {
  console.error(error);
  process.exit(1);
});
