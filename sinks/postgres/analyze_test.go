package postgres

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

func TestTablesAreAnalysedWhileAFirstBackfillFillsThemAndNotBySmallSyncs(t *testing.T) {
	x := newLoading(t)
	next := 0
	load := func(x *loading, n int) {
		t.Helper()
		var batch []record.Change
		for range n {
			batch = append(batch, contactChange(orgA, fmt.Sprint("c", next), 1, nil))
			next++
		}
		x.commit(batch...)
	}
	known := func() []string {
		t.Helper()
		return x.table(`SELECT c.reltuples::bigint FROM unnest('{public.end_users,ingest.id_map}'::text[]) WITH ORDINALITY AS t(name, i)
			JOIN pg_class c ON c.oid = to_regclass(t.name) ORDER BY t.i`)
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, known()); diff != "" {
			t.Errorf("rows that the server knows of %s (-want +got):\n%s", what, diff)
		}
	}
	expect("before", "(-1)", "(-1)")
	load(x, 20)
	expect("after the first batch", "(20)", "(20)")
	load(x, 100)
	expect("after less than ten times as much", "(20)", "(20)")
	load(x, 100)
	expect("after ten times as much", "(220)", "(220)")
	load(loadingOn(t, x.db, x.lease, "sync"), 30)
	expect("after a sync that is small beside the tables", "(220)", "(220)")
}
