import type { ResolvedConfig, ResolvedPostgres, ResolvedTrino } from '../../config/resolved.ts';
import { SpillwayError } from '../../contracts/errors.ts';
import { TaskQueue } from '../../contracts/pool.ts';
import { connectPostgres } from '../../engines/postgres/connection.ts';
import { findOrphanFiles } from '../../engines/postgres/orphan-files.ts';
import type { PostgresReading, TemporalReading, TrinoReading } from '../../policy/doctor/servers.ts';
import { probeTrino } from '../../provision/trino-probe.ts';
import { postgresSettings } from '../../render/postgres.ts';
import { connect } from '../connect.ts';
import type { SecretReader } from '../engines.ts';
import { recentPollers } from '../recent-pollers.ts';
import { addSearchAttributes, probeSearchAttributes } from '../search-attributes.ts';

const silent = (what: string, error: unknown): { answers: false; because: string } => ({
  answers: false,
  because:
    error instanceof SpillwayError
      ? error.message.split('\n')[0]!
      : `${what} does not answer: ${(error instanceof Error ? error.message : String(error)).split('\n')[0]}`,
  ...(error instanceof SpillwayError && hasMend(error.details) && { mend: error.details.mend }),
});
const hasMend = (details: unknown): details is { mend: string } =>
  typeof details === 'object' && details !== null && 'mend' in details && typeof details.mend === 'string';

export async function readTemporal({ temporal, pool }: ResolvedConfig): Promise<TemporalReading> {
  try {
    const { connection } = await connect(temporal);
    try {
      const { serverVersion } = await connection.workflowService.getSystemInfo({});
      const { missing } = await probeSearchAttributes(connection, temporal.namespace);
      const queues = await recentPollers(connection, temporal.namespace, TaskQueue.all(pool.name));
      return {
        answers: true,
        version: serverVersion ?? 'unknown',
        address: temporal.address,
        tls: Boolean(temporal.access?.tls),
        missingAttributes: missing,
        addAttributes: addSearchAttributes(missing, temporal.namespace),
        unpolled: queues.filter(({ pollers }) => pollers.length === 0).map(({ queue }) => queue),
      };
    } finally {
      await connection.close();
    }
  } catch (error) {
    return silent(temporal.address, error);
  }
}

/** Memory as Trino's own status page has it: the heap, and what the heap leaves to queries. */
interface TrinoStatus {
  heapAvailable: number;
  memoryInfo: { pool: { maxBytes: number } };
}

export async function readTrino(trino: ResolvedTrino, { hardware }: ResolvedConfig): Promise<TrinoReading> {
  try {
    // A table function of every Trino: a real scan, whatever the catalogs.
    const version = await probeTrino(trino.url, 'select count(*) from system.runtime.nodes');
    const status = (await (
      await fetch(`${trino.url}/v1/status`, { signal: AbortSignal.timeout(5_000) })
    ).json()) as TrinoStatus;
    const { heapBytes, heapHeadroomBytes } = hardware.trino;
    return {
      answers: true,
      version,
      url: trino.url,
      found: { heapBytes: status.heapAvailable, poolBytes: status.memoryInfo.pool.maxBytes },
      ...(trino.residence === 'resident' ? { wanted: { heapBytes, poolBytes: heapBytes - heapHeadroomBytes } } : {}),
    };
  } catch (error) {
    return silent(trino.url, error);
  }
}

export async function readPostgres(
  postgres: ResolvedPostgres,
  config: ResolvedConfig,
  readSecret: SecretReader,
): Promise<PostgresReading> {
  try {
    const client = await connectPostgres(postgres.url, postgres.password && readSecret(postgres.password));
    try {
      const { rows } = await client.query<{ name: string; value: string }>(
        `select name, case when unit in ('B', 'kB', '8kB', 'MB') then pg_size_bytes(current_setting(name))::text else current_setting(name) end as value
         from pg_settings`,
      );
      const { rows: sizes } = await client.query<{ bytes: string | null }>(
        `select case when wanted ~ '^[0-9]+(kB|MB|GB)$' then pg_size_bytes(wanted)::text end as bytes
         from unnest($1::text[]) with ordinality as given(wanted, at) order by at`,
        [rendered(config).map(({ wanted }) => wanted)],
      );
      const found = new Map(rows.map(({ name, value }) => [name, value]));
      return {
        answers: true,
        version: found.get('server_version') ?? 'unknown',
        ours: config.origins['postgres.default.url'] === 'provisioned',
        settings: rendered(config).map(({ name, wanted }, at) => ({
          name,
          wanted: sizes[at]?.bytes ?? wanted,
          found: found.get(name),
        })),
        walLevel: found.get('wal_level') ?? 'unknown',
        orphans: await findOrphanFiles(client),
      };
    } finally {
      await client.end();
    }
  } catch (error) {
    return silent(new URL(postgres.url).host, error);
  }
}

/** Settings that the profile renders. Which compression a server has is its build's choice. */
const rendered = ({ hardware }: ResolvedConfig): { name: string; wanted: string }[] =>
  postgresSettings(hardware)
    .filter(({ key }) => key !== 'wal_compression')
    .map(({ key, value }) => ({ name: key, wanted: value }));
