package intercom_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// TestChangedContactsInEveryTimezone: search compares by the workspace's days up to 2.16 and by the second
// after it; whatever changed since must come, whatever the hour and the zone.
func TestChangedContactsInEveryTimezone(t *testing.T) {
	for _, zone := range []string{"UTC", "America/Los_Angeles", "Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Pago_Pago"} {
		for _, version := range []string{"2.15", "2.16", "2.17"} {
			s := intercomtest.Start(t, intercomtest.Options{Contacts: 900, Conversations: 20, Timezone: zone, Span: 60 * 24 * time.Hour})
			c := connect(t, s, func(o *intercom.Options) { o.Version = version })
			for _, hour := range []int{0, 1, 6, 12, 18, 23} {
				since := time.Date(2024, 2, 20, hour, 59, 59, 0, time.UTC)
				var want []string
				for contact := range s.Ledger().Contacts() {
					if contact.UpdatedAt >= since.Add(-24*time.Hour).Unix() {
						want = append(want, contact.ID)
					}
				}
				w := mustWalk(t, intercom.NewContacts(c, intercom.StreamOptions{Since: since, PageSize: 50}), nil)
				if diff := cmp.Diff(sorted(want), sorted(w.live())); diff != "" {
					t.Errorf("%s, version %s, since %v (-ledger +walked):\n%s", zone, version, since, diff)
				}
				if len(want) == 0 || len(want) == 900 {
					t.Fatalf("%d contacts changed, the test is empty", len(want))
				}
			}
		}
	}
}

func TestMergedContactsComeAsTombstones(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	ids := ledgerIDs(s, record.KindContact)
	if err := s.MergeContacts(ids[3], ids[4]); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for contact := range s.Ledger().Contacts() {
		if contact.Role != "user" { // Intercom tells merges of users only
			continue
		}
		for _, from := range contact.MergedFrom {
			want[from] = "merged " + contact.ID
		}
	}
	if len(want) < 2 {
		t.Fatalf("%d merges, the test is empty", len(want))
	}
	w := mustWalk(t, paged(connect(t, s), record.KindContact), nil)
	if diff := cmp.Diff(want, w.gone()); diff != "" {
		t.Errorf("(-ledger +walked):\n%s", diff)
	}
	old := mustWalk(t, paged(connect(t, s, func(o *intercom.Options) { o.Version = "2.15" }), record.KindContact), nil)
	if n := len(old.gone()); n != 0 {
		t.Errorf("%d tombstones from version 2.15, which has no merge history", n)
	}
}

func TestListsThatIntercomCutAreCompleted(t *testing.T) {
	s := intercomtest.Start(t, intercomtest.Options{Contacts: 300, Companies: 150, Conversations: 20, Oddities: -1})
	companies := ledgerIDs(s, record.KindCompany)
	contacts := ledgerIDs(s, record.KindContact)
	for i, n := range []int{10, 11, 75} {
		if err := s.UpdateContact(contacts[i], map[string]any{"companies": companies[:n]}); err != nil {
			t.Fatal(err)
		}
	}
	c := connect(t, s)
	w, err := whole(t, c, source(c, record.KindContact), nil)
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	for contact := range s.Ledger().Contacts() {
		i := slices.IndexFunc(w.objects, func(o record.Object) bool { return o.ID == contact.ID && o.Gone == "" })
		var doc struct {
			Companies, Tags struct {
				Data []struct {
					ID, Type, URL string
				}
				Total   int  `json:"total_count"`
				HasMore bool `json:"has_more"`
			}
		}
		if err := json.Unmarshal(w.objects[i].Body, &doc); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, company := range doc.Companies.Data {
			got = append(got, company.ID)
			if company.Type != "company" || company.URL != "/companies/"+company.ID {
				t.Errorf("contact %s: company entry %+v has another form than the inline ones", contact.ID, company)
			}
		}
		if diff := cmp.Diff(sorted(contact.Companies), sorted(got)); diff != "" {
			t.Errorf("companies of contact %s (-ledger +got):\n%s", contact.ID, diff)
		}
		if doc.Companies.HasMore || doc.Companies.Total != len(got) || doc.Tags.HasMore || len(doc.Tags.Data) != contact.Tags {
			t.Errorf("contact %s: %d of %d companies, %d tags, want all", contact.ID, len(got), doc.Companies.Total, len(doc.Tags.Data))
		}
		if len(contact.Companies) > 10 {
			cut++
		}
	}
	st := s.Stats().Endpoints
	if cut < 2 || st["GET /contacts/{id}/companies"] > int64(cut)+1 {
		t.Errorf("%d requests for the companies of %d contacts", st["GET /contacts/{id}/companies"], cut)
	}
}

func TestWhatIsNotCutIsLeftByteForByte(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	c := connect(t, s)
	for _, kind := range []record.Kind{record.KindContact, record.KindCompany, record.KindTicket} {
		raw := mustWalk(t, source(c, kind), nil)
		before := c.Stats().Total
		result, err := intercom.NewDetails(c, intercom.DetailOptions{}).Process(t.Context(), slices.Clone(raw.objects))
		if err != nil {
			t.Fatal(err)
		}
		requests := int(c.Stats().Total - before)
		changed := 0
		for i, o := range result.Items {
			if !bytes.Equal(o.Body, raw.objects[i].Body) {
				changed++
			}
		}
		if changed > requests || requests > len(raw.objects)/4 {
			t.Errorf("%s: %d of %d changed with %d requests", kind.Stream(), changed, len(raw.objects), requests)
		}
	}
}

func TestATicketWithoutItsPartsIsReadSingly(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	ids := ledgerIDs(s, record.KindTicket)
	f := front{edit: func(r *http.Request, body []byte) []byte {
		if !strings.HasSuffix(r.URL.Path, "/tickets/search") {
			return body
		}
		return edited(body, func(doc map[string]any) {
			for _, row := range doc["tickets"].([]any) {
				ticket := row.(map[string]any)
				switch ticket["id"] {
				case ids[0]:
					delete(ticket, "ticket_parts")
				case ids[1]:
					ticket["ticket_parts"] = nil
				case ids[2]:
					ticket["ticket_parts"] = map[string]any{"ticket_parts": []any{}, "total_count": 4}
				}
			}
		})
	}}.start(t, s)
	c := connect(t, f)
	w, err := whole(t, c, source(c, record.KindTicket), nil)
	if err != nil {
		t.Fatal(err)
	}
	singly := 0
	for _, o := range w.objects {
		if strings.HasPrefix(o.Request, "GET /tickets/") {
			singly++
			var doc struct {
				Parts *struct {
					Parts []any `json:"ticket_parts"`
				} `json:"ticket_parts"`
			}
			if json.Unmarshal(o.Body, &doc) != nil || doc.Parts == nil || doc.Parts.Parts == nil {
				t.Errorf("ticket %s has no parts still", o.ID)
			}
		}
	}
	if singly < 3 || singly > 6 {
		t.Errorf("%d tickets were read singly, want the three without parts (and those with odd ones)", singly)
	}
}

// TestTwoSyncsMeetEveryChange: rows move behind the end of a sync while it pages; the next one, which begins where
// this one began, must find the latest state of each.
func TestTwoSyncsMeetEveryChange(t *testing.T) {
	for _, kind := range []record.Kind{record.KindContact, record.KindConversation, record.KindTicket} {
		for seed := range uint64(3) {
			s := intercomtest.Start(t, small(intercomtest.Options{Seed: seed}))
			c := connect(t, s)
			// The simulator dates changes of one second apart, so the last ones are some seconds ahead.
			stream := func(since time.Time, ahead time.Duration) intercom.StreamOptions {
				return intercom.StreamOptions{Since: since, Overlap: time.Second, PageSize: 5, Until: time.Now().Add(ahead)}
			}
			make := func(o intercom.StreamOptions) walked {
				switch kind {
				case record.KindContact:
					return mustWalk(t, intercom.NewContacts(c, o), nil)
				case record.KindTicket:
					return mustWalk(t, intercom.NewTickets(c, o), nil)
				}
				return mustWalk(t, intercom.NewConversations(c, o), nil)
			}
			first, err := c.ServerTime(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.TouchRandom(intercomtest.Kind(kind.Stream()), 60)
			if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultMovingRows}); err != nil {
				t.Fatal(err)
			}
			held := map[string]int64{}
			take := func(w walked) {
				for _, o := range w.objects {
					var doc struct {
						UpdatedAt json.Number `json:"updated_at"`
					}
					_ = json.Unmarshal(o.Body, &doc) // odd objects stay at 0
					at, _ := doc.UpdatedAt.Int64()
					held[o.ID] = max(held[o.ID], at)
				}
			}
			second, _ := c.ServerTime(t.Context())
			take(make(stream(first, time.Second)))
			if err := s.SetFaults(); err != nil {
				t.Fatal(err)
			}
			take(make(stream(second, time.Hour)))
			changed := 0
			check := func(id string, updated int64) {
				if updated >= first.Unix() {
					if changed++; held[id] != updated {
						t.Errorf("%s %s: the latest state is of %d, the latest met of %d", kind, id, updated, held[id])
					}
				}
			}
			switch kind {
			case record.KindContact:
				for o := range s.Ledger().Contacts() {
					check(o.ID, o.UpdatedAt)
				}
			case record.KindConversation:
				for o := range s.Ledger().Conversations() {
					check(o.ID, o.UpdatedAt)
				}
			case record.KindTicket:
				for o := range s.Ledger().Tickets() {
					check(o.ID, o.UpdatedAt)
				}
			}
			if changed < 40 {
				t.Errorf("%d changed, the test is empty", changed)
			}
		}
	}
}

func TestAContactListThatStaysShortIsWalkedTwiceAndCounted(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	f := front{edit: func(r *http.Request, body []byte) []byte {
		if r.URL.Path != "/contacts" {
			return body
		}
		return edited(body, func(doc map[string]any) { doc["total_count"] = 125 })
	}}.start(t, s)
	w := mustWalk(t, paged(connect(t, f), record.KindContact), nil)
	if len(w.live()) != 120 || w.counts["intercom/contacts/short"] != 5 || w.counts["intercom/contacts/walked again: short"] != 1 {
		t.Errorf("%d contacts, counts %v; want 120, each once, 5 short after one more walk", len(w.live()), w.counts)
	}
}

func TestPagesThatGoInACircleForGood(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	if err := s.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultRepeatedCursor}); err != nil {
		t.Fatal(err)
	}
	_, err := walk(t.Context(), paged(connect(t, s), record.KindContact), nil)
	if class, ok := intercom.ClassOf(err); !ok || class != intercom.ClassTemporary || !strings.Contains(err.Error(), "circle") {
		t.Errorf("contacts: error %v, want that pages go in a circle", err)
	}
	// A walk by time goes on from where it is, whatever the cursors do.
	w := mustWalk(t, paged(connect(t, s), record.KindConversation), nil)
	if diff := cmp.Diff(ledgerIDs(s, record.KindConversation), sorted(w.live())); diff != "" {
		t.Errorf("conversations (-ledger +walked):\n%s", diff)
	}
}

func TestRowsWithoutAnIdAreRejected(t *testing.T) {
	s := intercomtest.Start(t, small(intercomtest.Options{}))
	f := front{handle: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if r.URL.Path != "/contacts" {
			return false
		}
		io.WriteString(w, `{"type":"list","data":[{"id":7},{"id":"a"},{"id":null,"name":"x"},{},"text",null,[1]],"total_count":7,"pages":null}`)
		return true
	}}.start(t, s)
	w := mustWalk(t, paged(connect(t, f), record.KindContact), nil)
	if diff := cmp.Diff([]string{"7", "a"}, w.live()); diff != "" {
		t.Error(diff)
	}
	if len(w.rejects) < 5 || string(w.rejects[0].Payload) != `{"id":null,"name":"x"}` {
		t.Errorf("rejects %+v, want the five rows without an id", w.rejects)
	}
}
