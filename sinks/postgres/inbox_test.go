package postgres

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Every hour the few deliveries that were done long ago are looked for among all that are kept, in any state.
func TestOldDeliveriesAreFoundWithoutReadingTheInbox(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	// A minute apart: 3,000 done, 3,000 open.
	execute(t, db, `INSERT INTO ingest.webhook_inbox (org_id, notification_id, topic, body, received_at, done_at)
		SELECT $1, 'n' || i, 'conversation.user.replied', '{}', now() - i * interval '1 min', CASE WHEN i % 2 = 0 THEN now() - i * interval '1 min' END FROM generate_series(1, 6000) i`, orgA)
	execute(t, db, `ANALYZE ingest.webhook_inbox`)
	before := time.Now().Add(-5901 * time.Minute)
	plan := func(sql string, args ...any) string {
		t.Helper()
		rows, err := db.pool.Query(t.Context(), "EXPLAIN "+sql, args...)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	generic := strings.ReplaceAll(pruneDeliveries, "$1", "(SELECT "+literal(before.Format(time.RFC3339Nano))+"::timestamptz)") // a value that the planner does not know
	for what, text := range map[string]string{"this time": plan(pruneDeliveries, before), "any time": plan(generic)} {
		if strings.Contains(text, "Seq Scan") || !strings.Contains(text, "webhook_inbox_done") {
			t.Errorf("%s:\n%s", what, text)
		}
	}
	n, err := db.PruneDeliveries(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	left := one[string](t, db, `SELECT count(*) FILTER (WHERE done_at IS NOT NULL) || ' done, ' || count(*) FILTER (WHERE done_at IS NULL) || ' open' FROM ingest.webhook_inbox`)
	if got := fmt.Sprintf("%d forgotten; %s", n, left); got != "50 forgotten; 2950 done, 3000 open" {
		t.Error(got)
	}
	if n, err := db.PruneDeliveries(t.Context(), before); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}
