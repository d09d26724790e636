package access

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/pipeline/record"
)

// Entry is one record of what somebody did.
type Entry struct {
	ID      int64             `json:"id"`
	At      time.Time         `json:"at"`
	Org     record.UUID       `json:"org"` // zero: it concerns none, or all
	Who     string            `json:"who"`
	Action  string            `json:"action"`
	Detail  map[string]string `json:"detail,omitempty"`
	Address string            `json:"address,omitempty"` // "": not over the web
}

// execer is a pool, a connection or a transaction.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// nobody is who acts where nobody is signed in.
const nobody = "nobody"

// writeAudit records what the identity of ctx has done, where db is a transaction together with it.
func writeAudit(ctx context.Context, db execer, org record.UUID, action string, detail map[string]string) error {
	who := Of(ctx)
	name := record.CleanText(who.Name)
	if name == "" {
		name = nobody
	}
	clean := make(map[string]string, len(detail))
	for k, v := range detail {
		clean[record.CleanText(k)] = record.CleanText(v)
	}
	doc, err := json.Marshal(clean)
	if err != nil {
		return err
	}
	address := ""
	if a := addressOf(ctx); a.IsValid() {
		address = a.String()
	}
	_, err = db.Exec(ctx, `INSERT INTO ingest.audit (org_id, user_id, who, action, detail, address) VALUES ($1, $2, $3, $4, $5, $6)`,
		orNull(org), orNull(who.User), name, record.CleanText(action), string(doc), address)
	return err
}

// orNull is how the zero UUID is stored.
func orNull(id record.UUID) *[16]byte {
	if id.IsZero() {
		return nil
	}
	return (*[16]byte)(&id)
}

// audits lists the newest records that are older than the one with the number before (0: all), of one organisation or, with all, of everything.
func audits(ctx context.Context, pool *pgxpool.Pool, org record.UUID, all bool, before int64, limit int) ([]Entry, error) {
	rows, err := pool.Query(ctx, `SELECT id, at, org_id, who, action, detail, address FROM ingest.audit
		WHERE ($1 OR org_id = $2) AND ($3 = 0 OR id < $3) ORDER BY id DESC LIMIT $4`, all, org, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list the audit log: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Entry, err error) {
		var of *[16]byte
		var detail []byte
		if err := row.Scan(&e.ID, &e.At, &of, &e.Who, &e.Action, &detail, &e.Address); err != nil {
			return e, err
		}
		if of != nil {
			e.Org = *of
		}
		e.At = e.At.UTC()
		return e, json.Unmarshal(detail, &e.Detail)
	})
	if err != nil {
		return nil, fmt.Errorf("list the audit log: %w", err)
	}
	return list, nil
}
