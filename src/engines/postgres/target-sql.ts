// Statements about a target table, by name: what it looks like, what hangs on it, and what a replaced table hands on.

/** $1 = quoted table name, $2 = schema. */
export const TARGET_FACTS = `
select c.oid::int8::text as oid, c.relkind, c.relpersistence,
       n.oid is not null as schema_there,
       coalesce(has_schema_privilege(n.oid, 'CREATE'), has_database_privilege(current_database(), 'CREATE')) as may_create,
       c.oid is null or pg_has_role(c.relowner, 'USAGE') as may_replace,
       pg_get_userbyid(c.relowner) as owner, current_user::text as me
from (select 1) one
left join pg_namespace n on n.nspname = $2
left join pg_class c on c.oid = to_regclass($1)`;

/** Columns of a table, domains resolved to the type they stand on. $1 = oid. */
export const TARGET_COLUMNS = `
with recursive chain as (
  select a.attnum, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type_name, a.attnotnull or t.typnotnull as not_null,
         t.oid, a.atttypmod as typmod, t.typtype, t.typbasetype, t.typtypmod,
         a.attgenerated <> '' as generated, a.atthasdef or a.attidentity <> '' or t.typdefault is not null as has_default
  from pg_attribute a join pg_type t on t.oid = a.atttypid
  where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped
  union all
  select c.attnum, c.name, c.type_name, c.not_null or t.typnotnull, t.oid, c.typtypmod, t.typtype, t.typbasetype, t.typtypmod,
         c.generated, c.has_default or t.typdefault is not null
  from chain c join pg_type t on t.oid = c.typbasetype where c.typtype = 'd'
)
select name, type_name, not_null, oid::int as type_oid, typmod, typtype = 'e' as is_enum, generated, has_default,
       (select pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
        where d.adrelid = $1::oid and d.adnum = chain.attnum and a.attgenerated = '') as default_expression
from chain where typtype <> 'd' order by attnum`;

/** What a table is that rows are added to, and what we may do there. $1 = quoted table name. */
export const INSERT_FACTS = `
select c.oid::int8::text as oid, c.relkind, current_user::text as me,
       coalesce(has_table_privilege(c.oid, 'INSERT'), false) as may_insert,
       coalesce(pg_has_role(c.relowner, 'USAGE'), false) as may_alter, pg_get_userbyid(c.relowner) as owner,
       coalesce(has_table_privilege(c.oid, 'UPDATE') and has_table_privilege(c.oid, 'SELECT'), false) as may_update
from (select 1) one left join pg_class c on c.oid = to_regclass($1)`;

/** What would be lost, or would keep reading the old rows, if the table were replaced. $1 = oid. */
export const TARGET_ATTACHMENTS = `
select distinct 'view' as kind, v.oid::regclass::text as name
  from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class
  where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = $1::oid and v.oid <> $1::oid
union all select 'rule', r.rulename from pg_rewrite r where r.ev_class = $1::oid
union all select 'foreign key of ' || conrelid::regclass::text, conname from pg_constraint
  where contype = 'f' and confrelid = $1::oid and conrelid <> $1::oid
union all select case contype when 'f' then 'foreign key' when 'c' then 'check constraint' else 'exclusion constraint' end, conname
  from pg_constraint where contype in ('f', 'c', 'x') and conrelid = $1::oid
union all select 'trigger', tgname from pg_trigger where tgrelid = $1::oid and not tgisinternal
union all select 'policy', polname from pg_policy where polrelid = $1::oid
union all select 'publication', p.pubname from pg_publication_rel r join pg_publication p on p.oid = r.prpubid where r.prrelid = $1::oid
union all select 'child table', inhrelid::regclass::text from pg_inherits where inhparent = $1::oid
union all select 'parent table', inhparent::regclass::text from pg_inherits where inhrelid = $1::oid
union all select case when attidentity <> '' then 'identity column' else 'generated column' end, attname from pg_attribute
  where attrelid = $1::oid and attnum > 0 and not attisdropped and (attidentity <> '' or attgenerated <> '')
union all select 'sequence', d.objid::regclass::text from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
  where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = $1::oid and d.deptype = 'a'
order by 1, 2`;

/** Indexes of a table with their columns; expressions are not named, so they never match a wanted index. $1 = oid. */
export const TARGET_INDEXES = `
select i.indexrelid::regclass::text as name, i.indisunique as is_unique, i.indisprimary as is_primary,
       i.indpred is null and i.indexprs is null as plain,
       array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(attnum, place)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum order by k.place) as columns
from pg_index i where i.indrelid = $1::oid order by 1`;

/** How a table is partitioned. $1 = oid. */
export const PARTITION_FACTS = `
select partstrat as strategy, partexprs is not null as expressions, pg_get_partkeydef(partrelid) as definition,
       array(select a.attname::text from unnest(partattrs::int2[]) with ordinality k(attnum, place)
             join pg_attribute a on a.attrelid = partrelid and a.attnum = k.attnum order by k.place) as columns
from pg_partitioned_table where partrelid = $1::oid`;

/** Indexes that each partition of a table has. $1 = oid. */
export const PARENT_INDEXES = `
select i.indisunique as is_unique, c.contype, pg_get_indexdef(i.indexrelid) as definition,
       array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(attnum, place)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum where k.place <= i.indnkeyatts order by k.place) as columns
from pg_index i left join pg_constraint c on c.conindid = i.indexrelid and c.conrelid = i.indrelid and c.contype in ('p', 'u')
where i.indrelid = $1::oid order by i.indexrelid`;

/** Partitions of a table, with their bounds. $1 = quoted table name. */
export const PARTITIONS = `
select c.oid::int8::text as oid, n.nspname::text as schema, c.relname::text as name, c.relkind, pg_get_expr(c.relpartbound, c.oid) as bound
from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_namespace n on n.oid = c.relnamespace where i.inhparent = to_regclass($1)`;

/** Statements that give a new table the rights, owner and comments of an old one. $1 = old oid, $2 = new table, quoted; $3 = its columns. */
export const INHERIT_RIGHTS = `
select format('grant %s on %s to %s%s', acl.privilege_type, $2::text,
         case acl.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(acl.grantee)) end,
         case when acl.is_grantable then ' with grant option' else '' end) as statement
  from pg_class c, aclexplode(c.relacl) acl where c.oid = $1::oid and acl.grantee <> c.relowner
union all
select format('grant %s (%I) on %s to %s%s', acl.privilege_type, a.attname, $2::text,
         case acl.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(acl.grantee)) end,
         case when acl.is_grantable then ' with grant option' else '' end)
  from pg_attribute a, aclexplode(a.attacl) acl where a.attrelid = $1::oid and a.attnum > 0 and a.attname::text = any($3::text[])
union all
select format('comment on table %s is %L', $2::text, obj_description($1::oid, 'pg_class')) where obj_description($1::oid, 'pg_class') is not null
union all
select format('comment on column %s.%I is %L', $2::text, a.attname, col_description($1::oid, a.attnum))
  from pg_attribute a where a.attrelid = $1::oid and a.attnum > 0 and a.attname::text = any($3::text[]) and col_description($1::oid, a.attnum) is not null
union all
select format('alter table %s owner to %I', $2::text, pg_get_userbyid(relowner)) from pg_class
  where oid = $1::oid and relowner <> (select oid from pg_roles where rolname = current_user)`;

/** Default rights that the target's schema gives new tables; staging was made in another schema. $1 = schema, $2 = new table, quoted. */
export const DEFAULT_RIGHTS = `
select format('grant %s on %s to %s%s', acl.privilege_type, $2::text,
         case acl.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(acl.grantee)) end,
         case when acl.is_grantable then ' with grant option' else '' end) as statement
  from pg_default_acl d join pg_namespace n on n.oid = d.defaclnamespace, aclexplode(d.defaclacl) acl
  where n.nspname = $1 and d.defaclobjtype = 'r' and d.defaclrole = (select oid from pg_roles where rolname = current_user)
    and acl.grantee <> d.defaclrole`;

export const NAMES_IN_SCHEMA = `select relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1`;

/** What decides between strategies. Sums of all databases, since the sessions of others may not be looked at by any account. */
export const SERVER_FACTS = `
select current_setting('wal_level') as wal_level, current_setting('server_version_num')::int as version,
       array(select pubname::text from pg_publication where puballtables order by 1) as publishes_all,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true)::int, 0)
         - (select coalesce(sum(numbackends), 0) from pg_stat_database)::int as free_connections`;
