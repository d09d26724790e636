package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// written says which columns of Halo's tables this program writes, and with which type. Rows go there by binary COPY, so a column of another type
// would be read as garbage or refused in mid-run.
var written = map[string]map[string]string{
	"end_users": columns(`external_id text, source text, company_id uuid, name text, email text, avatar text, role text, signed_up_at timestamptz,
		first_seen timestamptz, last_seen timestamptz, last_contacted_at timestamptz, custom_fields jsonb, context jsonb`),
	"companies": columns(`external_id text, source text, name text, domain text, industry text, plan text, employee_count int4,
		signed_up_at timestamptz, custom_fields jsonb, context jsonb`),
	"transcripts": columns(`end_user_id uuid, company_id uuid, session_id text, subject text, messages jsonb, message_count int4,
		expected_message_count int4, complete bool, status text, outcome text, started_at timestamptz, ended_at timestamptz, metadata jsonb,
		knowledge_hash bytea`),
	"tickets": columns(`end_user_id uuid, company_id uuid, transcript_id uuid, ticket_number text, subject text, message text, status text,
		priority text, category text, assignee text, messages jsonb, resolved_at timestamptz, metadata jsonb`),
	"knowledge": columns(`key text, kind text, parent_id uuid, chunk_index int4, title text, content text, end_user_id uuid, company_id uuid,
		transcript_id uuid, source_message_ids _text, metadata jsonb`),
}

// columns reads "name type, ..." and adds what all tables have.
func columns(list string) map[string]string {
	list += `, org_id uuid, id uuid, source_id text, source_updated_at timestamptz, content_hash bytea, run_id uuid,
		created_at timestamptz, updated_at timestamptz, deleted_at timestamptz`
	m := make(map[string]string)
	for entry := range strings.SplitSeq(list, ",") {
		name, kind, _ := strings.Cut(strings.TrimSpace(entry), " ")
		m[name] = kind
	}
	return m
}

// checkTables compares Halo's tables with what this program writes: Halo may have made them, and may change them.
func (db *DB) checkTables(ctx context.Context) error {
	// A domain counts as what it is made of. An enum takes a text in COPY, and so do varchar and citext.
	rows, err := db.pool.Query(ctx, `SELECT c.relname::text, a.attname::text,
			CASE WHEN t.typtype = 'e' OR t.typname IN ('varchar', 'bpchar', 'citext') THEN 'text' ELSE t.typname::text END,
			a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = '', a.attgenerated <> ''
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			JOIN pg_type d ON d.oid = a.atttypid
			JOIN pg_type t ON t.oid = CASE WHEN d.typtype = 'd' THEN d.typbasetype ELSE d.oid END
		WHERE c.relkind IN ('r', 'p') AND c.relname = ANY ($1)`, slices.Sorted(maps.Keys(written)))
	if err != nil {
		return err
	}
	have := make(map[string]map[string]string)
	var wrong []string
	var table, column, kind string
	var needed, generated bool
	_, err = pgx.ForEachRow(rows, []any{&table, &column, &kind, &needed, &generated}, func() error {
		if have[table] == nil {
			have[table] = make(map[string]string)
		}
		have[table][column] = kind
		want, ours := written[table][column]
		switch {
		case !ours && needed:
			wrong = append(wrong, fmt.Sprintf("%s.%s is NOT NULL without a default and this program has nothing to put there", table, column))
		case ours && generated:
			wrong = append(wrong, fmt.Sprintf("%s.%s is generated", table, column))
		case ours && kind != want:
			wrong = append(wrong, fmt.Sprintf("%s.%s is %s instead of %s", table, column, kind, want))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for table, columns := range written {
		for column := range columns {
			switch {
			case have[table] == nil:
				wrong = append(wrong, fmt.Sprintf("table %s is missing", table))
			case have[table][column] == "":
				wrong = append(wrong, fmt.Sprintf("%s.%s is missing", table, column))
			}
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("%w: %s", ErrSchema, strings.Join(slices.Compact(wrong), "; "))
}
