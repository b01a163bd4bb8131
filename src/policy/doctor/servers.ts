import type { Finding, OrphanFiles } from '../../contracts/doctor.ts';
import { formatBytes } from '../sizes.ts';
import { isLoopback } from '../loopback.ts';

/** A server that does not answer, and why. */
interface Silent {
  answers: false;
  because: string;
  /** What mends it, where that is known. */
  mend?: string;
}

/** A setting as the profile wants it and as the running server has it. */
export interface SettingReading {
  name: string;
  wanted: string;
  found: string | undefined;
}

export type TemporalReading =
  | Silent
  | {
      answers: true;
      version: string;
      address: string;
      /** Whether it is spoken to over TLS. */
      tls: boolean;
      missingAttributes: readonly string[];
      addAttributes: string;
      unpolled: readonly string[];
    };
export type TrinoReading =
  | Silent
  | {
      answers: true;
      version: string;
      url: string;
      /** Bytes; absent for a server that is not ours. */
      wanted?: { heapBytes: number; poolBytes: number };
      found: { heapBytes: number; poolBytes: number };
    };
export type PostgresReading =
  | Silent
  | {
      answers: true;
      version: string;
      ours: boolean;
      settings: readonly SettingReading[];
      walLevel: string;
      /** Absent where this user may not look. */
      orphans: OrphanFiles | undefined;
    };

/** Judges Temporal: reachable, safe to reach, found by search attributes, polled. Pure. */
export function examineTemporal(temporal: TemporalReading): Finding[] {
  if (!temporal.answers)
    return [{ check: 'Temporal', verdict: 'fail', because: temporal.because, mend: temporal.mend ?? 'spillway up' }];
  const { version, address, tls, missingAttributes, unpolled } = temporal;
  return [
    { check: 'Temporal', verdict: 'ok', because: `${version} at ${address}` },
    tls
      ? { check: 'Temporal exposure', verdict: 'ok', because: 'TLS' }
      : isLoopback(address)
      ? { check: 'Temporal exposure', verdict: 'ok', because: 'loopback only' }
      : { check: 'Temporal exposure', verdict: 'warn', because: `${address} is spoken to without TLS or an API key`, mend: 'name a Temporal profile with TLS in temporal.profile' }, // prettier-ignore
    missingAttributes.length === 0
      ? { check: 'search attributes', verdict: 'ok', because: 'runs are found by pool, state and step' }
      : { check: 'search attributes', verdict: 'warn', because: `${missingAttributes.join(', ')} missing: runs carry none`, mend: temporal.addAttributes }, // prettier-ignore
    unpolled.length === 0
      ? { check: 'queues', verdict: 'ok', because: 'each is polled' }
      : { check: 'queues', verdict: 'warn', because: `nobody polls ${unpolled.join(', ')}`, mend: 'spillway worker' },
  ];
}

/** Judges a Trino: reachable, and with the memory of the profile in force. Pure. */
export function examineTrino(name: string, trino: TrinoReading): Finding[] {
  const check = `Trino ${name}`;
  if (!trino.answers) return [{ check, verdict: 'fail', because: trino.because, mend: 'spillway up' }];
  const { version, url, wanted, found } = trino;
  const first: Finding = { check, verdict: 'ok', because: `${version} at ${url}` };
  if (!wanted) {
    const because = `heap ${formatBytes(found.heapBytes)}; the server is somebody else's`;
    return [first, { check: `${check} memory`, verdict: 'unverified', because }];
  }
  const wrong = [
    ...(found.heapBytes === wanted.heapBytes ? [] : [`heap ${formatBytes(found.heapBytes)} instead of ${formatBytes(wanted.heapBytes)}`]), // prettier-ignore
    ...(found.poolBytes === wanted.poolBytes ? [] : [`query memory ${formatBytes(found.poolBytes)} instead of ${formatBytes(wanted.poolBytes)}`]), // prettier-ignore
  ];
  return [
    first,
    wrong.length === 0
      ? { check: `${check} memory`, verdict: 'ok', because: `heap ${formatBytes(found.heapBytes)}, of which queries have ${formatBytes(found.poolBytes)}` } // prettier-ignore
      : { check: `${check} memory`, verdict: 'fail', because: wrong.join('; '), mend: 'spillway down && spillway up' },
  ];
}

/** Judges a PostgreSQL: reachable, and with the rendered settings in force. Pure. */
export function examinePostgres(name: string, postgres: PostgresReading): Finding[] {
  const check = `PostgreSQL ${name}`;
  if (!postgres.answers) return [{ check, verdict: 'fail', because: postgres.because, mend: 'spillway up' }];
  const wrong = postgres.settings.filter(({ wanted, found }) => wanted !== found);
  const said = wrong.map(
    (setting) => `${setting.name} is ${setting.found ?? 'unknown'}, the profile wants ${setting.wanted}`,
  );
  return [
    { check, verdict: 'ok', because: `${postgres.version}, wal_level ${postgres.walLevel}` },
    wrong.length === 0
      ? { check: `${check} settings`, verdict: 'ok', because: `${postgres.settings.length} settings are the profile's` }
      : {
          check: `${check} settings`,
          verdict: postgres.ours ? 'fail' : 'warn',
          because: said.join('; '),
          mend: postgres.ours
            ? 'spillway down && spillway up'
            : `${wrong.map(({ name: key, wanted }) => `alter system set ${key} = '${wanted}';`).join(' ')} then restart it`,
        },
    orphans(`${check} files`, postgres.orphans),
  ];
}

function orphans(check: string, found: OrphanFiles | undefined): Finding {
  if (!found) return { check, verdict: 'unverified', because: 'this user may not list the files of the server' };
  if (found.files === 0) return { check, verdict: 'ok', because: 'each belongs to a table' };
  const because = `${formatBytes(found.bytes)} in ${found.files} files belong to no table: a server that was killed within a transaction left them`;
  return { check, verdict: 'warn', because, mend: `back the server up, stop it, and remove ${found.largest.join(', ')}${found.files > found.largest.length ? ' and others' : ''} from its data directory` }; // prettier-ignore
}
