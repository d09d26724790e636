package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

// family is one object of each kind, linked to the others.
func family(org record.UUID, n int) []record.Change {
	return []record.Change{
		companyChange(org, "co1", n, func(r *record.CompanyRow) { r.ExternalID = "acme" }),
		contactChange(org, "c1", n, func(r *record.EndUserRow) {
			r.ExternalID, r.Email, r.Companies = "u1", "A@x.org ", []string{"co1"}
		}),
		conversationChange(org, "v1", "c1", n, []string{"one", "two"}, nil),
		ticketChange(org, "t1", "c1", n, func(r *record.TicketRow) { r.ConversationID = "v1" }),
	}
}

func wantCounts(t *testing.T, what string, got pipeline.Counts, want pipeline.Counts) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts of %s (-want +got):\n%s", what, diff)
	}
}

func TestABatchOfAllKindsLandsLinkedAndASecondOneWritesNothing(t *testing.T) {
	x := newLoading(t)
	wantCounts(t, "the first run", x.commit(family(orgA, 1)...), pipeline.Counts{
		"load/companies/inserted": 1, "load/end_users/inserted": 1, "load/transcripts/inserted": 1, "load/tickets/inserted": 1, "load/knowledge/inserted": 2})
	rows := x.table(`SELECT u.external_id, u.source, u.email, c.external_id AS company, c.source, v.subject, v.company_id = c.id, k.transcript_id = v.id,
			t.transcript_id = v.id, t.company_id = c.id, count(k.id), u.created_at = $1, v.updated_at = $2
		FROM end_users u JOIN companies c ON c.id = u.company_id JOIN transcripts v ON v.end_user_id = u.id JOIN tickets t ON t.end_user_id = u.id
			JOIN knowledge k ON k.end_user_id = u.id AND k.company_id = c.id
		GROUP BY u.external_id, u.source, u.email, c.external_id, c.source, v.subject, v.company_id, c.id, k.transcript_id, v.id, t.transcript_id, t.company_id, u.created_at, v.updated_at`,
		at(0), at(100_001))
	if diff := cmp.Diff([]string{`(u1,intercom,"A@x.org ",acme,intercom,"v1 v1",t,t,t,t,2,t,t)`}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	wantCounts(t, "the second run", x.commit(family(orgA, 1)...), pipeline.Counts{
		"load/companies/equal": 1, "load/end_users/equal": 1, "load/transcripts/equal": 1, "load/tickets/equal": 1})
	wantCounts(t, "a newer state", x.commit(family(orgA, 2)...), pipeline.Counts{
		"load/companies/updated": 1, "load/end_users/updated": 1, "load/transcripts/updated": 1, "load/tickets/updated": 1, "load/knowledge/updated": 2})
	wantCounts(t, "an older state", x.commit(family(orgA, 1)...), pipeline.Counts{
		"load/companies/stale": 1, "load/end_users/stale": 1, "load/transcripts/stale": 1, "load/tickets/stale": 1})
}

func TestASecondRunOverAnUnchangedWorkspaceWritesNoTupleAndLocksNoRow(t *testing.T) {
	// A server's WAL is that of all its databases, so this test needs one of its own.
	db := openURL(t, pgtest.Private(t).URL())
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := loadingOn(t, db, acquire(t, db, orgA), "all")
	var batch []record.Change
	for i := range 400 {
		contact := fmt.Sprint("c", i%50)
		switch {
		case i < 20:
			batch = append(batch, companyChange(orgA, fmt.Sprint("co", i), 1, nil))
		case i < 100:
			batch = append(batch, contactChange(orgA, fmt.Sprint("c", i), 1, func(r *record.EndUserRow) {
				// Some share a row, and some have several companies.
				r.Email, r.Companies = fmt.Sprintf("p%d@x.org", i/2), []string{fmt.Sprint("co", i%20), fmt.Sprint("co", i%7)}
			}))
		case i < 350:
			// Some wait for a contact that never comes, some are longer than Intercom tells.
			batch = append(batch, conversationChange(orgA, fmt.Sprint("v", i), contact, 1, []string{"one", "two"}, func(r *record.TranscriptRow) {
				if i%10 == 0 {
					setMessages(r, messages(0, 500))
				}
			}))
		default:
			batch = append(batch, ticketChange(orgA, fmt.Sprint("t", i), contact, 1, func(r *record.TicketRow) { r.ConversationID = fmt.Sprint("v", i-100) }))
		}
	}
	x.commit(batch...)
	for i := range batch { // the long ones have grown, and Intercom gives the newest 500 parts
		if i >= 100 && i < 350 && i%10 == 0 {
			batch[i] = conversationChange(orgA, fmt.Sprint("v", i), fmt.Sprint("c", i%50), 2, []string{"one", "two"}, func(r *record.TranscriptRow) {
				r.ExpectedMessageCount = 700
				setMessages(r, messages(150, 650))
			})
		}
	}
	x.commit(batch...)
	x.commit(batch...) // plans, catalogs
	// Figures of other sessions arrive with delay; a session's own are in its transaction.
	type figures struct{ tuples, wal int64 }
	measure := func() (f figures) {
		x.exec(`SELECT pg_stat_force_next_flush()`)
		if _, err := x.sink.session.conn.Exec(t.Context(), `SELECT pg_stat_force_next_flush()`); err != nil {
			t.Fatal(err)
		}
		err := x.db.Pool().QueryRow(t.Context(), `SELECT (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables
				WHERE schemaname IN ('public', 'ingest') AND relname NOT IN ('checkpoints', 'leases'))::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&f.tuples, &f.wal)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	const locked = `SELECT relname FROM (SELECT 'transcripts' AS relname, xmax FROM transcripts UNION ALL SELECT 'tickets', xmax FROM tickets
		UNION ALL SELECT 'end_users', xmax FROM end_users UNION ALL SELECT 'companies', xmax FROM companies UNION ALL SELECT 'knowledge', xmax FROM knowledge
		UNION ALL SELECT 'id_map', xmax FROM ingest.id_map) a WHERE xmax::text::bigint >= $1`
	var xid int64
	if err := x.db.Pool().QueryRow(t.Context(), `SELECT pg_current_xact_id()::text::bigint`).Scan(&xid); err != nil {
		t.Fatal(err)
	}
	before := measure()
	counts := x.commit(batch...)
	after := measure()
	for name := range counts {
		if !strings.HasSuffix(name, "/equal") {
			t.Errorf("a run over an unchanged workspace counts %s", name)
		}
	}
	if after.tuples != before.tuples {
		t.Errorf("%d tuples were written", after.tuples-before.tuples)
	}
	if per := float64(after.wal-before.wal) / float64(len(batch)); per >= 100 {
		t.Errorf("%.0f bytes of WAL per object", per)
	}
	if rows := x.table(locked, xid); len(rows) > 0 {
		t.Errorf("rows were locked: %v", rows)
	}
}

func TestAPoisonRowIsRejectedAndTheRestOfTheBatchLoads(t *testing.T) {
	tests := []struct {
		name          string
		change        func() record.Change
		field, reason string
	}{
		{"a message that is no JSON", func() record.Change {
			return conversationChange(orgA, "bad", "c3", 1, []string{"k"}, func(r *record.TranscriptRow) { r.MessagesJSON = json.RawMessage(`[{"secret`) })
		}, "messages", "invalid input syntax for type json (SQLSTATE 22P02)"},
		{"a NUL in a text", func() record.Change {
			return contactChange(orgA, "bad", 1, func(r *record.EndUserRow) { r.Name = "a\x00b" })
		}, "name", `invalid byte sequence for encoding "UTF8": 0x00 (SQLSTATE 22021)`},
		{"bad UTF-8 in an external id, which is looked up before it is written", func() record.Change {
			return contactChange(orgA, "bad", 1, func(r *record.EndUserRow) { r.ExternalID = "a\xffb" })
		}, "", `invalid byte sequence for encoding "UTF8": 0xff (SQLSTATE 22021)`},
		{"an external id that no index takes", func() record.Change {
			return companyChange(orgA, "bad", 1, func(r *record.CompanyRow) { r.ExternalID = noise(6000) })
		}, "", ""},
		{"a time beyond the calendar", func() record.Change {
			return ticketChange(orgA, "bad", "c1", 1, func(r *record.TicketRow) { r.ResolvedAt = time.Date(294277, 1, 1, 0, 0, 0, 0, time.UTC) })
		}, "resolved_at", "the year 294277 is out of range"},
		{"more employees than an integer holds", func() record.Change {
			return companyChange(orgA, "bad", 1, func(r *record.CompanyRow) { r.EmployeeCount = math.MaxInt32 + 1 })
		}, "employee_count", "2147483648 is out of range"},
		{"knowledge that is no JSON", func() record.Change {
			c := conversationChange(orgA, "bad", "c1", 1, []string{"k"}, nil)
			c.Knowledge[0].Metadata = json.RawMessage(`{"`)
			return c
		}, "metadata", "invalid input syntax for type json (SQLSTATE 22P02)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newLoading(t)
			var batch []record.Change
			for i := range 7 {
				batch = append(batch, contactChange(orgA, fmt.Sprint("c", i), 1, nil), conversationChange(orgA, fmt.Sprint("v", i), fmt.Sprint("c", i), 1, []string{"k"}, nil))
			}
			bad := tt.change()
			batch = append(batch[:5:5], append([]record.Change{bad}, batch[5:]...)...)
			counts := x.commit(batch...)
			want := pipeline.Counts{"load/end_users/inserted": 7, "load/transcripts/inserted": 7, "load/knowledge/inserted": 7, "load/" + bad.Kind.Table() + "/rejected": 1}
			wantCounts(t, "the batch", counts, want)
			info, payload := x.onlyReject()
			if info.Stage != "load" || info.Kind != string(bad.Kind) || info.SourceID != "bad" || info.Field != tt.field || string(payload) != string(bad.Object.Body) {
				t.Errorf("reject: %+v, payload %s", info, payload)
			}
			if tt.reason != "" && info.Reason != tt.reason {
				t.Errorf("reason: %q, want %q", info.Reason, tt.reason)
			}
			if strings.Contains(info.Reason, "secret") {
				t.Errorf("the reason quotes the row: %q", info.Reason)
			}
			if n := x.table(`SELECT count(*) FROM transcripts v JOIN knowledge k ON k.transcript_id = v.id WHERE v.end_user_id = k.end_user_id`); n[0] != "(7)" {
				t.Errorf("%s linked conversations have knowledge", n[0])
			}
		})
	}
}

func (x *loading) onlyReject() (RejectInfo, []byte) {
	x.tb.Helper()
	var all []RejectInfo
	for r, err := range x.db.Rejects(x.tb.Context(), x.lease.org, RejectFilter{}) {
		if err != nil {
			x.tb.Fatal(err)
		}
		all = append(all, r)
	}
	if len(all) != 1 {
		x.tb.Fatalf("%d rejects: %+v", len(all), all)
	}
	info, payload, err := x.db.Reject(x.tb.Context(), x.lease.org, all[0].ID)
	if err != nil {
		x.tb.Fatal(err)
	}
	return info, payload
}

func noise(n int) string {
	p := newProse(7)
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%x", p.rand.Uint64())
	}
	return b.String()
}

func TestATableThatTakesNothingStopsTheRun(t *testing.T) {
	x := newLoading(t)
	x.exec(`ALTER TABLE transcripts ADD CONSTRAINT no_open_ones CHECK (status <> 'active') NOT VALID`)
	var batch []record.Change
	for i := range 150 {
		batch = append(batch, conversationChange(orgA, fmt.Sprint("v", i), "", 1, nil, nil))
	}
	err := x.try(batch...)
	var flood *pipeline.RejectFlood
	if !errors.As(err, &flood) || flood.Rejects != 100 || flood.Items != 150 || !strings.Contains(flood.Reason, "no_open_ones") {
		t.Fatalf("error: %v", err)
	}
	for r := range x.db.Rejects(t.Context(), orgA, RejectFilter{}) {
		t.Fatalf("a reject was kept: %+v", r)
	}
	x.commit(batch[:50]...)
	if err := x.try(batch[50:]...); !errors.Is(err, pipeline.ErrTooManyRejects) {
		t.Errorf("the hundredth reject of the run: %v", err)
	}
}

func TestARejectedObjectThatLoadsLaterIsResolved(t *testing.T) {
	x := newLoading(t)
	x.commit(contactChange(orgA, "c1", 1, func(r *record.EndUserRow) { r.Name = "\x00" }))
	x.onlyReject()
	x.commit(contactChange(orgA, "c1", 2, nil))
	for r := range x.db.Rejects(t.Context(), orgA, RejectFilter{}) {
		t.Errorf("still open: %+v", r)
	}
}

func TestACommitWhoseAnswerIsLostIsNotRepeated(t *testing.T) {
	for name, f := range map[string]fault{"the server did not get it": loseCommit, "the server did it": loseAnswer} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.New(t)
			direct := openURL(t, url)
			if _, err := direct.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			p := newProxy(t, url)
			db := openURL(t, p.url)
			x := loadingOn(t, db, acquire(t, db, orgA), "all")
			x.commit(family(orgA, 1)...)
			for n := 2; n < 6; n++ {
				p.set(f)
				if err := x.try(family(orgA, n)...); err != nil {
					t.Fatal(err)
				}
				if left := p.take(); left != none {
					t.Fatal("the fault did not happen")
				}
			}
			want := pipeline.Counts{"load/companies/inserted": 1, "load/end_users/inserted": 1, "load/transcripts/inserted": 1, "load/tickets/inserted": 1, "load/knowledge/inserted": 2,
				"load/companies/updated": 4, "load/end_users/updated": 4, "load/transcripts/updated": 4, "load/tickets/updated": 4, "load/knowledge/updated": 8}
			wantCounts(t, "five batches", x.counts(), want)
			if got := x.table(`SELECT subject FROM transcripts`); len(got) != 1 || got[0] != `("v1 v5")` {
				t.Errorf("transcripts: %v", got)
			}
		})
	}
}

func TestABackendThatIsKilledInMidBatchIsReplaced(t *testing.T) {
	x := newLoading(t)
	x.commit(family(orgA, 1)...)
	for _, point := range []string{"advanced", "loaded", "before commit", "committed"} {
		killed := false
		x.sink.fault = func(at string) error {
			if at == point && !killed {
				killed = true
				x.exec(`SELECT pg_terminate_backend($1)`, x.sink.session.conn.PgConn().PID())
			}
			return nil
		}
		n := int(x.seq) + 1
		if err := x.try(family(orgA, n)...); err != nil {
			t.Fatalf("killed when %s: %v", point, err)
		}
		if got := x.table(`SELECT subject FROM transcripts`); len(got) != 1 || got[0] != fmt.Sprintf(`("v1 v%d")`, n) {
			t.Errorf("killed when %s: %v", point, got)
		}
	}
}

func TestASinkWhoseLeaseWasTakenOverWritesNothing(t *testing.T) {
	x := newLoading(t)
	x.commit(family(orgA, 1)...)
	x.exec(`UPDATE ingest.leases SET epoch = epoch + 1 WHERE org_id = $1`, orgA)
	x.exec(`UPDATE ingest.checkpoints SET epoch = epoch + 1 WHERE org_id = $1`, orgA)
	err := x.try(family(orgA, 2)...)
	if !errors.Is(err, ErrFenced) {
		t.Fatalf("error: %v, want ErrFenced", err)
	}
	if got := x.table(`SELECT subject FROM transcripts`); got[0] != `("v1 v1")` {
		t.Errorf("transcripts: %v", got)
	}
}

func TestABatchThatIsPresentedAgainIsNotLoadedAgain(t *testing.T) {
	x := newLoading(t)
	x.commit(family(orgA, 1)...)
	x.seq--
	if got := x.commit(family(orgA, 2)...); len(got) > 0 {
		t.Errorf("counts: %v", got)
	}
	x.seq += 3
	if err := x.try(family(orgA, 3)...); err == nil {
		t.Error("a batch after a missing one was taken")
	}
}

func TestWhatIsNotForThisSinkIsRefused(t *testing.T) {
	x := newLoading(t)
	unsealed := contactChange(orgA, "c1", 1, nil)
	unsealed.EndUser.Hash = record.Digest{}
	wrong := contactChange(orgA, "c1", 1, nil)
	wrong.Kind = record.KindTicket
	for name, c := range map[string]record.Change{
		"another organisation's row": contactChange(record.UUID{1}, "c1", 1, nil), "an unsealed row": unsealed, "a row of another kind": wrong, "nothing at all": {Kind: record.KindContact, SourceID: "c1"},
	} {
		if err := x.try(c); !errors.Is(err, ErrInvariant) {
			t.Errorf("%s: %v, want ErrInvariant", name, err)
		}
	}
	if err := x.try(); err != nil {
		t.Errorf("an empty batch after that: %v", err)
	}
}
