package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/pipeline/record"
)

// OrgRole is the role of the database that sees the rows of one organisation only: the one in the session's setting haloingest.org. Nobody logs
// in as it; sessions of a scoped DB take it on. It is a wall against mistakes of this program, such as a query that forgets its condition.
// It is none against somebody who can make it send SQL of their own: that could set the setting.
const OrgRole = "haloingest_org"

// orgSetting is SQL for the organisation that the session is about, or NULL.
const orgSetting = `nullif(current_setting('haloingest.org', true), '')::uuid`

// ErrWall says that the database is not prepared for OpenScoped; the error says what is lacking. Wall prepares it, or says what an administrator
// has to run first.
var ErrWall = errors.New("the database does not keep organisations apart yet")

type orgKey struct{}

// WithOrg returns a context under which a scoped DB sees, and writes, rows of one organisation; see OpenScoped.
func WithOrg(ctx context.Context, org record.UUID) context.Context {
	return context.WithValue(ctx, orgKey{}, org)
}

// OpenScoped opens the database as Open does, but every connection that its pool gives out is bound to the organisation of the context with which it
// was acquired (WithOrg), by row-level security: it sees nothing of any other, and nothing at all without one. What it can be used
// for is reading what pages show, and storing connections; everything else is refused (SQLSTATE 42501). The error wraps ErrWall where
// the database is not prepared for it.
func OpenScoped(ctx context.Context, url string, o Options) (*DB, error) {
	db, err := open(ctx, url, o, func(c *pgxpool.Config) {
		c.PrepareConn, c.AfterRelease = enter, leave
		settings := c.AfterConnect
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error { // also of sessions outside of the pool: of leases, say
			if err := settings(ctx, conn); err != nil {
				return err
			}
			_, err := enter(WithOrg(ctx, record.UUID{}), conn)
			return err
		}
	})
	if SQLState(err) == "22023" || SQLState(err) == "42501" { // there is no such role, or it may not be taken on
		return nil, fmt.Errorf("%w: %w", ErrWall, err)
	}
	if err != nil {
		return nil, err
	}
	db.scoped = true
	missing, err := lacking(ctx, db.pool)
	switch {
	case err == nil && len(missing) > 0:
		err = fmt.Errorf("%w: %s;", ErrWall, strings.Join(missing, "; "))
	case SQLState(err) == "42501": // the role may not even look into the schema
		err = fmt.Errorf("%w: %w", ErrWall, err)
	case err != nil:
		err = wrap(ctx, err, "look at what keeps organisations apart")
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// enter binds a connection to the organisation of the context.
func enter(ctx context.Context, conn *pgx.Conn) (bool, error) {
	text := ""
	if org, ok := ctx.Value(orgKey{}).(record.UUID); ok && !org.IsZero() {
		text = org.String()
	}
	_, err := conn.Exec(ctx, `SELECT set_config('role', $1, false), set_config('haloingest.org', $2, false)`, OrgRole, text)
	return err == nil, err
}

// leave lets a connection see nothing until it is given out again.
func leave(conn *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := conn.Exec(ctx, `SELECT set_config('haloingest.org', '', false)`)
	return err == nil
}

// Beside runs f in a transaction with the rights of the session's own user, also where it has taken on OrgRole, which comes back afterwards: for
// what has to be committed together with an organisation's rows and belongs to none, such as the job that follows from them. f must neither read
// nor show anything. Elsewhere it only runs f.
func Beside(ctx context.Context, tx pgx.Tx, f func() error) error {
	var role string
	if err := tx.QueryRow(ctx, `SELECT current_setting('role')`).Scan(&role); err != nil {
		return err
	}
	if role != OrgRole {
		return f()
	}
	if _, err := tx.Exec(ctx, `SET LOCAL ROLE NONE`); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err // the transaction is over, and the role with it
	}
	_, err := tx.Exec(ctx, `SET LOCAL ROLE `+OrgRole)
	return err
}

// own are the views by which OrgRole reads tables that cannot have policies: Halo's own, since other roles of Halo's may load them by COPY, which
// row-level security forbids, and those that are loaded so here. They show what pages need of the session's organisation.
var own = map[string]string{
	"public.end_users":         `SELECT org_id, id, source_id, deleted_at FROM public.end_users WHERE org_id = ` + orgSetting,
	"public.companies":         `SELECT org_id, id, source_id, deleted_at FROM public.companies WHERE org_id = ` + orgSetting,
	"public.tickets":           `SELECT org_id, id, source_id, deleted_at FROM public.tickets WHERE org_id = ` + orgSetting,
	"public.transcripts":       `SELECT org_id, id, source_id, deleted_at, complete, jsonb_build_object('incomplete', metadata->'incomplete') AS metadata FROM public.transcripts WHERE org_id = ` + orgSetting,
	"public.transcripts_files": filesView("transcripts"),
	"public.tickets_files":     filesView("tickets"),
	// Of each diff, its last finding: pages show how many there are.
	"ingest.diff_findings": `SELECT d.org_id, d.id AS diff_id, f.n FROM ingest.diff_runs d
		CROSS JOIN LATERAL (SELECT max(n) AS n FROM ingest.diff_findings WHERE org_id = d.org_id AND diff_id = d.id) f WHERE d.org_id = ` + orgSetting,
}

// flat are the views that are no security barriers. They are read in pages in the order of ids: behind a barrier each page would sort all that follow.
var flat = map[string]bool{filesOf("transcripts"): true, filesOf("tickets"): true}

// filesOf names in own the view of the files that rows of a table of Halo's name.
func filesOf(table string) string { return "public." + table + "_files" }

// filesView is a view of the files that rows name, for their inventory: of their messages it shows no more than that.
func filesView(table string) string {
	return `SELECT t.org_id, t.id, t.source_id, t.deleted_at, CASE WHEN jsonb_typeof(t.messages) = 'array' THEN
			(SELECT jsonb_agg(jsonb_build_object('id', m.value->'id', 'attachments', m.value->'attachments')) FROM jsonb_array_elements(t.messages) AS m(value)
			WHERE jsonb_typeof(m.value->'attachments') = 'array') END AS messages FROM public.` + table + ` t WHERE t.org_id = ` + orgSetting
}

func ownView(table string) string {
	_, name, _ := strings.Cut(table, ".")
	return "ingest.own_" + name
}

// From is under which name a query reads a table, given with its schema: its own, or in a scoped DB that of the view that stands for it there.
func (db *DB) From(table string) string {
	if _, ok := own[table]; ok && db.scoped {
		return ownView(table)
	}
	return table
}

// Scoped reports whether this is a DB of OpenScoped.
func (db *DB) Scoped() bool { return db.scoped }

// loadedByCopy are the tables of an organisation that have no policies for that reason; OrgRole has no rights to them.
var loadedByCopy = []string{"seen", "diff_findings"}

// rights are what OrgRole may do with this program's tables, in the rows of its organisation. ingest.keysets has one row for all, without which
// no secret can be sealed; FOR SHARE takes the right to update some column of it.
var rights = map[string][]string{
	"attachments":       {"SELECT"},
	"checkpoints":       {"SELECT"},
	"connection_drafts": {"SELECT", "INSERT", "UPDATE", "DELETE"},
	"connections":       {"SELECT", "INSERT", "UPDATE"},
	"diff_runs":         {"SELECT"},
	"id_map":            {"SELECT"},
	"keysets":           {"SELECT", "INSERT", "UPDATE (updated_at)"},
	"learning_rules":    {"SELECT"},
	"leases":            {"SELECT"},
	"pending_links":     {"SELECT"},
	"progress":          {"SELECT"},
	"rejects":           {"SELECT"},
	"runs":              {"SELECT"},
	"schedule":          {"SELECT"},
	"snapshot_files":    {"SELECT"},
	"webhook_inbox":     {"SELECT"},
}
