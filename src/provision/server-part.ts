import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PartSource } from '../contracts/parts.ts';
import type { ProcessId } from '../contracts/pool.ts';
import { isAlive } from '../host/process-id.ts';
import { readJson, writeFileAtomically } from './atomic-file.ts';
import { oneLine, tellingLine } from './command.ts';
import type { Places, ServerName } from './places.ts';
import { logFile, recordFile, statFile } from './places.ts';
import { freePort, listensOn } from './ports.ts';
import type { Report } from './progress.ts';
import type { ServerStart, StopOrder } from './server-process.ts';
import { readLog, readStat, startServer, stopServer } from './server-process.ts';

/** How a server says that a port is taken: Go, the JVM, PostgreSQL. */
const NO_PORT = /address already in use|EADDRINUSE|failed to bind/i;

/**
 * One server, from "is it there" to "it answers".
 *
 * States: absent → recorded (`run/<part>.json` written, nothing started) → started (the process wrote `run/<part>.stat`)
 * → answers. A caller killed in any of them leaves a state that the next `bringUpServer` or `stopPart` goes on from.
 */
export interface ServerPlan {
  readonly part: ServerName;
  /** For people: `Trino 476`. */
  readonly title: string;
  readonly found: PartSource;
  /** What the server was started with, as JSON; when it differs, a running one is stopped and started anew. */
  readonly settings: unknown;
  /** Names of its ports, with the customary one each. */
  readonly ports: Readonly<Record<string, number | undefined>>;
  readonly stop: StopOrder;
  readonly readyWithinMs: number;
  /** Writes what the server reads at its start, and answers how to start it. */
  prepare(ports: Readonly<Record<string, number>>): Promise<Omit<ServerStart, 'logFile' | 'statFile'>>;
  /** Resolves with the version when the server does real work; rejects while it does not. */
  probe(ports: Readonly<Record<string, number>>): Promise<string>;
}

/** A server that answers. */
export interface RunningServer {
  readonly ports: Readonly<Record<string, number>>;
  readonly version: string;
  readonly process: ProcessId;
  readonly found: PartSource;
}

interface StartRecord {
  readonly ports: Readonly<Record<string, number>>;
  readonly fingerprint: string;
  readonly found: PartSource;
}

/** Keeps the server when it runs and answers with these settings; starts it otherwise. Ports are remembered. */
export async function bringUpServer(
  places: Places,
  plan: ServerPlan,
  report: Report,
  takenPorts: Set<number>,
): Promise<RunningServer> {
  const fingerprint = createHash('sha256').update(JSON.stringify(plan.settings)).digest('hex').slice(0, 16);
  const record = readRecord(places, plan.part);
  const running = readStat(statFile(places, plan.part));
  if (record && running && isAlive(running)) {
    const kept = record.fingerprint === fingerprint ? await keep(plan, record, running) : undefined;
    if (kept) {
      for (const port of Object.values(kept.ports)) takenPorts.add(port);
      report({ part: plan.part, what: 'kept', text: `${plan.title} runs already (pid ${running.pid})` });
      return kept;
    }
    const why = record.fingerprint === fingerprint ? 'does not answer' : 'runs with other settings';
    report({ part: plan.part, what: 'stopped', text: `${plan.title} (pid ${running.pid}) ${why}: starting it anew` });
    await stopServer(running, plan.stop);
  }
  for (let attempt = 1; ; attempt += 1) {
    const ports: Record<string, number> = {};
    for (const [name, customary] of Object.entries(plan.ports)) {
      ports[name] = await freePort(attempt < 3 ? [record?.ports[name], customary] : [], takenPorts);
    }
    writeRecord(places, plan.part, { ports, fingerprint, found: plan.found });
    const log = logFile(places, plan.part);
    rmSync(log, { force: true }); // one start, one log: its last line is the reason of a failure
    const start = await plan.prepare(ports);
    report({ part: plan.part, what: 'starting', text: `${plan.title} on port ${Object.values(ports)[0] ?? '?'}` });
    const began = Date.now();
    const identity = await startServer({ ...start, logFile: log, statFile: statFile(places, plan.part) });
    const version = await answersOrDies(plan, ports, identity);
    if (version.kind === 'answers') {
      const seconds = ((Date.now() - began) / 1000).toFixed(1);
      report({
        part: plan.part,
        what: 'ready',
        text: `${plan.title} answers after ${seconds} s (pid ${identity.pid})`,
      });
      return { ports, version: version.version, process: identity, found: plan.found };
    }
    await stopServer(identity, plan.stop);
    const said = readLog(log);
    // Somebody took the port between looking and listening, or one that the server chose for itself: the remembered ones may still do.
    if (attempt < 3 && version.ended && NO_PORT.test(said)) {
      for (const port of Object.values(ports)) takenPorts.delete(port);
      continue;
    }
    throw new Error(`${version.because}: ${tellingLine(said) ?? 'nothing was logged'} (${log})`);
  }
}

async function keep(plan: ServerPlan, record: StartRecord, process: ProcessId): Promise<RunningServer | undefined> {
  // A server that somebody else is just starting, or that was left behind in its start, gets the time of a start.
  const version = await answersOrDies(plan, record.ports, process);
  return version.kind === 'answers' ? { ...record, version: version.version, process } : undefined;
}

async function answersOrDies(
  plan: ServerPlan,
  ports: Readonly<Record<string, number>>,
  identity: ProcessId,
): Promise<{ kind: 'answers'; version: string } | { kind: 'not'; ended: boolean; because: string }> {
  let last = 'no answer';
  for (const until = Date.now() + plan.readyWithinMs; Date.now() < until; await sleep(100)) {
    if (!isAlive(identity)) return { kind: 'not', ended: true, because: 'it ended while starting' };
    try {
      const version = await plan.probe(ports);
      // Ours may be about to find its port taken by a server that answers as well.
      if (Object.values(ports).every((port) => listensOn(identity.pid, port))) return { kind: 'answers', version };
      last = 'another process answers on its port';
    } catch (error) {
      last = oneLine(error);
    }
  }
  return { kind: 'not', ended: false, because: `no answer within ${plan.readyWithinMs / 1000} s (${last})` };
}

function readRecord(places: Places, part: ServerName): StartRecord | undefined {
  return readJson(recordFile(places, part)) as StartRecord | undefined;
}

function writeRecord(places: Places, part: ServerName, record: StartRecord): void {
  writeFileAtomically(recordFile(places, part), `${JSON.stringify(record, undefined, 2)}\n`);
}

/** Stops the server of a home that runs, however it came to be; answers undefined when none did. */
export async function stopPart(
  places: Places,
  part: ServerName,
  order: StopOrder,
): Promise<{ process: ProcessId; how: 'ended' | 'killed' } | undefined> {
  const identity = readStat(statFile(places, part));
  const how = identity ? await stopServer(identity, order) : 'was-gone';
  rmSync(statFile(places, part), { force: true }); // the record stays: it remembers the ports
  return identity && how !== 'was-gone' ? { process: identity, how } : undefined;
}
