// The node program of seaport, told what to do as talking.py says. `seaport` is looked for in the
// directory that the benchmark was given: it runs on Node, and is not installed by the benchmark.
'use strict';
const path = require('path');
const readline = require('readline');
const seaport = require(path.join(process.argv[2], 'node_modules', 'seaport'));

const HOST = '127.0.0.1';
const registered = {}, freed = {}, arrivals = [], mine = [];
let ports;

const now = () => Number(process.hrtime.bigint()) / 1e9;
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const until = async (holds) => { while (!holds()) await sleep(0.005); };

function service(number, roles) {
  const data = { zone: ['eu', 'us', 'ap'][number % 3], weight: number % 100 };
  return { role: `role-${number % roles}@1.${number % 7}.0`, host: HOST, port: 1024 + number % 60000, data };
}

function held() { return Object.keys(ports.known).length; }

const calls = {
  ready() { return null; },
  async open({ peers }) {
    if (peers.length === 0) {
      ports = seaport.createServer();
      await new Promise((done) => ports.listen(0, HOST, done));
      return ports.address().port;
    }
    ports = seaport.connect(peers[0], HOST);
    await new Promise((done) => ports.once('synced', done));
    return null;
  },
  watch() {
    ports.on('register', (meta) => {
      const time = now();
      if (!(meta.port in registered)) registered[meta.port] = time;
      arrivals.push(time);
    });
    ports.on('free', (meta) => { if (meta) freed[meta.port] = now(); });
    return null;
  },
  seen() { return { registered, freed }; },
  register({ first, count, roles }) {
    const began = now();
    for (let i = first; i < first + count; i++) mine.push(ports.registerMeta(service(i, roles)));
    return [began, now()];
  },
  async register_each({ count, gap }) {
    const began = {};
    for (let i = 0; i < count; i++) {
      const meta = service(i, 100);
      began[meta.port] = now();
      mine.push(ports.registerMeta(meta));
      await sleep(gap);
    }
    return began;
  },
  async free_each({ gap }) {
    const began = {};
    for (const meta of mine.splice(0)) {
      began[meta.port] = now();
      ports.free(meta.id);
      await sleep(gap);
    }
    return began;
  },
  async wait_for({ count }) {
    await until(() => arrivals.length >= count);
    return arrivals[count - 1];
  },
  async join({ peers, count }) {
    const began = now();
    ports = seaport.connect(peers[0], HOST);
    let last = 0;
    ports.on('register', () => { last = now(); });
    await until(() => held() >= count);
    return [began, last];
  },
  get({ role, least, times }) {
    const query = least === null ? role : `${role}@>=${least}`;
    const took = [];
    for (let i = 0; i < times; i++) {
      const began = now();
      ports.query(query);
      took.push(now() - began);
    }
    return took;
  },
};

const lines = readline.createInterface({ input: process.stdin });
(async () => {
  for await (const line of lines) {
    const [method, given] = JSON.parse(line);
    const answer = await calls[method](given);
    process.stdout.write(JSON.stringify(answer === undefined ? null : answer) + '\n');
  }
  process.exit(0);
})();
