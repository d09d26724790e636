package postgres

import (
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/sinks/postgres/localpg/pgtest"
)

func execute(tb testing.TB, db *DB, sql string, args ...any) {
	tb.Helper()
	if _, err := db.pool.Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// one reads a single value.
func one[T any](tb testing.TB, db *DB, sql string, args ...any) (value T) {
	tb.Helper()
	if err := db.pool.QueryRow(tb.Context(), sql, args...).Scan(&value); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return value
}

func migrationNames(tb testing.TB) []string {
	tb.Helper()
	known, err := knownMigrations()
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for _, m := range known {
		names = append(names, m.Name)
	}
	return names
}

func TestMigrateIsDoneOnce(t *testing.T) {
	db := openURL(t, pgtest.New(t))
	before, err := db.Migrations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range before {
		if m.Applied {
			t.Errorf("%s is applied in an empty database", m.Name)
		}
	}
	if one[bool](t, db, "SELECT to_regnamespace('ingest') IS NOT NULL") {
		t.Error("looking at the migrations has written something")
	}
	applied, err := db.Migrate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(migrationNames(t), applied); diff != "" {
		t.Error(diff)
	}
	again, err := db.Migrate(t.Context())
	if err != nil || len(again) != 0 {
		t.Errorf("the second time: %v, %v", again, err)
	}
	after, err := db.Migrations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range after {
		if !m.Applied || m.AppliedAt.IsZero() {
			t.Errorf("%s is not applied", m.Name)
		}
	}
	if one[int](t, db, "SELECT count(*)::int FROM pg_tables WHERE tablename LIKE 'goose%' OR schemaname = 'public' AND tablename LIKE '%version%'") != 0 {
		t.Error("there is a version table that could be Halo's")
	}
}

func TestProcessesThatStartTogetherMigrateOnce(t *testing.T) {
	base := pgtest.New(t)
	var mu sync.Mutex
	var applied []string
	var group sync.WaitGroup
	for range 6 {
		db := openURL(t, base)
		group.Go(func() {
			names, err := db.Migrate(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			applied = append(applied, names...)
		})
	}
	group.Wait()
	if diff := cmp.Diff(migrationNames(t), applied); diff != "" {
		t.Error(diff)
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	db := newDB(t)
	execute(t, db, "INSERT INTO "+versionTable+" (version_id, is_applied) VALUES (4711, true)")
	_, err := db.Migrate(t.Context())
	if !errors.Is(err, ErrSchemaNewer) || !strings.Contains(err.Error(), "4711") {
		t.Errorf("got %v", err)
	}
	list, err := db.Migrations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if last := list[len(list)-1]; last.Version != 4711 || !last.Applied || last.Name != "" {
		t.Errorf("the newer migration is listed as %+v", last)
	}
}

const org = "aa010000-0000-0000-0000-000000000000"

// Halo's own tables as they may be: other columns, some missing, another primary key, data.
const haloTables = `
	CREATE TABLE public.end_users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), org_id uuid NOT NULL, external_id varchar(200), email text, name text,
		mrr numeric(12,2), renewal_status text, custom_fields jsonb NOT NULL DEFAULT '{}', created_at timestamptz NOT NULL DEFAULT now(),
		updated_at timestamptz NOT NULL DEFAULT now());
	INSERT INTO public.end_users (org_id, external_id, email, mrr, custom_fields) VALUES
		('` + org + `', 'u-1', ' Jane@Example.com', 12.50, '{"kept": true}'), ('` + org + `', 'u-2', NULL, NULL, '{}');
	CREATE TABLE public.companies (org_id uuid, id uuid, external_id text, health_score integer, PRIMARY KEY (id, org_id));
	INSERT INTO public.companies VALUES ('` + org + `', gen_random_uuid(), 'twice', 80), ('` + org + `', gen_random_uuid(), 'twice', 81);
	CREATE TYPE public.ticket_status AS ENUM ('open', 'resolved');
	CREATE DOMAIN public.short AS text CHECK (length(VALUE) <= 1000);
	CREATE TABLE public.tickets (org_id uuid NOT NULL, id uuid NOT NULL, status public.ticket_status, subject public.short, inbox_id uuid, PRIMARY KEY (org_id, id));
	CREATE TABLE public.knowledge (org_id uuid NOT NULL, id uuid NOT NULL, content text NOT NULL, embedding text, PRIMARY KEY (org_id, id));
	INSERT INTO public.knowledge (org_id, id, content) VALUES ('` + org + `', gen_random_uuid(), 'an article');`

func TestTablesThatHaloMadeAreCompletedAndKeepTheirData(t *testing.T) {
	db := openURL(t, pgtest.New(t))
	execute(t, db, haloTables)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := one[string](t, db, `SELECT string_agg(concat_ws('|', external_id, email, mrr, custom_fields, source_id, context), '; ' ORDER BY external_id) FROM public.end_users`)
	if want := `u-1| Jane@Example.com|12.50|{"kept": true}|{}; u-2|{}|{}`; got != want {
		t.Errorf("end_users holds %q, want %q", got, want)
	}
	for name, statement := range map[string]string{
		"a table whose key is id alone can be merged into": `INSERT INTO public.end_users (org_id, id) SELECT org_id, id FROM public.end_users
			ON CONFLICT (org_id, id) DO UPDATE SET source = 'intercom'`,
		"a table whose key is the other way round, too": `INSERT INTO public.companies (org_id, id) SELECT org_id, id FROM public.companies
			ON CONFLICT (org_id, id) DO UPDATE SET source = 'intercom'`,
		"and one that was not there": `INSERT INTO public.transcripts (org_id, id) VALUES ('` + org + `', gen_random_uuid()) ON CONFLICT (org_id, id) DO NOTHING`,
	} {
		if _, err := db.pool.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	unique := func(index string) bool {
		return one[bool](t, db, "SELECT indisunique FROM pg_index WHERE indexrelid = to_regclass($1)", "public."+index)
	}
	if !unique("end_users_external_id") || unique("companies_external_id") {
		t.Errorf("external ids are unique for users: %v, want true; for companies, of which Halo has two alike: %v, want false",
			unique("end_users_external_id"), unique("companies_external_id"))
	}
	if one[bool](t, db, "SELECT to_regclass('public.companies_org_id_id') IS NOT NULL") {
		t.Error("companies got a second unique index on the same columns")
	}
}

func TestATableThatCannotBeWrittenIsRefusedByName(t *testing.T) {
	for _, test := range []struct{ name, sql, says string }{
		{"a number that is a text", `CREATE TABLE public.companies (org_id uuid, id uuid, employee_count text, PRIMARY KEY (org_id, id))`,
			"companies.employee_count is text instead of int4"},
		{"a column that must be filled and is not ours", `CREATE TABLE public.tickets (org_id uuid, id uuid, inbox_id uuid NOT NULL, PRIMARY KEY (org_id, id))`,
			"tickets.inbox_id is NOT NULL"},
		{"a generated column", `CREATE TABLE public.tickets (org_id uuid, id uuid, subject text GENERATED ALWAYS AS ('x') STORED, PRIMARY KEY (org_id, id))`,
			"tickets.subject is generated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := openURL(t, pgtest.New(t))
			execute(t, db, test.sql)
			if _, err := db.Migrate(t.Context()); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("a column that went away since", func(t *testing.T) {
		db := newDB(t)
		execute(t, db, "ALTER TABLE public.transcripts DROP COLUMN outcome")
		if _, err := db.Migrate(t.Context()); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "transcripts.outcome is missing") {
			t.Errorf("got %v", err)
		}
	})
}

// A role that may read and write, and no more, can work once the schema is there, and is told what it lacks before.
func TestARoleWithoutTheRightToCreate(t *testing.T) {
	base := pgtest.New(t)
	owner := openURL(t, base)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	database := strings.TrimPrefix(u.Path, "/")
	role := "role_" + database
	execute(t, owner, `CREATE ROLE "`+role+`" LOGIN PASSWORD 'pw'; REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO "`+role+`"`)
	u.User = url.UserPassword(role, "pw")
	limited := openURL(t, u.String())
	_, err = limited.Migrate(t.Context())
	if !errors.Is(err, ErrDatabase) || SQLState(err) != "42501" || !strings.Contains(err.Error(), "create schema ingest: permission denied") ||
		!strings.Contains(err.Error(), "needs this right") {
		t.Errorf("without the schema: %v", err)
	}
	if _, err := owner.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	execute(t, owner, `GRANT USAGE ON SCHEMA ingest TO "`+role+`"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ingest, public TO "`+role+`"`)
	if _, err := limited.Migrate(t.Context()); err != nil {
		t.Errorf("with the schema: %v", err)
	}
	lease, err := limited.Acquire(t.Context(), orgA, "limited")
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
	limited.Close()
	execute(t, owner, `DROP OWNED BY "`+role+`"; DROP ROLE "`+role+`"`)
}
