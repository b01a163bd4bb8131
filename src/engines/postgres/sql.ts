// Statements by name; identifiers that vary are quoted by the caller, values are parameters. search_path is pg_catalog: all else is qualified.

/**
 * Settings of every session; those that a server does not know are left out.
 * client_connection_check_interval: without it a vanished client does not stop CREATE INDEX or SET LOGGED, which then commit.
 */
export const CONFIGURE_SESSION = `
with wanted(name, value) as (values
  ('application_name', $1),
  ('search_path', 'pg_catalog, pg_temp'),
  ('client_encoding', 'UTF8'),
  ('client_connection_check_interval', '500ms'),
  ('lock_timeout', '10s'),
  ('statement_timeout', '0'),
  ('transaction_timeout', '0'),
  ('idle_in_transaction_session_timeout', '2min'),
  ('default_transaction_isolation', 'read committed'),
  ('default_transaction_read_only', 'off'),
  ('tcp_keepalives_idle', '30'),
  ('tcp_keepalives_interval', '10'),
  ('tcp_keepalives_count', '3')
), done as materialized (
  select set_config(name, value, false) as value from wanted where name in (select name from pg_catalog.pg_settings)
)
select pg_catalog.pg_backend_pid() as pid,
       (select backend_start::text from pg_catalog.pg_stat_activity where pid = pg_catalog.pg_backend_pid()) as backend_start,
       pg_catalog.current_setting('synchronous_commit') as synchronous_commit,
       (select count(*) from done) as settings`;

/** Whether a backend is there, whether it waits for its client, and how far its COPY is. $1 = pid, $2 = its start. */
export const PROBE_BACKEND = `
select state like 'idle%' or wait_event = 'ClientRead' as waits, coalesce((select bytes_processed from pg_stat_progress_copy c where c.pid = $1), 0)::float8 as copied
from pg_stat_activity where pid = $1 and backend_start = $2::timestamptz`;

/** A share of `maintenance_work_mem` until the session ends, at least 64 MB where all of it is as much. $1 = how many share it. */
export const SHARE_MAINTENANCE_MEMORY = `
select set_config('maintenance_work_mem', least(kb, greatest(65536, kb / $1::int))::text || 'kB', false)
from (select pg_size_bytes(current_setting('maintenance_work_mem')) / 1024 as kb) whole`;

/** Taken while the ledger is created, and while a target's schema is. */
export const LOCK_CREATION = `select pg_advisory_xact_lock(hashtextextended('spillway:create', 0))`;
export const SCHEMA_EXISTS = `select exists (select from pg_namespace where nspname = $1) as there`;
/** By what was added to it last: a ledger of an earlier version is completed. */
export const LEDGER_EXISTS = `select to_regclass('spillway.chunks') is not null as there`;
export const LEDGER_COMPLETE = `
select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = 'chunks') as there`;
export const CREATE_LEDGER = [
  `create schema if not exists spillway`,
  `create table if not exists spillway.loads (
    run text not null,
    step text not null,
    token bigint not null,
    state text not null check (state in ('loading', 'published', 'ended')),
    target text not null,
    staging text,
    application text not null,
    backend_pid integer,
    backend_start timestamptz,
    strategy text,
    because text,
    rows bigint,
    bytes bigint,
    warnings text[] not null default '{}',
    started_at timestamptz not null default clock_timestamp(),
    published_at timestamptz,
    primary key (run, step)
  )`,
  `alter table spillway.loads add column if not exists source text`,
  `create table if not exists spillway.chunks (
    run text not null,
    step text not null,
    chunk integer not null,
    rows bigint not null,
    bytes bigint not null,
    primary key (run, step, chunk)
  )`,
  `comment on table spillway.chunks is 'Chunks of a load that are in its staging table, each written in the transaction that says so here; gone when the load is published or given up.'`,
  `comment on table spillway.loads is 'Load ledger of Spillway: one row per run and step; a load is published in the transaction that says so here.'`,
];

const LOAD_COLUMNS = `run, step, token::float8 as token, state, target, staging, source, application, backend_pid, backend_start::text as backend_start,
  strategy, because, rows::float8 as rows, bytes::float8 as bytes, warnings`;
export const READ_LOAD = `select ${LOAD_COLUMNS} from spillway.loads where run = $1 and step = $2`;
export const READ_LOAD_LOCKED = `${READ_LOAD} for update`;
export const READ_RUN = `select ${LOAD_COLUMNS} from spillway.loads where run = $1 order by step`;
export const READ_LOADING = `select ${LOAD_COLUMNS} from spillway.loads where state = 'loading' or staging is not null order by run, step`;
export const CLAIM_NEW = `
insert into spillway.loads (run, step, token, state, target, staging, application, backend_pid, backend_start)
values ($1, $2, $3, 'loading', $4, $5, $6, $7, $8::timestamptz) on conflict (run, step) do nothing`;
/** A lower token is refused here, whatever the caller believed. */
export const CLAIM_OLD = `
update spillway.loads set token = $3, state = 'loading', target = $4, staging = $5, application = $6, backend_pid = $7,
  backend_start = $8::timestamptz, source = $9, strategy = null, because = null, rows = null, bytes = null, warnings = '{}', started_at = clock_timestamp()
where run = $1 and step = $2 and token <= $3 and state <> 'published'`;
/** The fence: matches only while this attempt, on this backend, is the one that may publish. */
export const MARK_PUBLISHED = `
update spillway.loads set state = 'published', staging = null, source = null, strategy = $4, because = $5, rows = $6, bytes = $7, warnings = $8,
  published_at = clock_timestamp()
where run = $1 and step = $2 and token = $3 and state = 'loading' and backend_pid = pg_backend_pid()`;
export const MARK_ENDED = `
update spillway.loads set state = 'ended', staging = null, source = null, backend_pid = null, backend_start = null
where run = $1 and step = $2 and token = $3 and state <> 'published'`;
/** Its staging stays for the next attempt. */
export const MARK_KEPT = `
update spillway.loads set state = 'ended', backend_pid = null, backend_start = null
where run = $1 and step = $2 and token = $3 and state = 'loading'`;

/** What the staging table is filled from, chunk by chunk. */
export const SET_SOURCE = `update spillway.loads set source = $4 where run = $1 and step = $2 and token = $3 and state = 'loading'`;
/** The fence: matches only while this attempt is the one that loads. */
export const RECORD_CHUNK = `
insert into spillway.chunks (run, step, chunk, rows, bytes)
select $1, $2, $4, $5, $6 from spillway.loads where run = $1 and step = $2 and token = $3 and state = 'loading'`;
export const READ_CHUNKS = `select chunk, rows::float8 as rows, bytes::float8 as bytes from spillway.chunks where run = $1 and step = $2`;
export const FORGET_CHUNKS = `delete from spillway.chunks where run = $1 and step = $2`;
/** $1 = quoted table name. */
export const TABLE_EXISTS = `select to_regclass($1) is not null as there`;
/** Statements that take all indexes from a table. $1 = quoted table name. */
export const UNINDEX = `
select case when c.conname is null then format('drop index %s', i.indexrelid::regclass)
         else format('alter table %s drop constraint %I', $1::text, c.conname) end as statement
from pg_index i left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u') where i.indrelid = to_regclass($1)`;

/** Backends of an attempt, the recorded one and those that copy beside it: the name holds run, step and token, and pids come again. */
const OF_ATTEMPT = `application_name = $1 and pid <> pg_backend_pid()`;
export const BACKENDS_ALIVE = `select count(*)::int as alive from pg_stat_activity where ${OF_ATTEMPT}`;
export const TERMINATE_BACKENDS = `select pg_terminate_backend(pid) as sent from pg_stat_activity where ${OF_ATTEMPT}`;

/** Session-level: held from before staging is made until the connection ends. */
export const TRY_LOCK_TARGET = `select pg_try_advisory_lock(hashtextextended('spillway:load:' || $1, 0)) as locked`;
export const WHO_HOLDS_TARGET = `
select a.application_name as name, a.pid from pg_locks l join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
  and ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('spillway:load:' || $1, 0)`;

/** Staging tables that the ledger knows nothing of. */
export const STRAY_STAGING = `
select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'spillway' and c.relkind = 'r' and c.relname like 'stg\\_%'
  and not exists (select from spillway.loads l where l.staging = c.relname) order by 1`;
