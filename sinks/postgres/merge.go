package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// target is a table that rows go to: straight into it by COPY, or through a temp table of the session and a merge.
type target struct {
	name    string // schema-qualified
	temp    string
	columns []string
	// withExtra are all columns of the temp table; extra is the select list of those that the target lacks.
	withExtra []string
	extra     string
	copySQL   string
	tempSQL   string
}

func newTarget(schema, name string, columns []string, extra ...string) *target {
	t := &target{name: schema + "." + name, temp: "pg_temp.haloingest_" + name, columns: columns}
	t.withExtra = slices.Clone(columns)
	list := strings.Join(columns, ", ")
	t.copySQL = "COPY " + t.name + " (" + list + ") FROM STDIN (FORMAT binary)"
	for _, e := range extra {
		value, name, _ := strings.Cut(e, " ")
		t.extra += ", " + value + " AS " + name
		t.withExtra = append(t.withExtra, name)
		list += ", " + name
	}
	t.tempSQL = "COPY " + t.temp + " (" + list + ") FROM STDIN (FORMAT binary)"
	return t
}

// setting returns "a = excluded.a, b = excluded.b, ..." for the columns but those named.
func (t *target) setting(but ...string) string {
	var b strings.Builder
next:
	for _, c := range t.columns {
		for _, skip := range but {
			if c == skip {
				continue next
			}
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c + " = excluded." + c)
	}
	return b.String()
}

// upsert is INSERT INTO target SELECT from its temp table ... ON CONFLICT DO UPDATE, ordered by key so that two writers of the same rows wait
// for one another instead of locking each other up. $1 is the organisation.
func (t *target) upsert(key, set, where, returning string) string {
	list := strings.Join(t.columns, ", ")
	return "INSERT INTO " + t.name + " AS t (" + list + ") SELECT " + list + " FROM " + t.temp + " WHERE org_id = $1 ORDER BY " + key +
		" ON CONFLICT (" + key + ") DO UPDATE SET " + set + " WHERE t.org_id = $1 AND " + where + " RETURNING " + returning
}

// targets are the tables by name. They never change after the package is initialised.
type targets struct {
	endUsers, companies, transcripts, tickets, knowledge, idMap *target
}

func newTargets() targets {
	return targets{
		endUsers:    newTarget("public", "end_users", endUserColumns, "true wins", "true sole", "true owns"),
		companies:   newTarget("public", "companies", companyColumns, "true wins", "true sole", "true owns"),
		transcripts: newTarget("public", "transcripts", transcriptColumns),
		tickets:     newTarget("public", "tickets", ticketColumns),
		knowledge:   newTarget("public", "knowledge", knowledgeColumns),
		idMap:       newTarget("ingest", "id_map", idMapColumns),
	}
}

func (t targets) all() []*target {
	return []*target{t.endUsers, t.companies, t.transcripts, t.tickets, t.knowledge, t.idMap}
}

// sessionSQL prepares a connection for the loader. Everything that a batch asks is a keyed lookup of as many keys as it has objects, so
// what reads tables whole is switched off; see also session.replan.
func (t targets) sessionSQL(asyncCommit bool) string {
	var b strings.Builder
	b.WriteString("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_memoize = off; SET jit = off; SET client_min_messages = warning; ")
	if asyncCommit {
		b.WriteString("SET synchronous_commit = off; ")
	}
	for _, x := range t.all() {
		fmt.Fprintf(&b, "CREATE TEMP TABLE IF NOT EXISTS %s ON COMMIT DELETE ROWS AS SELECT %s%s FROM %s WITH NO DATA; ",
			strings.TrimPrefix(x.temp, "pg_temp."), strings.Join(x.columns, ", "), x.extra, x.name)
	}
	return b.String()
}

// copyDirect sends the rows of buf straight into the table.
func (l *loader) copyDirect(ctx context.Context, t *target, buf *copyBuffer) error {
	return l.copy(ctx, t.copySQL, t.name, buf)
}

// copyTemp sends the rows of buf into the empty temp table.
func (l *loader) copyTemp(ctx context.Context, t *target, buf *copyBuffer) error {
	if l.used[t] {
		if _, err := l.conn.Exec(ctx, "DELETE FROM "+t.temp); err != nil {
			return err
		}
	}
	l.used[t] = true
	return l.copy(ctx, t.tempSQL, t.temp, buf)
}

func (l *loader) copy(ctx context.Context, sql, name string, buf *copyBuffer) error {
	data, err := buf.finish()
	if err != nil {
		return err
	}
	tag, err := l.conn.PgConn().CopyFrom(ctx, data, sql)
	if err != nil {
		return err
	}
	if n := tag.RowsAffected(); n != int64(buf.rows) {
		return invariant("COPY %s took %d of %d rows", name, n, buf.rows)
	}
	return nil
}

// statement is an SQL text that is sent with parameters encoded by hand, for the few that every batch of conversations needs.
type statement struct{ name, sql string }

// run executes a prepared statement with binary parameters and results. The reader must be read to its end or closed before the
// connection is used again.
func (l *loader) raw(ctx context.Context, s statement, params ...[]byte) (*pgconn.ResultReader, error) {
	if !l.session.prepared[s.name] {
		if _, err := l.conn.Prepare(ctx, s.name, s.sql); err != nil {
			return nil, err
		}
		l.session.prepared[s.name] = true
	}
	return l.conn.PgConn().ExecPrepared(ctx, s.name, params, binaryFormats[:len(params)], binaryFormats[:1]), nil
}

var binaryFormats = []int16{1, 1, 1, 1, 1, 1, 1, 1}

// session is the sink's connection with what has been set up on it.
type session struct {
	conn     *pgx.Conn
	prepared map[string]bool

	rows    int64     // written since the plans were made
	next    int64     // so many rows make new plans
	planned time.Time // by the sink's clock
}

// replanAfter is how long plans are kept, for tables that others fill.
const replanAfter = 10 * time.Second

// replan forgets the plans of all statements whenever the sink has written as much as before, and from time to time. While a table
// is empty the planner finds one index of the organisation as good as another, and keeps to that choice until the table is
// analysed, which in a backfill may be much later.
func (s *session) replan(ctx context.Context, written int64, now time.Time) error {
	s.rows += written
	if s.rows < s.next && now.Sub(s.planned) < replanAfter {
		return nil
	}
	s.planned = now
	if s.rows >= s.next {
		s.next = 2 * max(s.rows, 100)
	}
	_, err := s.conn.PgConn().Exec(ctx, "DISCARD PLANS").ReadAll()
	return err
}
