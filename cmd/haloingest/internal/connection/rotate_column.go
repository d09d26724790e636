package connection

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// column is one that holds ciphertexts of the key set.
type column struct {
	table, name string
	owner       string // SQL: what secret.Place.Org is, from the row
}

// sealedColumns are all columns that hold ciphertexts of the key set: what is rotated. Every table has an org_id.
var sealedColumns = [...]column{
	{"ingest.connections", "token", "org_id::text"},
	{"ingest.connections", "webhook_secret", "org_id::text"},
	{"ingest.connections", previousSecret, "org_id::text"},
	{"ingest.connection_drafts", "token", "org_id::text || '/' || user_name"},
}

// SealedColumns are the columns that hold ciphertexts of the key set, each as schema.table.column.
func SealedColumns() []string {
	var list []string
	for _, c := range sealedColumns {
		list = append(list, c.table+"."+c.name)
	}
	return list
}

// keyOf is SQL for the prefix of a ciphertext, which tells its key; see secret.Prefix.
func (c column) keyOf() string { return "substring(" + c.name + " FROM 1 FOR 5)" }

// ciphertext is one that was read.
type ciphertext struct {
	Org    [16]byte
	Owner  string
	Sealed []byte
}

const page = 500

// foreign returns the next ciphertexts, in the order of owner and from after on, that the key with this prefix did not make.
func (c column) foreign(ctx context.Context, db querier, prefix []byte, after string) ([]ciphertext, error) {
	rows, err := db.Query(ctx, fmt.Sprintf(`SELECT org_id, %[1]s, %[2]s FROM %[3]s WHERE %[2]s IS NOT NULL AND %[4]s <> $1 AND %[1]s > $2 COLLATE "C"
		ORDER BY %[1]s COLLATE "C" LIMIT %[5]d`, c.owner, c.name, c.table, c.keyOf(), page), prefix, after)
	if err != nil {
		return nil, fmt.Errorf("read %s.%s: %w", c.table, c.name, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ciphertext])
	if err != nil {
		return nil, fmt.Errorf("read %s.%s: %w", c.table, c.name, err)
	}
	return list, nil
}

// counts says how many ciphertexts there are by the id of their key.
func counts(ctx context.Context, db querier) (map[uint32]int64, error) {
	found := map[uint32]int64{}
	for _, c := range sealedColumns {
		rows, err := db.Query(ctx, fmt.Sprintf(`SELECT %[1]s, count(*) FROM %[2]s WHERE %[3]s IS NOT NULL GROUP BY 1`, c.keyOf(), c.table, c.name))
		if err != nil {
			return nil, fmt.Errorf("count %s.%s: %w", c.table, c.name, err)
		}
		var prefix []byte
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&prefix, &n}, func() error {
			found[keyID(prefix)] += n
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("count %s.%s: %w", c.table, c.name, err)
		}
	}
	return found, nil
}

// keyID is the key that a ciphertext says to be of; 0 where it is none of Tink's.
func keyID(sealed []byte) uint32 {
	if len(sealed) < 5 || sealed[0] != 1 {
		return 0
	}
	return binary.BigEndian.Uint32(sealed[1:])
}

// wholeView refuses a role that does not see all organisations.
func wholeView(ctx context.Context, db rower) error {
	var part bool
	err := db.QueryRow(ctx, `SELECT `+rowSecurity).Scan(&part)
	if err == nil && part {
		err = ErrPart
	}
	return err
}

// rower is a pool or a transaction.
type rower interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}
