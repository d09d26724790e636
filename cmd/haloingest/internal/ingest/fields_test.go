package ingest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/sources/intercom/intercomtest"
)

// kept is a table without what rows keep of who has left them.
func kept(table string) string {
	return `(SELECT (to_jsonb(t) - 'custom_fields' - 'first_seen' - 'last_seen' - 'last_contacted_at' - 'content_hash' - 'run_id' - 'created_at' - 'updated_at' - 'embedding') AS line FROM public.` + table + ` t WHERE deleted_at IS NULL)`
}

// TestAnotherFieldAndABackfillGiveTheRowsOfAFreshLoad chooses other id fields on loaded data, where people and companies share some of their values, and
// reads everything once more. The live rows, their ids, links and bindings are those of a place that had these fields from the start.
func TestAnotherFieldAndABackfillGiveTheRowsOfAFreshLoad(t *testing.T) {
	t.Parallel()
	seeds := 4
	if os.Getenv("HALOINGEST_PROOF") == "long" {
		seeds = 100
	}
	fields := []string{"external_id", "id", "email", "custom_attributes.crm"}
	firms := []string{"company_id", "id", "name", "custom_attributes.account"}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(uint64(seed), 3))
			began := time.Now().Add(-time.Hour) // what is made in one second is dated ahead, and must not be in the future
			sim := intercomtest.Start(t, intercomtest.Options{
				Seed: uint64(seed), Conversations: 5, Contacts: 5, Companies: 2, Tickets: -1, Oddities: -1, Now: func() time.Time { return began },
			})
			some := func(what string, n int) any { return fmt.Sprintf("%s%d", what, r.IntN(n)) }
			var companies []string
			for range 4 {
				f := map[string]any{"name": some("Firm ", 6), "company_id": some("f", 20)}
				if r.IntN(2) == 0 {
					f["custom_attributes.account"] = some("a", 4)
				}
				id, err := sim.CreateCompany(f)
				if err != nil {
					t.Fatal(err)
				}
				companies = append(companies, id)
			}
			for i := range 12 {
				f := map[string]any{"name": fmt.Sprintf("Person %d", i), "role": "user"}
				if r.IntN(3) > 0 {
					f["email"] = fmt.Sprintf("p%d@example.com", r.IntN(8))
				}
				if r.IntN(3) > 0 {
					f["external_id"] = fmt.Sprintf("x%d", i)
				}
				if r.IntN(2) > 0 {
					f["custom_attributes.crm"] = some("c", 5)
				}
				if r.IntN(2) > 0 {
					f["companies"] = []string{companies[r.IntN(4)]}
				}
				id, err := sim.CreateContact(f)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := sim.CreateConversation(id, "How do I reset my password?"); err != nil {
					t.Fatal(err)
				}
			}
			a, b := newPlace(t, sim), newPlace(t, sim)
			configure := func(p *place, set connection.Settings) {
				if _, err := p.store.Configure(t.Context(), org, set); err != nil {
					t.Fatal(err)
				}
				var err error
				if p.runner.Connection, err = p.store.Get(t.Context(), org); err != nil {
					t.Fatal(err)
				}
			}
			first := connection.Settings{UserIDField: fields[r.IntN(4)], CompanyIDField: firms[r.IntN(4)]}
			then := connection.Settings{UserIDField: fields[r.IntN(4)], CompanyIDField: firms[r.IntN(4)]}
			configure(a, first)
			a.backfill(false)
			configure(a, then)
			a.backfill(true)
			configure(b, then)
			b.backfill(false)
			// What a row of Halo's has and Intercom lacks stays with it: activity stamps and custom fields of who shared the row before. And where two
			// that shared a row have one each, or the other way round, a row may be left empty, which is marked as deleted.
			a.sameIn(b, map[string]string{
				"end_users": kept("end_users"), "companies": kept("companies"), "transcripts": "public.transcripts", "knowledge": "public.knowledge",
				"id_map": tables["id_map"], "pending_links": tables["pending_links"],
			})
			if t.Failed() {
				t.Logf("from %+v to %+v", first, then)
			}
		})
	}
}
