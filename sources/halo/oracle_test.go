package halo

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

func long() bool { return os.Getenv("HALOINGEST_PROOF") == "long" }

// objects is a left side in memory.
type objects struct {
	entity  string
	changes map[string]record.Change
	moves   bool
}

func (o *objects) Name() string { return "snapshot:test" }
func (o *objects) Moves() bool  { return o.moves }

func (o *objects) Fingerprints(_ context.Context, entity string, _ diff.Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		var batch []record.Fingerprint
		for _, c := range o.changes {
			f, ok := c.Fingerprint(), entity == o.entity
			if entity == "knowledge" && ok {
				f, ok = c.KnowledgeFingerprint()
			}
			if !ok {
				continue
			}
			if batch = append(batch, f); len(batch) == 1000 {
				if !yield(batch, nil) {
					return
				}
				batch = batch[:0]
			}
		}
		yield(batch, nil)
	}
}

func (o *objects) Fetch(_ context.Context, _ string, ids []string) ([]diff.Object, error) {
	var list []diff.Object
	for _, id := range ids {
		if c, ok := o.changes[id]; ok {
			list = append(list, diff.Object{SourceID: id, Version: c.Version, Change: c})
		}
	}
	return list, nil
}

// insert copies rows, which have the same columns.
func insert(tb testing.TB, pool *pgxpool.Pool, table pgx.Identifier, rows []row, without ...string) {
	tb.Helper()
	if len(rows) == 0 {
		return
	}
	var columns []string
	for c := range rows[0] {
		if !slices.Contains(without, c) {
			columns = append(columns, c)
		}
	}
	_, err := pool.CopyFrom(tb.Context(), table, columns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		values := make([]any, len(columns))
		for j, c := range columns {
			values[j] = rows[i][c]
		}
		return values, nil
	}))
	if err != nil {
		tb.Fatalf("fill %v: %v", table, err)
	}
}

// pairTables are the tables of one entity that all pairs share, each pair as an organisation of its own: left in a table that only the oracle
// reads, right in Halo's.
func newPairs(tb testing.TB, pool *pgxpool.Pool, entity string, n int) (orgs []record.UUID, sides []*objects) {
	exec(tb, pool, `DROP TABLE IF EXISTS l; CREATE TABLE l AS SELECT * FROM public.`+entity+` WITH NO DATA; TRUNCATE end_users, companies, transcripts, tickets, knowledge, ingest.id_map`)
	exec(tb, pool, `ALTER TABLE l ADD source_company_ids text[], ADD last_request_at timestamptz`)
	rng := rand.New(rand.NewPCG(uint64(len(entity)), uint64(n)))
	var left, right, bound []row
	person := entity == "end_users" || entity == "companies"
	for i := range n {
		p := &pairs{Rand: rng, org: record.UUID{byte(i >> 16), byte(i >> 8), byte(i), 6: 0x40, 8: 0x80, 15: 1}}
		side := &objects{entity: entity, changes: make(map[string]record.Change)}
		for j := range p.IntN(7) {
			id := fmt.Sprint(100 + j)
			c, rows := p.object(entity, id)
			added := p.IntN(8) == 0 // it is on the right only
			if !added {
				side.changes[id] = c
				left = append(left, rows...)
			}
			for _, r := range rows {
				keep := r
				if c := p.IntN(10); c == 0 && !added {
					if person && p.IntN(2) == 0 {
						bound = append(bound, bind(keep, entity, r))
					}
					continue // deleted
				}
				r = cloneRow(r)
				for range p.IntN(3) * p.IntN(2) {
					p.tamper(entity, r)
				}
				if person {
					b := bind(keep, entity, r)
					if !added || p.IntN(2) == 0 {
						bound = append(bound, b)
					}
				}
				if !person && p.IntN(15) == 0 {
					double := cloneRow(r)
					double["id"] = record.UUID{byte(i), byte(j), 3, 4, 5, 6, 7, byte(i >> 8), 15: byte(len(right))}.String()
					right = append(right, double)
				}
				if p.IntN(15) == 0 {
					own := cloneRow(r)
					own["id"], own["source_id"], own["content_hash"] = record.UUID{byte(i), byte(j), 9, byte(i >> 8), 15: byte(len(right))}.String(), nil, nil
					if _, there := own["external_id"]; there {
						own["external_id"] = nil
					}
					right = append(right, own)
				}
				right = append(right, r)
			}
		}
		orgs, sides = append(orgs, p.org), append(sides, side)
	}
	insert(tb, pool, pgx.Identifier{"l"}, left)
	insert(tb, pool, pgx.Identifier{"public", entity}, right, "source_company_ids", "last_request_at")
	insert(tb, pool, pgx.Identifier{"ingest", "id_map"}, bound)
	return orgs, sides
}

func cloneRow(r row) row {
	c := make(row, len(r))
	for k, v := range r {
		c[k] = v
	}
	return c
}

// bind is the identity map's entry of an object, as it was loaded.
func bind(loaded row, entity string, r row) row {
	b := row{"org_id": r["org_id"], "kind": string(diff.Kind(entity)), "source_id": loaded["source_id"], "row_id": r["id"], "reason": "created",
		"source_updated_at": loaded["source_updated_at"], "fetched_at": fetched, "content_hash": loaded["content_hash"], "companies": []string{}, "last_request_at": nil}
	if c := loaded["source_company_ids"]; c != nil {
		b["companies"] = c
	}
	if t := loaded["last_request_at"]; t != nil {
		b["last_request_at"] = t
	}
	return b
}

// oracleSQL compares the two tables in plain SQL: one line for each object, or row of knowledge, that differs.
func oracleSQL(entity string) string {
	var cases []string
	person := entity == "end_users" || entity == "companies"
	for _, spec := range diff.Columns(entity) {
		l, r := "l."+spec.Name, "r."+spec.Name
		differs := l + " IS DISTINCT FROM " + r
		switch spec.Name {
		case "source_company_ids", "last_request_at", "source_conversation_id":
			continue // not the table's
		}
		if person && (spec.Name == "custom_fields" || spec.Name == "context") {
			differs = "(jsonb_typeof(" + r + ") <> 'object' OR EXISTS (SELECT FROM jsonb_each(" + l + ") x WHERE (CASE WHEN jsonb_typeof(" + r + ") = 'object' THEN " + r + " END)->x.key IS DISTINCT FROM x.value))"
			if spec.Name == "context" {
				differs += " OR EXISTS (SELECT FROM jsonb_object_keys(CASE WHEN jsonb_typeof(" + r + ") = 'object' THEN " + r + " ELSE '{}' END) k WHERE starts_with(k, 'intercom_') AND NOT " + l + " ? k)"
			}
		}
		cases = append(cases, "CASE WHEN "+differs+" THEN '"+spec.Name+"' END")
	}
	for _, name := range diff.LinkColumns(entity) {
		cases = append(cases, "CASE WHEN r."+name+" IS NOT NULL AND '"+entity+"' <> 'knowledge' THEN '"+name+"' END")
	}
	columns := "array_to_string(ARRAY[" + strings.Join(cases, ", ") + "], ' ')"
	live := "SELECT * FROM public." + entity + " WHERE source_id IS NOT NULL AND deleted_at IS NULL"
	if entity != "knowledge" {
		return `SELECT o, line FROM (SELECT coalesce(l.org_id, r.org_id)::text AS o, CASE WHEN r.id IS NULL THEN 'missing ' || l.source_id
			WHEN l.id IS NULL THEN 'extra ' || r.source_id ELSE 'changed ' || l.source_id || ' ' || ` + columns + ` END AS line, l.id IS NOT NULL AND r.id IS NOT NULL AND ` + columns + ` = '' AS same
			FROM l FULL JOIN (` + live + `) r ON r.org_id = l.org_id AND r.id = l.id AND r.source_id = l.source_id) x WHERE NOT same`
	}
	return `WITH here AS (SELECT r.*, EXISTS (SELECT FROM ids WHERE ids.id = r.id) AS home FROM (` + live + `) r),
		l2 AS (SELECT org_id, source_id, count(*) AS n FROM l GROUP BY 1, 2), r2 AS (SELECT org_id, source_id, count(*) AS n FROM here WHERE home GROUP BY 1, 2)
		SELECT org_id::text, 'extra ' || source_id FROM here WHERE NOT home
		UNION ALL SELECT l2.org_id::text, 'missing ' || source_id FROM l2 LEFT JOIN r2 USING (org_id, source_id) WHERE r2.n IS NULL
		UNION ALL SELECT r2.org_id::text, 'extra ' || source_id FROM r2 LEFT JOIN l2 USING (org_id, source_id) WHERE l2.n IS NULL
		UNION ALL SELECT o, line FROM (SELECT coalesce(l.org_id, r.org_id)::text AS o, 'changed ' || coalesce(l.source_id, r.source_id) || ' ' || coalesce(l.id, r.id) ||
				CASE WHEN l.id IS NOT NULL AND r.id IS NOT NULL THEN ' ' || ` + columns + ` ELSE '' END AS line, coalesce(l.source_id, r.source_id) AS sid, coalesce(l.org_id, r.org_id) AS org,
				l.id IS NOT NULL AND r.id IS NOT NULL AND ` + columns + ` = '' AS same
			FROM l FULL JOIN (SELECT * FROM here WHERE home) r ON r.org_id = l.org_id AND r.id = l.id) x
			WHERE NOT same AND EXISTS (SELECT FROM l2 WHERE l2.org_id = x.org AND l2.source_id = x.sid) AND EXISTS (SELECT FROM r2 WHERE r2.org_id = x.org AND r2.source_id = x.sid)`
}

func TestRandomPairsDifferAsPlainSQLSays(t *testing.T) {
	pool := newDatabase(t)
	each := 150
	if long() {
		each = 2000
	}
	classes := make(map[diff.Class]int)
	for _, entity := range diff.Entities {
		orgs, sides := newPairs(t, pool, entity, each)
		if entity == "knowledge" {
			exec(t, pool, `DROP TABLE IF EXISTS ids; CREATE TABLE ids (id uuid)`)
			exec(t, pool, `INSERT INTO ids SELECT DISTINCT id FROM public.knowledge WHERE source_id IS NOT NULL AND substr(id::text, 15, 1) = '5'`)
		}
		exec(t, pool, `ANALYZE`)
		rows, err := pool.Query(t.Context(), oracleSQL(entity))
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[string][]string)
		var o, line string
		if _, err := pgx.ForEachRow(rows, []any{&o, &line}, func() error { want[o] = append(want[o], line); return nil }); err != nil {
			t.Fatal(err)
		}
		for i, org := range orgs {
			got := compareOne(t, pool, org, sides[i], classes)
			slices.Sort(want[org.String()])
			if d := cmp.Diff(want[org.String()], got); d != "" {
				t.Fatalf("%s, pair %d: findings (-plain SQL +diff):\n%s", entity, i, d)
			}
		}
	}
	t.Log(classes)
	for _, c := range []diff.Class{diff.Missing, diff.Extra, diff.Changed} {
		if classes[c] < each/4 {
			t.Errorf("only %d of %s in all pairs", classes[c], c)
		}
	}
}

// compareOne compares one organisation and returns the findings as lines.
func compareOne(t *testing.T, pool *pgxpool.Pool, org record.UUID, left *objects, classes map[diff.Class]int) []string {
	t.Helper()
	right, err := Open(t.Context(), pool, org)
	if err != nil {
		t.Fatal(err)
	}
	defer right.Close(t.Context())
	var got []string
	var without []string
	for _, e := range diff.Entities {
		if e != left.entity {
			without = append(without, e)
		}
	}
	_, err = diff.Compare(t.Context(), left, right, diff.Options{Org: org, Without: without, Findings: diff.FindingsFunc(func(_ context.Context, f diff.Finding, _, _ *diff.Object) error {
		classes[f.Class]++
		line := fmt.Sprint(f.Class, " ", f.SourceID)
		if left.entity == "knowledge" && f.Class == diff.Changed {
			line += " " + f.RowID
		}
		for _, c := range f.Cells {
			line += " " + c.Column
		}
		got = append(got, line)
		return nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}
