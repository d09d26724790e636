package halo

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// TestTheHashOfARowIsThatOfItsObject is what makes a diff fast: rows as they should be are known by their hashes, and nothing is fetched.
func TestTheHashOfARowIsThatOfItsObject(t *testing.T) {
	pool := newDatabase(t)
	for _, entity := range diff.Entities {
		p := &pairs{Rand: rand.New(rand.NewPCG(7, 7)), org: org}
		want := make(map[string]record.Fingerprint)
		var rows, bound []row
		for i := range 300 {
			id := fmt.Sprint(i)
			c, made := p.object(entity, id)
			f, ok := c.Fingerprint(), true
			if entity == "knowledge" {
				f, _ = c.KnowledgeFingerprint()
				f.UpdatedAt, f.FetchedAt, ok = 0, 0, len(made) > 0
			}
			if ok {
				want[id] = f
			}
			rows = append(rows, made...)
			if entity == "end_users" || entity == "companies" {
				bound = append(bound, bind(made[0], entity, made[0]))
			}
		}
		insert(t, pool, pgx.Identifier{"public", entity}, rows, "source_company_ids", "last_request_at")
		insert(t, pool, pgx.Identifier{"ingest", "id_map"}, bound)
		side, err := Open(t.Context(), pool, org)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]record.Fingerprint)
		for batch, err := range side.Fingerprints(t.Context(), entity, diff.LevelFull) {
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range batch {
				if f.State == record.FingerprintDoubtful {
					continue // the links are not what this is about
				}
				f.SourceID = strings.Clone(f.SourceID) // which is the batch's
				old := got[f.SourceID]
				f.Hash, f.Count = f.Hash.Plus(old.Hash), f.Count+old.Count
				got[f.SourceID] = f
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: fingerprints (-of the objects +of the rows):\n%.2000s", entity, d)
		}
		if n, exact, err := side.Count(t.Context(), entity); err != nil || n != int64(len(want)) {
			t.Errorf("%s: counted %d (exact: %v), want %d: %v", entity, n, exact, len(want), err)
		}
		if err := side.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
