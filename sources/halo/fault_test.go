package halo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
)

// without are the entities that a diff of conversations alone leaves out.
var without = []string{"companies", "end_users", "tickets", "knowledge"}

// findings runs a diff and returns its report with what it found, as lines.
func findings(tb testing.TB, pool *pgxpool.Pool, left diff.Side, o diff.Options) (diff.Report, []string) {
	tb.Helper()
	right, err := Open(tb.Context(), pool, org)
	if err != nil {
		tb.Fatal(err)
	}
	defer right.Close(tb.Context())
	lines := []string{}
	o.Org, o.TempDir, o.Without = org, tb.TempDir(), without
	o.Findings = diff.FindingsFunc(func(_ context.Context, f diff.Finding, _, _ *diff.Object) error {
		line := fmt.Sprint(f.Class, " ", f.SourceID)
		for _, c := range f.Cells {
			line += " " + c.Column
		}
		if f.Class == diff.InFlight && f.Converged {
			line += " converged"
		}
		lines = append(lines, line)
		return nil
	})
	r, err := diff.Compare(tb.Context(), left, right, o)
	if err != nil {
		tb.Fatal(err)
	}
	slices.Sort(lines)
	return r, lines
}

func TestPlantedFaultsIn200000RowsAreFoundAllAndOnlyThey(t *testing.T) {
	pool := newDatabase(t)
	side := conversations{200_000}
	side.fill(t, pool)
	if r, lines := findings(t, pool, side, diff.Options{}); len(lines) > 0 || r.Verdict != diff.VerdictEqual {
		t.Fatalf("before any fault: %s: %v", r.Sentence, lines)
	}
	id := func(i int) string { return strconv.Itoa(215_000_000 + i) }
	// Five that change values and leave the stored hash alone, five deleted, five added: new ones, copies of others, one by hand.
	for i, set := range []string{`subject = 'Where is my order '`, `messages = jsonb_set(messages, '{1,text}', '"It is lost"')`, `metadata = metadata || '{"state": "closed"}'`,
		`started_at = started_at + interval '1 microsecond'`, `outcome = ''`} {
		exec(t, pool, `UPDATE transcripts SET `+set+` WHERE source_id = $1`, id(1000*i+7))
	}
	exec(t, pool, `DELETE FROM transcripts WHERE source_id = ANY ($1)`, []string{id(0), id(11), id(100_000), id(150_001), id(199_999)})
	columns := strings.Replace(benchList, "org_id, id, ", "", 1) + ", updated_at"
	exec(t, pool, `INSERT INTO transcripts (org_id, id, `+columns+`) SELECT org_id, gen_random_uuid(), `+columns+` FROM transcripts WHERE source_id IN ($1, $2)`, id(42), id(43))
	for _, added := range []string{"1", id(200_000)} {
		exec(t, pool, `INSERT INTO transcripts (org_id, id, `+columns+`) SELECT org_id, $2, `+strings.Replace(columns, "source_id", "$3::text", 1)+` FROM transcripts WHERE source_id = $1 LIMIT 1`,
			id(44), record.RowID(org, record.KindConversation, added).String(), added)
	}
	exec(t, pool, `INSERT INTO transcripts (org_id, id, source_id) VALUES ($1, gen_random_uuid(), 'by hand')`, org.String())
	// None of the tool's business: a row of Halo's own, and one of another organisation.
	exec(t, pool, `INSERT INTO transcripts (org_id, id) VALUES ($1, gen_random_uuid())`, org.String())
	exec(t, pool, `INSERT INTO transcripts (org_id, id, source_id) VALUES (gen_random_uuid(), gen_random_uuid(), $1)`, id(1))

	want := []string{"changed " + id(7) + " subject", "changed " + id(1007) + " messages", "changed " + id(2007) + " metadata", "changed " + id(3007) + " started_at",
		"changed " + id(4007) + " outcome", "missing " + id(0), "missing " + id(11), "missing " + id(100_000), "missing " + id(150_001), "missing " + id(199_999),
		"extra " + id(42), "extra " + id(43), "extra 1", "extra " + id(200_000), "extra by hand"}
	slices.Sort(want)
	for _, memory := range []int64{0, 4 << 20} {
		r, lines := findings(t, pool, side, diff.Options{Memory: memory})
		if d := cmp.Diff(want, lines); d != "" {
			t.Errorf("memory %d: findings (-planted +found):\n%s", memory, d)
		}
		c := r.Entities[0].Counts
		if r.Verdict != diff.VerdictDifferent || c.Missing != 5 || c.Extra != 5 || c.Changed != 5 || c.Matched != 199_990 || len(r.Notes) < 2 {
			t.Errorf("memory %d: %s: %+v %v", memory, r.Sentence, c, r.Notes)
		}
		if len(r.Entities[0].Samples) != 15 || memory > 0 && r.PeakSpill == 0 {
			t.Errorf("memory %d: %d samples, %d bytes spilled", memory, len(r.Entities[0].Samples), r.PeakSpill)
		}
	}
	// The stored hashes do not tell of values that were changed afterwards; level fast says so.
	r, lines := findings(t, pool, side, diff.Options{Level: diff.LevelFast})
	lines = slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "changed") })
	if len(lines) > 0 || !strings.Contains(strings.Join(r.Notes, " "), "Level fast") {
		t.Errorf("level fast: %v %v", lines, r.Notes)
	}
}

// shop is a left side that changes while it is compared.
type shop struct {
	mu      sync.Mutex
	changes map[string]record.Change
}

func (s *shop) side() *objects {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &objects{entity: "transcripts", moves: true, changes: maps.Clone(s.changes)}
}

// live is a shop as a side: read object by object, as it is at that moment.
type live struct {
	diff.Side
	shop *shop
}

func (l *live) Fetch(ctx context.Context, entity string, ids []string) ([]diff.Object, error) {
	return l.shop.side().Fetch(ctx, entity, ids)
}

func TestAWriterOf500RowsASecondMakesNoFalseDifference(t *testing.T) {
	pool := newDatabase(t)
	const n = 20_000
	side := conversations{n}
	side.fill(t, pool)
	var e record.Encoder
	s := &shop{changes: make(map[string]record.Change, n)}
	for i := range n {
		c := side.change(i, &e)
		s.changes[c.SourceID] = c
	}
	id := func(i int) string { return strconv.Itoa(215_000_000 + i) }
	// The writer changes every row whose number is not divisible by 10, so these are permanent.
	var want []string
	for i := range 5 {
		exec(t, pool, `UPDATE transcripts SET subject = 'tampered' WHERE source_id = $1`, id(1000*i))
		exec(t, pool, `DELETE FROM transcripts WHERE source_id = $1`, id(1000*i+10))
		s.mu.Lock()
		delete(s.changes, id(1000*i+20))
		s.mu.Unlock()
		want = append(want, "changed "+id(1000*i)+" subject", "missing "+id(1000*i+10), "extra "+id(1000*i+20))
	}
	slices.Sort(want)

	stop := make(chan struct{})
	var written int
	var wg sync.WaitGroup
	wg.Go(func() {
		var e record.Encoder
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for k := 0; ; k++ {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			var list []int
			for j := range 10 {
				written++
				list = append(list, 1+(k*10+j)*7%500*(n/500))
			}
			s.write(t, pool, side, list, &e)
		}
	})
	rounds := 3
	if long() {
		rounds = 100
	}
	converged := 0
	for i := 0; i < rounds || converged == 0 && i < 10*rounds; i++ {
		_, lines := findings(t, pool, &live{s.side(), s}, diff.Options{Pause: 50 * time.Millisecond, Grace: time.Second})
		confirmed := slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "in_flight") })
		converged += len(lines) - len(confirmed)
		if d := cmp.Diff(want, confirmed); d != "" {
			t.Errorf("confirmed (-planted +found):\n%s", d)
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d rows written, %d objects in flight", written, converged)
	if written < 100 || converged == 0 {
		t.Error("the writer was not in the way")
	}
}

// write changes conversations at the source, and a moment later in the table: most get a new state, some go and come again.
func (s *shop) write(t *testing.T, pool *pgxpool.Pool, side conversations, list []int, e *record.Encoder) {
	rows := make(map[string]*record.TranscriptRow) // nil: gone
	s.mu.Lock()
	for _, i := range list {
		if i%10 == 0 {
			continue
		}
		r := side.make(i, e)
		_, there := s.changes[r.SourceID]
		if i%3 == 0 && there {
			delete(s.changes, r.SourceID)
			rows[r.SourceID] = nil
			continue
		}
		now := time.Now().UTC().Truncate(time.Microsecond)
		r.SourceUpdatedAt, r.Subject = now, "changed "+now.String()
		r.Seal(e)
		s.changes[r.SourceID] = record.Change{Kind: record.KindConversation, SourceID: r.SourceID, Transcript: r, Version: record.Version{UpdatedAt: now, FetchedAt: now}}
		rows[r.SourceID] = r
	}
	s.mu.Unlock()
	time.Sleep(5 * time.Millisecond)
	for id, r := range rows {
		sql, args := `DELETE FROM transcripts WHERE org_id = $1 AND id = $2`, []any{org.String(), record.RowID(org, record.KindConversation, id).String()}
		if r != nil {
			sql = `INSERT INTO transcripts (org_id, id, source_id, subject, source_updated_at, updated_at, content_hash, session_id, messages, message_count, expected_message_count,
				complete, status, started_at, metadata) VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
				ON CONFLICT (org_id, id) DO UPDATE SET subject = $4, source_updated_at = $5, updated_at = $5, content_hash = $6`
			args = append(args, id, r.Subject, r.SourceUpdatedAt, r.Hash[:], r.SessionID, string(r.MessagesJSON), r.MessageCount, r.ExpectedMessageCount, r.Complete, r.Status,
				r.StartedAt, string(r.Metadata))
		}
		if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
			t.Error(err)
		}
	}
}
