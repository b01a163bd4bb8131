import type { Client } from 'pg';
import type { OrphanFiles } from '../../contracts/doctor.ts';
import { isServerError } from './failures.ts';

const INSUFFICIENT_PRIVILEGE = '42501';

/**
 * A server that is killed within a transaction never learns of the files which that had made, such as the staging table of a load: nobody removes them.
 * A file that no relation has, and that was last written before every transaction that is open now began, is one of them. An empty one may be of a table
 * that was dropped since the last checkpoint, and goes with the next.
 */
const FIND = `
with here as (select oid, pg_catalog.clock_timestamp() as now from pg_catalog.pg_database where datname = pg_catalog.current_database()),
folders as (
  select 1663::oid as space, 'base/' || oid as folder from here
  union all
  select space.oid, 'pg_tblspc/' || space.oid || '/' || version || '/' || here.oid
  from here, pg_catalog.pg_tablespace as space, pg_catalog.pg_ls_dir('pg_tblspc/' || space.oid) as version
  where spcname not in ('pg_default', 'pg_global') and version like 'PG\\_%'),
files as (
  select space, folder || '/' || name as path, name, pg_catalog.pg_stat_file(folder || '/' || name, true) as stat
  from folders, pg_catalog.pg_ls_dir(folder, true, false) as name
  where name ~ '^[0-9]+(_(fsm|vm|init))?(\\.[0-9]+)?$'),
open as (
  select least(
    (select min(xact_start) from pg_catalog.pg_stat_activity),
    (select min(prepared) from pg_catalog.pg_prepared_xacts),
    (select now from here)) - $1::interval as since)
select path, (stat).size as bytes from files, open
where (stat).size > 0 and (stat).modification < since
  and pg_catalog.pg_filenode_relation(space, substring(name from '^[0-9]+')::oid) is null
order by bytes desc`;

/** Looks for them; undefined where this user may not. @param margin how long before the oldest open transaction they were last written; more than a second, as times of files are whole ones */
export async function findOrphanFiles(
  client: Pick<Client, 'query'>,
  margin = '1 minute',
): Promise<OrphanFiles | undefined> {
  try {
    const { rows } = await client.query<{ path: string; bytes: string }>(FIND, [margin]);
    const bytes = rows.reduce((sum, row) => sum + Number(row.bytes), 0);
    return { files: rows.length, bytes, largest: rows.slice(0, 5).map(({ path }) => path) };
  } catch (error) {
    if (isServerError(error) && error.code === INSUFFICIENT_PRIVILEGE) return undefined;
    throw error;
  }
}
