package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

var orgB = record.UUID{0xbb, 2}

func openScoped(tb testing.TB, url string, conns int) *DB {
	tb.Helper()
	db, err := OpenScoped(tb.Context(), url, Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), MaxConns: conns})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(db.Close)
	return db
}

// relation is a table or a view of the catalogue.
type relation struct {
	name  string // with its schema
	view  bool
	ofOrg bool // has a column org_id
}

func relations(tb testing.TB, db *DB) []relation {
	tb.Helper()
	rows, err := db.pool.Query(tb.Context(), `SELECT format('%I.%I', n.nspname, c.relname), c.relkind IN ('v', 'm'),
			EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'org_id' AND NOT a.attisdropped)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('ingest', 'public') AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY 1`)
	if err != nil {
		tb.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r relation, err error) { return r, row.Scan(&r.name, &r.view, &r.ofOrg) })
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

// special are values that a constraint wants.
var special = map[string]string{"region": "'eu'", "state": "'running'", "layer": "'rows'", "kind": "'topic'", "rule": "'x'", "role": "'viewer'"}

// plant puts a row of an organisation into a table, whatever columns it has.
func plant(tb testing.TB, db *DB, table string, org record.UUID) {
	tb.Helper()
	rows, err := db.pool.Query(tb.Context(), `SELECT a.attname::text, format_type(a.atttypid, NULL) FROM pg_attribute a
		WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = '' AND a.attgenerated = '' AND a.attnotnull AND NOT a.atthasdef`, table)
	if err != nil {
		tb.Fatal(err)
	}
	var names, values []string
	var name, kind string
	if _, err := pgx.ForEachRow(rows, []any{&name, &kind}, func() error {
		value := map[string]string{"uuid": "gen_random_uuid()", "text": "'x'", "bytea": `'\x00'`, "bigint": "1", "integer": "1", "smallint": "1", "jsonb": "'{}'",
			"timestamp with time zone": "now()", "boolean": "true", "real": "1", "double precision": "1", "date": "now()::date", "tsvector": "''", "real[]": "'{}'", "text[]": "'{}'"}[kind]
		if v, ok := special[name]; ok && kind == "text" {
			value = v
		}
		if name == "state" && kind == "jsonb" {
			value = "'{}'"
		}
		if name == "org_id" {
			value = literal(org.String())
		}
		if table == "ingest.memberships" && name == "user_id" {
			value = "(SELECT id FROM ingest.users)"
		}
		if value == "" {
			return fmt.Errorf("%s.%s is %s: the test has no value of that type", table, name, kind)
		}
		names, values = append(names, name), append(values, value)
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	if !slices.Contains(names, "org_id") {
		names, values = append(names, "org_id"), append(values, literal(org.String()))
	}
	execute(tb, db, "INSERT INTO "+table+" ("+strings.Join(names, ", ")+") VALUES ("+strings.Join(values, ", ")+")")
}

// planted is a database in which two organisations have a row in every table.
func planted(tb testing.TB) (url string, db *DB, all []relation) {
	tb.Helper()
	url = pgtest.New(tb)
	db = openURL(tb, url)
	if _, err := db.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	execute(tb, db, `INSERT INTO ingest.users (id, name, name_key) VALUES (gen_random_uuid(), 'a', 'a')`)
	execute(tb, db, `INSERT INTO ingest.keysets (sealed) VALUES ('\x00')`)
	all = relations(tb, db)
	n := 0
	for _, r := range all {
		if r.ofOrg && !r.view {
			plant(tb, db, r.name, orgA)
			plant(tb, db, r.name, orgB)
			n++
		}
	}
	if n < 20 {
		tb.Fatalf("the catalogue has %d tables of organisations", n)
	}
	return url, db, all
}

// refused reports whether the database said that this may not be done.
func refused(err error) bool { return SQLState(err) == "42501" }

// No table that has rows of organisations shows, to a session of one of them, a row of another or lets it be changed; who adds a table
// without thinking of that fails here.
func TestAScopedDatabaseShowsAndChangesTheRowsOfOneOrganisationOnly(t *testing.T) {
	t.Parallel()
	at, db, all := planted(t)
	scoped := openScoped(t, at, 2)
	a := WithOrg(t.Context(), orgA)
	before := contents(t, db, all)
	shown := map[string]bool{}
	for _, r := range all {
		var own, others int
		condition := "org_id <> " + literal(orgA.String())
		if !r.ofOrg {
			// What is everybody's is one sealed key set.
			err := scoped.pool.QueryRow(a, "SELECT count(*) FROM "+r.name).Scan(&own)
			if r.name != "ingest.keysets" && !refused(err) {
				t.Errorf("%s, which has no org_id, is shown: %d rows, %v", r.name, own, err)
			}
			continue
		}
		err := scoped.pool.QueryRow(a, "SELECT count(*) FILTER (WHERE NOT ("+condition+")), count(*) FILTER (WHERE "+condition+") FROM "+r.name).Scan(&own, &others)
		switch {
		case refused(err):
		case err != nil:
			t.Errorf("%s: %v", r.name, err)
		case others > 0:
			t.Errorf("%s shows %d rows of another organisation", r.name, others)
		case own == 0:
			t.Errorf("%s does not show the organisation's own row", r.name)
		default:
			shown[r.name] = true
		}
		for _, sql := range []string{
			"UPDATE " + r.name + " SET org_id = org_id WHERE " + condition,
			"DELETE FROM " + r.name + " WHERE " + condition,
			"UPDATE " + r.name + " SET org_id = " + literal(orgB.String()),
			"TRUNCATE " + r.name,
			"ALTER TABLE " + r.name + " DISABLE ROW LEVEL SECURITY",
		} {
			tag, err := scoped.pool.Exec(a, sql)
			if err == nil && tag.RowsAffected() > 0 || err != nil && !refused(err) && SQLState(err) != "42809" && SQLState(err) != "55000" {
				t.Errorf("%s: %s, %v", sql, tag, err)
			}
		}
		// Whoever asks in nobody's name sees nothing.
		if err := scoped.pool.QueryRow(t.Context(), "SELECT count(*) FROM "+r.name).Scan(&own); err == nil && own > 0 || err != nil && !refused(err) {
			t.Errorf("%s shows %d rows to nobody, %v", r.name, own, err)
		}
	}
	if diff := cmp.Diff(before, contents(t, db, all)); diff != "" {
		t.Errorf("something was changed (-before +after):\n%s", diff)
	}
	want := map[string]bool{}
	for table := range rights {
		want["ingest."+table] = true
	}
	delete(want, "ingest.keysets")
	for table := range own {
		want[ownView(table)] = true
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("what is shown (-want +got):\n%s", diff)
	}
	for _, sql := range []string{
		`INSERT INTO ingest.connections (org_id, region, workspace_id) VALUES ('` + record.UUID{0xcc}.String() + `', 'eu', 'x')`,
		`INSERT INTO ingest.rejects (org_id, run_id, stream, cause, stage, kind, reason, payload) VALUES ('` + orgA.String() + `', gen_random_uuid(), '', '', '', '', '', '')`,
		`UPDATE ingest.keysets SET sealed = ''`,
		`DELETE FROM ingest.keysets`,
		`CREATE TABLE ingest.mine (a int)`,
	} {
		if _, err := scoped.pool.Exec(a, sql); !refused(err) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// contents are the rows of all tables.
func contents(tb testing.TB, db *DB, all []relation) map[string][]string {
	tb.Helper()
	m := map[string][]string{}
	for _, r := range all {
		rows, err := db.pool.Query(tb.Context(), "SELECT r::text FROM "+r.name+" r ORDER BY 1")
		if err != nil {
			tb.Fatal(err)
		}
		if m[r.name], err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			tb.Fatal(err)
		}
	}
	return m
}

func TestEveryTableOfAnOrganisationHasAPolicyOrIsLoadedByCopy(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	if missing, err := db.Wall(t.Context()); err != nil || len(missing) > 0 {
		t.Fatalf("after the migrations: %q, %v", missing, err)
	}
	// Whatever later migration makes a table: the wall is built around it as well.
	execute(t, db, `CREATE TABLE ingest.later (org_id uuid NOT NULL)`)
	execute(t, db, `DROP POLICY haloingest_org ON ingest.runs`)
	execute(t, db, `DROP VIEW ingest.own_tickets`)
	execute(t, db, `REVOKE SELECT ON ingest.runs FROM haloingest_org`)
	missing, err := lacking(t.Context(), db.pool)
	if err != nil || len(missing) != 7 {
		t.Fatalf("%d are lacking: %q, %v", len(missing), missing, err)
	}
	if missing, err := db.Wall(t.Context()); err != nil || len(missing) > 0 {
		t.Fatalf("built again: %q, %v", missing, err)
	}
	if !one[bool](t, db, `SELECT relrowsecurity FROM pg_class WHERE oid = 'ingest.later'::regclass`) {
		t.Error("a later table has no row-level security")
	}
	for _, table := range slices.Sorted(maps.Keys(written)) {
		if one[bool](t, db, `SELECT relrowsecurity FROM pg_class WHERE oid = ('public.' || $1)::regclass`, table) {
			t.Errorf("Halo's table %s has row-level security", table)
		}
	}
}

func TestAConnectionIsBoundToTheOrganisationOfWhoeverHasIt(t *testing.T) {
	t.Parallel()
	at, _, _ := planted(t)
	scoped := openScoped(t, at, 1)
	seen := func(ctx context.Context) []record.UUID {
		t.Helper()
		rows, err := scoped.pool.Query(ctx, `SELECT org_id FROM ingest.connections`)
		if err != nil {
			t.Fatal(err)
		}
		list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (id record.UUID, err error) { return id, row.Scan((*[16]byte)(&id)) })
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	a, b := WithOrg(t.Context(), orgA), WithOrg(t.Context(), orgB)
	for range 3 {
		if diff := cmp.Diff([]record.UUID{orgA}, seen(a)); diff != "" {
			t.Errorf("of A: %s", diff)
		}
		if list := seen(t.Context()); len(list) > 0 {
			t.Errorf("of nobody: %v", list)
		}
		if diff := cmp.Diff([]record.UUID{orgB}, seen(b)); diff != "" {
			t.Errorf("of B: %s", diff)
		}
		if list := seen(WithOrg(t.Context(), record.UUID{})); len(list) > 0 {
			t.Errorf("of the nil UUID: %v", list)
		}
		// A session that was left in another role, or for another organisation, is bound anew.
		if _, err := scoped.pool.Exec(a, `SELECT set_config('haloingest.org', $1, false), set_config('role', 'none', false)`, orgB.String()); err != nil {
			t.Fatal(err)
		}
	}
}

// What pages read is, in a scoped DB, what it is in an ordinary one; of another organisation it is nothing.
func TestReadingIsTheSameInAScopedDatabase(t *testing.T) {
	t.Parallel()
	at := pgtest.New(t)
	db := openURL(t, at)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, org := range []record.UUID{orgA, orgB} {
		x := loadingOn(t, db, acquire(t, db, org), "all")
		x.commit(contactChange(org, "c1", 1, nil), companyChange(org, "k1", 1, nil), ticketChange(org, "t1", "c9", 2, nil), goneChange(record.KindContact, "c2", 3),
			conversationChange(org, "v1", "c1", 2, nil, func(r *record.TranscriptRow) { r.ExpectedMessageCount, r.Complete = 9, false }))
		execute(t, db, `INSERT INTO ingest.rejects (org_id, run_id, stream, cause, stage, kind, reason, payload) VALUES ($1, $2, 's', 'c', 'decode', 'contact', 'bad', 'body')`, org, x.run.ID)
		execute(t, db, `INSERT INTO ingest.connections (org_id, region, workspace_id, last_synced_at) VALUES ($1, 'eu', 'w', now())`, org)
		execute(t, db, `INSERT INTO ingest.diff_runs (org_id, id, left_side, right_side, level, verdict, sentence, watermark, started_at, finished_at, report)
			VALUES ($1, $1, 'intercom', 'postgres', 'full', 'equal', '', now(), now(), now(), '{}')`, org)
		execute(t, db, `INSERT INTO ingest.diff_findings (org_id, diff_id, n, entity, source_id, class, finding) SELECT $1, $1, n, 'end_users', n::text, 'missing', '{}' FROM generate_series(0, 4) n`, org)
	}
	scoped := openScoped(t, at, 3)
	type read func(ctx context.Context, db *DB, org record.UUID) (any, error)
	reads := map[string]read{
		"status": func(ctx context.Context, db *DB, org record.UUID) (any, error) {
			s, err := db.Status(ctx, org)
			if s.Lease != nil {
				s.Lease.HeartbeatAge = 0
			}
			return s, err
		},
		"runs":      func(ctx context.Context, db *DB, org record.UUID) (any, error) { return db.Runs(ctx, org, 0) },
		"diffs":     func(ctx context.Context, db *DB, org record.UUID) (any, error) { return db.DiffRuns(ctx, org, 0) },
		"newest":    func(ctx context.Context, db *DB, org record.UUID) (any, error) { return db.NewestDiffs(ctx, org) },
		"snapshots": func(ctx context.Context, db *DB, org record.UUID) (any, error) { return db.SnapshotRuns(ctx, org) },
		"counts":    func(ctx context.Context, db *DB, org record.UUID) (any, error) { return db.RejectCounts(ctx, org) },
		"rejects": func(ctx context.Context, db *DB, org record.UUID) (any, error) {
			var list []RejectInfo
			for r, err := range db.Rejects(ctx, org, RejectFilter{}) {
				if err != nil {
					return nil, err
				}
				list = append(list, r)
			}
			return list, nil
		},
	}
	for name, f := range reads {
		want, err := f(t.Context(), db, orgA)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := f(WithOrg(t.Context(), orgA), scoped, orgA)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-unscoped +scoped):\n%s", name, diff)
		}
		nothing, err := f(t.Context(), db, record.UUID{0xcc})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for what, ctx := range map[string]context.Context{"another": WithOrg(t.Context(), orgB), "none": t.Context()} {
			got, err := f(ctx, scoped, orgA)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if diff := cmp.Diff(nothing, got); diff != "" {
				t.Errorf("%s of A under %s (-nothing +got):\n%s", name, what, diff)
			}
		}
	}
	other := record.UUID{0xcc}
	if _, err := scoped.Acquire(WithOrg(t.Context(), other), other, "test"); !refused(err) {
		t.Errorf("a scoped DB gives out leases: %v", err)
	}
}

// The counts of a large table come from the index, also through the view.
func TestAScopedStatusDoesNotReadTablesWhole(t *testing.T) {
	t.Parallel()
	at := pgtest.New(t)
	db := openURL(t, at)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	scoped := openScoped(t, at, 1)
	err := scoped.reading(WithOrg(t.Context(), orgA), func(tx pgx.Tx) error {
		for _, sql := range []string{
			`SELECT count(*) - count(deleted_at), count(deleted_at) FROM ` + scoped.From("public.end_users") + ` WHERE org_id = '` + orgA.String() + `' AND source_id IS NOT NULL`,
			`SELECT count(*) FROM ` + scoped.From("public.transcripts") + ` WHERE org_id = '` + orgA.String() + `' AND NOT complete AND source_id IS NOT NULL AND deleted_at IS NULL`,
		} {
			rows, err := tx.Query(t.Context(), "EXPLAIN "+sql)
			if err != nil {
				return err
			}
			plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			text := strings.Join(plan, "\n")
			if !strings.Contains(text, "Index Cond: (org_id = ") || strings.Contains(text, "Seq Scan") {
				t.Errorf("%s:\n%s", sql, text)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A role that owns nothing and has the ordinary rights, as a database's administrator may give to this program, loads as before: by COPY too, and
// also where it is a member of the role that is restricted.
func TestLoadingWorksForARoleThatOwnsNoTable(t *testing.T) {
	t.Parallel()
	at := pgtest.New(t)
	owner := openURL(t, at)
	if _, err := owner.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	role := fmt.Sprintf("haloingest_test_%d", time.Now().UnixNano())
	execute(t, owner, `CREATE ROLE `+role)
	t.Cleanup(func() {
		for _, sql := range []string{`DROP OWNED BY ` + role, `DROP ROLE ` + role} {
			if _, err := owner.pool.Exec(context.Background(), sql); err != nil {
				t.Error(err)
			}
		}
	})
	execute(t, owner, `GRANT USAGE ON SCHEMA ingest TO `+role)
	execute(t, owner, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, ingest TO `+role)
	execute(t, owner, `GRANT haloingest_org TO `+role)
	db := openURL(t, withParam(t, at, "role", role))
	if got := one[string](t, db, `SELECT current_user::text`); got != role {
		t.Fatalf("the session is %s's", got)
	}
	x := loadingOn(t, db, acquire(t, db, orgA), "all")
	x.commit(contactChange(orgA, "c1", 1, nil), companyChange(orgA, "k1", 1, nil), conversationChange(orgA, "v1", "c1", 2, []string{"one", "two"}, nil), ticketChange(orgA, "t1", "c1", 2, nil))
	x.commit(contactChange(orgA, "c1", 5, nil), conversationChange(orgA, "v1", "c1", 6, []string{"one", "three"}, nil), goneChange(record.KindContact, "c1", 9))
	err := db.SaveDiff(t.Context(), orgA, DiffRun{ID: record.UUID{1}, Report: []byte(`{}`), StartedAt: at0, FinishedAt: at0, Watermark: at0}, func(yield func(DiffFinding, error) bool) {
		yield(DiffFinding{Entity: "end_users", SourceID: "c1", Class: "missing", Finding: []byte(`{}`)}, nil)
	})
	if err != nil {
		t.Error(err)
	}
	s, err := db.Status(t.Context(), orgA)
	if err != nil {
		t.Fatal(err)
	}
	if s.Conversations.Live != 1 || s.Contacts.Deleted != 1 || s.Run == nil {
		t.Errorf("the status is %+v", s)
	}
	if diffs, err := db.DiffRuns(t.Context(), orgA, 0); err != nil || len(diffs) != 1 || diffs[0].Findings != 1 {
		t.Errorf("diffs: %+v, %v", diffs, err)
	}
}

var at0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func withParam(tb testing.TB, address, name, value string) string {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// Where the role of this program may not make roles, everything but OpenScoped works, and what an administrator has to run is said; after that,
// the next start builds the rest.
func TestARoleWithoutRightsIsToldWhatAnAdministratorHasToRun(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	admin := openURL(t, server.URL())
	execute(t, admin, `CREATE ROLE app LOGIN PASSWORD 'app'`)
	execute(t, admin, `CREATE DATABASE app OWNER app`)
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Path = url.UserPassword("app", "app"), "/app"
	var said strings.Builder
	db, err := Open(t.Context(), u.String(), Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "CREATE ROLE haloingest_org NOLOGIN") {
		t.Errorf("the log says %q", said.String())
	}
	if _, err := OpenScoped(t.Context(), u.String(), Options{}); !errors.Is(err, ErrWall) {
		t.Errorf("OpenScoped without the role: %v", err)
	}
	missing, err := db.Wall(t.Context())
	if err != nil || len(missing) != 2 || missing[0] != "CREATE ROLE haloingest_org NOLOGIN" || !strings.HasPrefix(missing[1], "GRANT haloingest_org TO app") {
		t.Fatalf("it takes %q, %v", missing, err)
	}
	x := loadingOn(t, db, acquire(t, db, orgA), "all")
	x.commit(contactChange(orgA, "c1", 1, nil))
	for _, sql := range missing {
		execute(t, admin, sql)
	}
	if _, err := OpenScoped(t.Context(), u.String(), Options{}); !errors.Is(err, ErrWall) {
		t.Errorf("OpenScoped before the wall is built: %v", err)
	}
	if missing, err := db.Wall(t.Context()); err != nil || len(missing) > 0 {
		t.Fatalf("with the role there: %q, %v", missing, err)
	}
	scoped := openScoped(t, u.String(), 1)
	s, err := scoped.Status(WithOrg(t.Context(), orgA), orgA)
	if err != nil || s.Contacts.Live != 1 {
		t.Errorf("%+v, %v", s.Contacts, err)
	}
}

// What is committed together with an organisation's rows and is nobody's is written beside the wall, which stands again afterwards.
func TestWhatIsBesideAnOrganisationIsWrittenInItsTransaction(t *testing.T) {
	t.Parallel()
	at, db, _ := planted(t)
	scoped := openScoped(t, at, 1)
	if _, err := db.pool.Exec(t.Context(), "CREATE TABLE ingest.nobodys (n integer)"); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*DB{scoped, db} {
		err := pgx.BeginFunc(WithOrg(t.Context(), orgA), x.pool, func(tx pgx.Tx) error {
			err := Beside(t.Context(), tx, func() error {
				_, err := tx.Exec(t.Context(), "INSERT INTO ingest.nobodys VALUES (1)")
				return err
			})
			if err != nil {
				return err
			}
			var role string
			err = tx.QueryRow(t.Context(), "SELECT current_setting('role')").Scan(&role)
			if (role == OrgRole) != (x == scoped) {
				t.Errorf("the role afterwards is %q", role)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err := pgx.BeginFunc(WithOrg(t.Context(), orgA), scoped.pool, func(tx pgx.Tx) error {
		return Beside(t.Context(), tx, func() error {
			_, err := tx.Exec(t.Context(), "INSERT INTO ingest.nobodys VALUES ('no number')")
			return err
		})
	})
	if err == nil {
		t.Error("what fails beside it lets the transaction through")
	}
	var n int
	if err := db.pool.QueryRow(t.Context(), "SELECT count(*) FROM ingest.nobodys").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d rows, %v; want 2", n, err)
	}
	if err := scoped.pool.QueryRow(WithOrg(t.Context(), orgA), "SELECT count(*) FROM ingest.nobodys").Scan(&n); !refused(err) {
		t.Errorf("the next session of the organisation sees what is nobody's: %v", err)
	}
}
