package ingest_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// busy is a workspace that is changed between syncs and during them, and whose clock goes by itself.
type busy struct {
	*place
	mu     sync.Mutex
	r      *rand.Rand
	off    atomic.Int64 // of the workspace's clock, from ours
	serial int
	during bool // changes are made while a run reads
}

func (b *busy) now() time.Time { return time.Now().Add(time.Duration(b.off.Load())) }

func (b *busy) pass(d time.Duration) { b.off.Add(int64(d)) }

// change makes a random change, and reports what went wrong.
func (b *busy) change() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serial++
	n, w := b.serial, b.sim
	one := func(k intercomtest.Kind) string {
		var ids []string
		switch k { // none is touched: that would be a change of its own
		case intercomtest.Contacts:
			for c := range w.Ledger().Contacts() {
				ids = append(ids, c.ID)
			}
		case intercomtest.Companies:
			for c := range w.Ledger().Companies() {
				ids = append(ids, c.ID)
			}
		case intercomtest.Tickets:
			for c := range w.Ledger().Tickets() {
				ids = append(ids, c.ID)
			}
		default:
			for c := range w.Ledger().Conversations() {
				ids = append(ids, c.ID)
			}
		}
		return ids[b.r.IntN(len(ids))]
	}
	switch b.r.IntN(12) {
	case 0:
		id, err := w.CreateContact(map[string]any{"name": fmt.Sprintf("Made %d", n), "email": fmt.Sprintf("made%d@example.com", n), "role": "user"})
		if err == nil {
			_, err = w.CreateConversation(id, "How do I reset my password?")
		}
		return err
	case 1:
		return w.UpdateContact(one(intercomtest.Contacts), map[string]any{"name": fmt.Sprintf("Renamed %d", n)})
	case 2:
		return w.UpdateContact(one(intercomtest.Contacts), map[string]any{"custom_attributes.favourite": n})
	case 3:
		return w.UpdateCompany(one(intercomtest.Companies), map[string]any{"website": fmt.Sprintf("https://number%d.example", n)})
	case 4, 5:
		_, err := w.Reply(one(intercomtest.Conversations), []string{"user", "admin", "bot"}[b.r.IntN(3)], fmt.Sprintf("Reply %d", n))
		return err
	case 6:
		return w.Close(one(intercomtest.Conversations), "Solved.")
	case 7:
		return w.Redact(one(intercomtest.Conversations), "")
	case 8:
		return w.SetTicketState(one(intercomtest.Tickets), "resolved")
	case 9:
		return w.Set(intercomtest.Tickets, one(intercomtest.Tickets), map[string]json.RawMessage{"title": json.RawMessage(`"Another title"`)})
	case 10:
		return w.Delete(intercomtest.Conversations, one(intercomtest.Conversations))
	default:
		from, into := one(intercomtest.Contacts), one(intercomtest.Contacts)
		if from == into {
			return nil
		}
		return w.MergeContacts(from, into)
	}
}

// RoundTrip makes a change now and then before a request is sent.
func (b *busy) around(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		b.mu.Lock()
		act, step := b.during && b.r.IntN(6) == 0, time.Duration(b.r.IntN(3000))*time.Millisecond
		b.mu.Unlock()
		if act {
			b.pass(step)
			if err := b.change(); err != nil {
				b.tb.Error(err)
			}
		}
		return next.RoundTrip(req)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// sync makes a sync with a client of its own, as another process would.
func (b *busy) sync() (ingest.Report, error) {
	b.tb.Helper()
	ctx := b.tb.Context()
	client, err := intercom.New("us", b.sim.Token, intercom.Options{BaseURL: b.sim.URL, MaxAttempts: 2, Wrap: b.around, Log: logger(b.tb)})
	if err != nil {
		b.tb.Fatal(err)
	}
	defer client.Close()
	b.runner.Client = client
	run, err := b.runner.Start(ctx, ingest.Request{Kind: ingest.KindSync, Since: b.runner.Connection.SyncedTo})
	if err != nil {
		b.tb.Fatal(err)
	}
	report, failed := run.Do(ctx, ctx)
	if err := run.Close(ctx); err != nil {
		b.tb.Fatal(err)
	}
	if b.runner.Connection, err = b.store.Get(ctx, org); err != nil {
		b.tb.Fatal(err)
	}
	return report, failed
}

// stored is an object as the tables have it.
type stored struct {
	Updated int64
	Gone    bool
	Contact string
	Authors map[string]string // by message
}

func (b *busy) stored(query string) map[string]stored {
	b.tb.Helper()
	rows, err := b.db.Pool().Query(b.tb.Context(), query)
	if err != nil {
		b.tb.Fatal(err)
	}
	defer rows.Close()
	all := make(map[string]stored)
	for rows.Next() {
		var id string
		var s stored
		var messages []byte
		if err := rows.Scan(&id, &s.Updated, &s.Gone, &s.Contact, &messages); err != nil {
			b.tb.Fatal(err)
		}
		var list []struct {
			ID     string `json:"id"`
			Author string `json:"author_id"`
		}
		if err := json.Unmarshal(messages, &list); err != nil {
			b.tb.Fatal(err)
		}
		s.Authors = make(map[string]string)
		for _, m := range list {
			s.Authors[m.ID] = m.Author
		}
		all[id] = s
	}
	if err := rows.Err(); err != nil {
		b.tb.Fatal(err)
	}
	return all
}

// agrees requires that the tables have what the workspace's own account says, each object in its newest state.
func (b *busy) agrees() {
	b.tb.Helper()
	ledger := b.sim.Ledger()
	mapped := `SELECT source_id, coalesce(extract(epoch FROM source_updated_at)::bigint, 0), deleted_at IS NOT NULL, '', '[]'::jsonb FROM ingest.id_map WHERE kind = `
	people, firms := b.stored(mapped+`'contact'`), b.stored(mapped+`'company'`)
	talks := b.stored(`SELECT source_id, extract(epoch FROM source_updated_at)::bigint, deleted_at IS NOT NULL, coalesce(source_contact_id, ''), messages FROM public.transcripts`)
	cases := b.stored(`SELECT source_id, extract(epoch FROM source_updated_at)::bigint, deleted_at IS NOT NULL, coalesce(source_contact_id, ''), messages FROM public.tickets`)
	check := func(kind, id string, updated int64, all map[string]stored) {
		b.tb.Helper()
		if s, ok := all[id]; !ok || s.Gone || s.Updated != updated {
			b.tb.Errorf("%s %s: there %v, gone %v, of %s; want that of %s", kind, id, ok, s.Gone, time.Unix(s.Updated, 0).UTC(), time.Unix(updated, 0).UTC())
		}
	}
	for c := range ledger.Contacts() {
		check("contact", c.ID, c.UpdatedAt, people)
		for _, id := range c.MergedFrom {
			if s, ok := people[id]; ok && !s.Gone {
				b.tb.Errorf("contact %s, which was merged into %s, is there", id, c.ID)
			}
		}
	}
	for c := range ledger.Companies() {
		check("company", c.ID, c.UpdatedAt, firms)
	}
	for c := range ledger.Tickets() {
		check("ticket", c.ID, c.UpdatedAt, cases)
	}
	living := make(map[string]bool)
	for c := range ledger.Conversations() {
		living[c.ID] = true
		check("conversation", c.ID, c.UpdatedAt, talks)
		s := talks[c.ID]
		if len(c.Contacts) > 0 && s.Contact != c.Contacts[0] {
			b.tb.Errorf("conversation %s is of contact %s, want %s", c.ID, s.Contact, c.Contacts[0])
		}
		for _, m := range c.Messages {
			if author, ok := s.Authors[m.ID]; m.HasText && (!ok || author != m.AuthorID) {
				b.tb.Errorf("message %s of conversation %s: there %v, by %s, want by %s", m.ID, c.ID, ok, author, m.AuthorID)
			}
		}
	}
	for id, s := range talks {
		if !living[id] && !s.Gone {
			b.tb.Errorf("conversation %s, which was deleted, is there", id)
		}
	}
}

// TestNoChangeIsLostAtABoundary syncs again and again while the workspace changes, in the very second in which a sync begins, before and after
// it and during it, by clocks that do not agree. After the last sync, every change that was made before it began is there.
func TestNoChangeIsLostAtABoundary(t *testing.T) {
	t.Parallel()
	seeds := 5
	if os.Getenv("HALOINGEST_PROOF") == "long" {
		seeds = 200
	}
	zones := []string{"UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu", "America/St_Johns"}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			b := &busy{r: r}
			// Behind by days, behind or ahead by minutes or seconds, or ahead by hours.
			skew := []time.Duration{-400 * 24 * time.Hour, -7 * time.Minute, 3 * time.Second, 11 * time.Minute, 5 * time.Hour}[seed%5]
			b.off.Store(int64(skew))
			delay := time.Duration(r.IntN(3)) * 10 * time.Minute
			o := intercomtest.Options{
				Seed: uint64(seed), Conversations: 30, Contacts: 20, Companies: 4, Tickets: 8, Oddities: -1, Timezone: zones[r.IntN(len(zones))],
				SearchDelay: delay, InclusiveBounds: r.IntN(2) == 0, Now: b.now,
			}
			o.Span = 100 * 24 * time.Hour
			o.Start = time.Now().Add(skew - o.Span - time.Hour)
			// Without it, answers are dated by our clock.
			dated := intercomtest.Fault{Kind: intercomtest.FaultClockSkew, For: 1}
			o.Faults = []intercomtest.Fault{dated}
			b.place = newPlace(t, intercomtest.Start(t, o))
			b.backfill(false)
			syncs := 3 + r.IntN(4)
			for n := range syncs + 1 {
				// Changes lie anywhere between two syncs, and some in the last second of it.
				b.pass(time.Duration(r.IntN(2)) * time.Duration(r.IntN(26*3600)) * time.Second)
				for range r.IntN(6) {
					if err := b.change(); err != nil {
						t.Fatal(err)
					}
					b.pass(time.Duration(r.IntN(2)*r.IntN(400)) * time.Second)
				}
				last := n == syncs
				if last {
					// What is new is not found for a while, and objects that were changed several times in a second are dated ahead.
					b.pass(delay + time.Minute)
				}
				b.during = !last
				fail := !last && r.IntN(4) == 0
				if fail {
					fault := intercomtest.Fault{Kind: intercomtest.FaultTokenRevoked, From: 1 + r.IntN(25)}
					if err := b.sim.SetFaults(dated, fault); err != nil {
						t.Fatal(err)
					}
				}
				before := b.runner.Connection
				report, err := b.sync()
				for err == nil && report.More {
					report, err = b.sync() // it was resumed
				}
				b.during = false
				if err := b.sim.SetFaults(dated); err != nil {
					t.Fatal(err)
				}
				switch after := b.runner.Connection; {
				case err != nil && !fail:
					t.Fatal(err)
				case err != nil && (!after.SyncedTo.Equal(before.SyncedTo) || !after.LastSyncedAt.Equal(before.LastSyncedAt) || report.Run.State != postgres.RunFailed):
					t.Fatalf("a sync that failed (%s) moved the bookmark from %s to %s", report.Run.State, before.SyncedTo, after.SyncedTo)
				case err == nil && (after.SyncedTo.Before(before.SyncedTo) || after.SyncedTo.After(b.now())):
					t.Fatalf("the bookmark went from %s to %s, at %s", before.SyncedTo, after.SyncedTo, b.now())
				}
			}
			b.agrees()
			if t.Failed() {
				t.Logf("skew %s, zone %s, delay %s, %d syncs", skew, o.Timezone, delay, syncs)
			}
		})
	}
}
