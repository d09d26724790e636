package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// Names of the policies. The first lets everybody who has the rights do what they could before; the second takes from OrgRole what is not its
// organisation's. A role that is a member of OrgRole has its restrictions too, by PostgreSQL's rules; the condition excepts it.
const (
	policyAll = "haloingest_all"
	policyOrg = "haloingest_org"
)

// Wall makes what OpenScoped needs, as far as it is not there and this role may: OrgRole, its rights, a policy on every table of an organisation, and
// views. It returns the SQL that somebody with more rights has to run, without which OpenScoped does not work; everything else does.
// Where nothing is to be done it only reads. Migrate calls it when it has changed something.
func (db *DB) Wall(ctx context.Context) (missing []string, err error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, wrap(ctx, err, "keep organisations apart")
	}
	defer conn.Release()
	missing, err = buildWall(ctx, conn.Conn())
	return missing, wrap(ctx, err, "keep organisations apart")
}

func buildWall(ctx context.Context, conn *pgx.Conn) (missing []string, err error) {
	missing, err = lacking(ctx, conn)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, lockKey("wall", record.UUID{})); err != nil {
		return nil, err
	}
	defer func() {
		_, unlocked := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, lockKey("wall", record.UUID{}))
		err = errors.Join(err, unlocked)
	}()
	// Roles are the server's: another database's process may be making the same one. What got in the way is looked at again.
	for range 5 {
		if missing, err = lacking(ctx, conn); err != nil || len(missing) == 0 {
			return nil, err
		}
		progress := false
		for _, sql := range missing {
			_, err := conn.Exec(ctx, sql)
			switch state := SQLState(err); {
			case err == nil:
				progress = true
			case state == "42501", state == "0LP01", state == "42704", state == "42P01": // may not, or what may not be made is not there
			case state == "42710", state == "23505", state == "XX000", state == "42P07": // somebody else does so at this moment
				progress = true
			default:
				return nil, err
			}
		}
		if !progress {
			return missing, nil
		}
	}
	missing, err = lacking(ctx, conn)
	return missing, err
}

// lacking returns the statements, in order, that would make what is not there.
func lacking(ctx context.Context, q querier) ([]string, error) {
	list, err := lackingRole(ctx, q)
	if err != nil {
		return nil, err
	}
	if len(list) > 0 && strings.HasPrefix(list[0], "CREATE ROLE") {
		// Policies and rights name the role. Whoever can make it now goes on in the next round.
		return list, nil
	}
	for _, more := range []func(context.Context, querier) ([]string, error){lackingPolicies, lackingViews, lackingRights} {
		l, err := more(ctx, q)
		if err != nil {
			return nil, err
		}
		list = append(list, l...)
	}
	return list, nil
}

func lackingRole(ctx context.Context, q querier) (list []string, err error) {
	var there, member bool
	var version int
	var user string
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), current_setting('server_version_num')::int, quote_ident(session_user)`, OrgRole).
		Scan(&there, &version, &user)
	if err != nil {
		return nil, err
	}
	if !there {
		list = append(list, "CREATE ROLE "+OrgRole+" NOLOGIN")
	} else {
		kind := "MEMBER"
		if version >= 160000 {
			kind = "SET"
		}
		if err := q.QueryRow(ctx, `SELECT pg_has_role(session_user, $1, $2)`, OrgRole, kind).Scan(&member); err != nil {
			return nil, err
		}
	}
	if member {
		return list, nil
	}
	grant := "GRANT " + OrgRole + " TO " + user
	if version >= 160000 {
		grant += " WITH INHERIT FALSE, SET TRUE"
	}
	return append(list, grant), nil
}

func lackingPolicies(ctx context.Context, q querier) (list []string, err error) {
	rows, err := q.Query(ctx, `SELECT c.relname::text, c.relrowsecurity,
			EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = $2), EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = $3)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id' AND NOT a.attisdropped
		WHERE c.relnamespace = to_regnamespace('ingest') AND c.relkind IN ('r', 'p') AND c.relname <> ALL ($1) ORDER BY c.relname`, loadedByCopy, policyAll, policyOrg)
	if err != nil {
		return nil, err
	}
	var table string
	var on, all, one bool
	_, err = pgx.ForEachRow(rows, []any{&table, &on, &all, &one}, func() error {
		name := "ingest." + table
		if !all {
			list = append(list, fmt.Sprintf("CREATE POLICY %s ON %s TO PUBLIC USING (true)", policyAll, name))
		}
		if !one {
			list = append(list, fmt.Sprintf("CREATE POLICY %s ON %s AS RESTRICTIVE TO %s USING (current_user <> '%s' OR org_id = %s)", policyOrg, name, OrgRole, OrgRole, orgSetting))
		}
		if !on { // last: with it and without a policy, nobody but the owner sees anything
			list = append(list, "ALTER TABLE "+name+" ENABLE ROW LEVEL SECURITY")
		}
		return nil
	})
	return list, err
}

func lackingViews(ctx context.Context, q querier) (list []string, err error) {
	for _, table := range slices.Sorted(maps.Keys(own)) {
		var there bool
		if err := q.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, ownView(table)).Scan(&there); err != nil {
			return nil, err
		}
		if !there {
			barrier := " WITH (security_barrier)"
			if flat[table] {
				barrier = ""
			}
			list = append(list, "CREATE VIEW "+ownView(table)+barrier+" AS "+strings.Join(strings.Fields(own[table]), " "))
		}
	}
	return list, nil
}

func lackingRights(ctx context.Context, q querier) (list []string, err error) {
	var names, kinds []string
	for _, table := range slices.Sorted(maps.Keys(own)) {
		names, kinds = append(names, ownView(table)), append(kinds, "SELECT")
	}
	for _, table := range slices.Sorted(maps.Keys(rights)) {
		for _, kind := range rights[table] {
			names, kinds = append(names, "ingest."+table), append(kinds, kind)
		}
	}
	var usage bool
	if err := q.QueryRow(ctx, `SELECT has_schema_privilege($1, 'ingest', 'USAGE')`, OrgRole).Scan(&usage); err != nil {
		return nil, err
	}
	if !usage {
		list = append(list, "GRANT USAGE ON SCHEMA ingest TO "+OrgRole)
	}
	// A right to a column is asked for by has_column_privilege. A view that cannot be made yet is asked for all the same.
	rows, err := q.Query(ctx, `SELECT name, kind FROM unnest($2::text[], $3::text[]) AS k(name, kind)
		WHERE NOT coalesce(CASE WHEN kind LIKE '%(%' THEN has_column_privilege($1, to_regclass(name), substring(kind FROM '\((.*)\)'), split_part(kind, ' ', 1))
			ELSE has_table_privilege($1, to_regclass(name), kind) END, false)`, OrgRole, names, kinds)
	if err != nil {
		return nil, err
	}
	wanting := map[string][]string{}
	var name, kind string
	if _, err := pgx.ForEachRow(rows, []any{&name, &kind}, func() error {
		wanting[name] = append(wanting[name], kind)
		return nil
	}); err != nil {
		return nil, err
	}
	for _, name := range slices.SortedFunc(maps.Keys(wanting), cmp.Compare[string]) {
		list = append(list, fmt.Sprintf("GRANT %s ON %s TO %s", strings.Join(wanting[name], ", "), name, OrgRole))
	}
	return list, nil
}
