package extract_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
	"haloingest/stages/extract"
)

// fetch asks the workspace for objects one by one.
func fetch(t *testing.T, w *intercomtest.Workspace, kind record.Kind, ids []string) (objects []record.Object) {
	for _, id := range ids {
		path := "/" + kind.Stream() + "/" + id
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+intercomtest.TestToken)
		r.Header.Set("Accept", "application/json")
		r.Header.Set("Intercom-Version", "2.16")
		answer := httptest.NewRecorder()
		w.ServeHTTP(answer, r)
		if answer.Code != http.StatusOK {
			t.Fatalf("GET %s: %d %s", path, answer.Code, answer.Body)
		}
		objects = append(objects, record.Object{Kind: kind, ID: id, Body: answer.Body.Bytes(), FetchedAt: time.Unix(1_750_000_000, 0), Request: "GET " + path})
	}
	return objects
}

// read extracts all objects of one kind, which must all pass, by id.
func read[T any](t *testing.T, w *intercomtest.Workspace, kind record.Kind, ids []string, of func(record.Item) T) map[string]T {
	t.Helper()
	result, err := extract.New(extract.Options{}).Process(context.Background(), fetch(t, w, kind, ids))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range result.Rejects {
		t.Errorf("rejected: %s", r.Reason)
	}
	t.Logf("%d %s, seen and not mapped:", len(ids), kind.Stream())
	for _, name := range slices.Sorted(maps.Keys(result.Counts)) {
		if strings.HasPrefix(name, "unmapped/") {
			t.Logf("  %6d %s", result.Counts[name], name)
		}
	}
	records := make(map[string]T)
	for _, item := range result.Items {
		records[item.Object.ID] = of(item)
	}
	return records
}

var listMark = regexp.MustCompile(`(?m)^(> )*([ ]*(\d+\.|-) )?`)

// said is the form in which a message is compared with the ledger: without the marks of quotes and lists.
func said(text string) string {
	return intercomtest.NormalizeText(listMark.ReplaceAllString(text, ""))
}

// message is what both sides know of a message.
type message struct {
	ID, AuthorID, Text string
	At                 int64
	Note, Redacted     bool
	Attachments        int
}

func fromLedger(list []intercomtest.Message) (out []message) {
	for _, m := range list {
		out = append(out, message{m.ID, m.AuthorID, said(m.Text + "\n" + m.Quoted), m.CreatedAt, m.Note, m.Redacted, m.Attachments})
		if m.Redacted {
			out[len(out)-1].Attachments = 0
		}
	}
	return out
}

func fromRecord(list []record.Message) (out []message) {
	for _, m := range list {
		out = append(out, message{m.ID, m.AuthorID, said(m.Text), m.At.Unix(), m.Kind == record.MessageNote, m.Redacted, len(m.Attachments)})
	}
	return out
}

var speakers = map[string]string{"user": "user", "lead": "user", "contact": "user", "admin": "agent", "team": "agent", "bot": "bot"}

func TestASimulatedWorkspaceIsReadAsItsLedgerTellsIt(t *testing.T) {
	w, err := intercomtest.New(intercomtest.Options{Seed: 11, Conversations: 1_500, Contacts: 800, Companies: 200, Tickets: 300, Oddities: 250})
	if err != nil {
		t.Fatal(err)
	}
	ledger := w.Ledger()
	unix := func(t time.Time) int64 { return t.Unix() }

	t.Run("conversations", func(t *testing.T) {
		var ids []string
		for c := range ledger.Conversations() {
			ids = append(ids, c.ID)
		}
		got := read(t, w, record.KindConversation, ids, func(i record.Item) *record.Conversation { return i.Conversation })
		for want := range ledger.Conversations() {
			c := got[want.ID]
			if c == nil {
				t.Errorf("conversation %s is lost", want.ID)
				continue
			}
			if diff := cmp.Diff(fromLedger(want.Messages), fromRecord(c.Messages)); diff != "" {
				t.Errorf("conversation %s, -ledger +extracted:\n%s", want.ID, diff)
			}
			if c.State != want.State || unix(c.CreatedAt) != want.CreatedAt || unix(c.UpdatedAt) != want.UpdatedAt || c.TicketID != want.TicketID || c.Company != want.Company {
				t.Errorf("conversation %s: got %+v, want %+v", want.ID, c, want)
			}
			var contacts []string
			for _, r := range c.Contacts {
				contacts = append(contacts, r.ID)
			}
			if diff := cmp.Diff(want.Contacts, contacts, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("conversation %s: contacts %s", want.ID, diff)
			}
			if visible := want.TotalParts - want.Hidden; c.HeldParts != visible || want.Hidden > 0 && c.ExpectedParts != want.TotalParts {
				t.Errorf("conversation %s: %d of %d parts, want %d of %d", want.ID, c.HeldParts, c.ExpectedParts, visible, want.TotalParts)
			}
			for i, m := range want.Messages {
				if s := speakers[m.AuthorType]; m.HasText && s != "" && i < len(c.Messages) && c.Messages[i].Speaker != s && c.Messages[i].Speaker != "bot" {
					t.Errorf("conversation %s, message %s by a %s: speaker %s", want.ID, m.ID, m.AuthorType, c.Messages[i].Speaker)
				}
			}
		}
	})
	t.Run("contacts", func(t *testing.T) {
		var ids []string
		for c := range ledger.Contacts() {
			ids = append(ids, c.ID)
		}
		got := read(t, w, record.KindContact, ids, func(i record.Item) *record.Contact { return i.Contact })
		for want := range ledger.Contacts() {
			c := got[want.ID]
			if c == nil {
				t.Errorf("contact %s is lost", want.ID)
				continue
			}
			if c.ExternalID != want.ExternalID || c.Role != want.Role || c.Email != want.Email || c.Name != want.Name || unix(c.CreatedAt) != want.CreatedAt || unix(c.UpdatedAt) != want.UpdatedAt {
				t.Errorf("contact %s: got %+v, want %+v", want.ID, c, want)
			}
			if c.CompanyTotal != len(want.Companies) || len(c.Companies) != min(10, len(want.Companies)) {
				t.Errorf("contact %s: %d of %d companies, want %d", want.ID, len(c.Companies), c.CompanyTotal, len(want.Companies))
			}
			custom := map[string]string{}
			for k, v := range want.CustomAttributes {
				canonical, err := record.CanonicalJSON([]byte(v))
				if err != nil {
					t.Fatal(err)
				}
				custom[k] = string(canonical)
			}
			have := map[string]string{}
			for k, v := range c.Custom {
				have[k] = string(v)
			}
			if diff := cmp.Diff(custom, have); diff != "" {
				t.Errorf("contact %s: custom attributes %s", want.ID, diff)
			}
		}
	})
	t.Run("companies", func(t *testing.T) {
		var ids []string
		for c := range ledger.Companies() {
			ids = append(ids, c.ID)
		}
		got := read(t, w, record.KindCompany, ids, func(i record.Item) *record.Company { return i.Company })
		for want := range ledger.Companies() {
			c := got[want.ID]
			if c == nil {
				t.Errorf("company %s is lost", want.ID)
				continue
			}
			if c.CompanyID != want.CompanyID || c.Name != want.Name || c.Website != want.Website || c.Plan != want.Plan || unix(c.UpdatedAt) != want.UpdatedAt {
				t.Errorf("company %s: got %+v, want %+v", want.ID, c, want)
			}
		}
	})
	t.Run("tickets", func(t *testing.T) {
		var ids []string
		for c := range ledger.Tickets() {
			ids = append(ids, c.ID)
		}
		got := read(t, w, record.KindTicket, ids, func(i record.Item) *record.Ticket { return i.Ticket })
		for want := range ledger.Tickets() {
			c := got[want.ID]
			if c == nil {
				t.Errorf("ticket %s is lost", want.ID)
				continue
			}
			if c.Number != want.TicketID || c.StateCategory != want.State || c.Title != want.Title || unix(c.UpdatedAt) != want.UpdatedAt || c.TypeName != "" && c.TypeName != want.TypeName {
				t.Errorf("ticket %s: got %+v, want %+v", want.ID, c, want)
			}
			if c.HeldParts == 0 && want.TotalParts > 0 {
				continue // an oddity: ticket_parts is null
			}
			if diff := cmp.Diff(fromLedger(want.Messages), fromRecord(c.Messages)); diff != "" {
				t.Errorf("ticket %s, -ledger +extracted:\n%s", want.ID, diff)
			}
		}
	})
}
